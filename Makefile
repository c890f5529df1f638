# acrelay: what you may set, flags, floors, rules, what people run, installing. Checks stand in
# tests/check.mk. `make help` lists the targets of both.

# --- what you may set -----------------------------------------------------------------
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= gcc
BUILD   ?= build
# SAN=address builds with ASan and UBSan, SAN=thread with TSan, SAN= without
SAN     ?=
# WERROR= lets a build go on with warnings
WERROR  ?= -Werror
PYTHON  ?= /usr/bin/python3
VERSION := 0.1.0

# --- flags ----------------------------------------------------------------------------
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
        -Wmissing-prototypes -Wformat=2 -Wundef -Wcast-qual -Wwrite-strings -Wvla $(WERROR)
SAN_address := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN_fuzz    := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
SAN_thread  := -fsanitize=thread -fno-omit-frame-pointer
HARDEN := $(if $(SAN),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
# under a sanitizer -O1 -g1: half the time to compile, and traces with lines
CFLAGS  ?= $(if $(SAN),-O1 -g1,-O2 -g)
ALL_CFLAGS  = -std=c17 -D_GNU_SOURCE -DACRELAY_VERSION='"$(VERSION)"' -iquote src \
              $(WARN) $(CFLAGS) $(HARDEN) $(SAN_$(SAN)) -pthread
ALL_LDFLAGS = $(LDFLAGS) $(SAN_$(SAN)) -pie -pthread -Wl,--as-needed -Wl,-z,relro,-z,now
# each foreign library is used by one file of src/edge (cJSON by *_json.c files)
LIBS := -lcivetweb -lcjson -lhiredis -lcurl -lyaml -lssl -lcrypto

# --- floors: an archive each; a floor may include only what stands left of it -----------
FLOORS   := base program event journal edge hook command config relay receiver worker cli
MAINS    := src/receiver/acrelayd.c src/worker/acrelay-worker.c src/cli/acrelay.c
sources   = $(filter-out $(MAINS),$(wildcard src/$(1)/*.c))
objects   = $(patsubst src/%.c,$(BUILD)/%.o,$(1))
ARCHIVES := $(FLOORS:%=$(BUILD)/lib%.a)
program   = $(BUILD)/$(basename $(notdir $(1)))
PROGRAMS := $(foreach main,$(MAINS),$(call program,$(main)))
.PHONY: FORCE all help run demo test test-long deps man install uninstall deb clean
.DELETE_ON_ERROR:
.SECONDARY:
all: $(PROGRAMS) ## build the three programs into build/
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile tests/check.mk | expand -t 18

# --- rules ----------------------------------------------------------------------------
$(BUILD)/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/event/samples.o: src/event/samples.txt
$(BUILD)/relay/script.o: src/relay/script.lua
$(BUILD)/worker/commands_redis.o: src/worker/commands.lua
# the page of acrelay inspect
PAGE := $(sort $(foreach kind,html css js svg,$(wildcard src/cli/inspect/*.$(kind))))
$(BUILD)/cli/inspect_http.o: $(PAGE)
$(BUILD)/cli/inspect_http.o: ALL_CFLAGS += '-DINSPECT_FILES(F)=$(foreach f,$(notdir $(PAGE)),F($(subst .,_,$f),"$f",$(subst .,,$(suffix $f))))'

# what carries the version is made again when the version is another
$(BUILD)/version: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@
$(patsubst src/%.c,$(BUILD)/%.o,$(shell grep -l ACRELAY_VERSION src/*/*.c)): $(BUILD)/version
FORCE:

define floor_rule
$(BUILD)/lib$(1).a: $(call objects,$(call sources,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach floor,$(FLOORS),$(eval $(call floor_rule,$(floor))))

LINK = $(CC) $(ALL_LDFLAGS) $(1) -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS)

$(foreach main,$(MAINS),$(eval $(call program,$(main)): $(call objects,$(main)) $(ARCHIVES)))
$(PROGRAMS):
	$(call LINK,$<) -o $@

# --- what people run ------------------------------------------------------------------
run: ## install what is missing, start everything with a simulated account
demo: ## the same for a fixed number of deliveries, then a summary
run demo:
	@sh tests/packages.sh run
	@$(MAKE) -s all $(BUILD)/acsim
	@sh deploy/try.sh $@
test: deps ## every check, in about 6 minutes
	$(PYTHON) tests/run.py
test-long: deps ## soaks, benchmarks and analyses; says how long it takes
	$(PYTHON) tests/run.py --long
deps: ## install what building and testing need
	@sh tests/packages.sh

# manual pages; the settings in acrelay.yaml(5) are printed from the table itself
MANUALS := acrelay.1 acrelay.yaml.5 acrelay-commands.7 acrelay-stream.7 \
           acrelayd.8 acrelay-worker.8
man: $(MANUALS:%=$(BUILD)/man/%) ## manual pages in build/man
$(BUILD)/man/%: deploy/man/%
	@mkdir -p $(@D)
	cp $< $@
$(BUILD)/man/%: deploy/man/%.in $(BUILD)/acrelay
	@mkdir -p $(@D)
	{ sed '/@SETTINGS@/,$$d' $<; $(BUILD)/acrelay check --print manual; sed '1,/@SETTINGS@/d' $<; } >$@

# --- installing: programs, units, manual, schemas, completions; /etc and state are yours ------
DOC      = $(DESTDIR)$(PREFIX)/share/doc/acrelay
UNITS_TO = $(DESTDIR)$(PREFIX)/lib/systemd/system
BASH_TO  = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH_TO   = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH_TO  = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
MAN_TO   = $(DESTDIR)$(PREFIX)/share/man
# the plain units; those of one of several accounts (with @) are made from them
SERVICES    := acrelayd.socket acrelayd.service acrelay-worker.service
SERVICES_AT := acrelayd@.socket acrelayd@.service acrelay-worker@.service
install: all man ## DESTDIR= PREFIX=; the programs expect their configuration in /etc/acrelay
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(PROGRAMS)
	install -d $(UNITS_TO) $(BASH_TO) $(ZSH_TO) $(FISH_TO)
	for unit in $(SERVICES); do \
	    sed 's|/usr/local|$(PREFIX)|' deploy/systemd/$$unit >$(UNITS_TO)/$$unit && \
	    sed -f deploy/systemd/account.sed $(UNITS_TO)/$$unit \
	        >$(UNITS_TO)/$${unit%.*}@.$${unit##*.} || exit 1; done
	cp deploy/systemd/acrelay-https.service $(UNITS_TO)
	for page in $(MANUALS); do \
	    install -D -m 644 $(BUILD)/man/$$page $(MAN_TO)/man$${page##*.}/$$page || exit 1; done
	install -D -m 644 -t $(DOC) README.md LICENSE conf/acrelay.yaml conf/NORMAL-FORM.md deploy/CHANGELOG.md deploy/OPERATING.md deploy/SCALING.md
	for place in proxy redis monitoring; do \
	    install -D -m 644 -t $(DOC)/$$place deploy/$$place/* || exit 1; done
	install -D -m 644 -t $(DOC)/consumers $(wildcard deploy/consumers/*.c deploy/consumers/*.md)
	install -D -m 755 -t $(DOC)/consumers $(filter-out %.c %.md,$(wildcard deploy/consumers/*))
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/acrelay/schemas conf/schemas/*.json
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/acrelay conf/asyncapi.yaml
	$(BUILD)/acrelay completion bash >$(BASH_TO)/acrelay
	$(BUILD)/acrelay completion zsh >$(ZSH_TO)/_acrelay
	$(BUILD)/acrelay completion fish >$(FISH_TO)/acrelay.fish
uninstall: ## remove what install put there
	rm -f $(PROGRAMS:$(BUILD)/%=$(DESTDIR)$(PREFIX)/bin/%)
	rm -f $(addprefix $(UNITS_TO)/,$(SERVICES) $(SERVICES_AT) acrelay-https.service)
	rm -f $(foreach page,$(MANUALS),$(MAN_TO)/man$(lastword $(subst ., ,$(page)))/$(page))
	rm -f $(BASH_TO)/acrelay $(ZSH_TO)/_acrelay $(FISH_TO)/acrelay.fish
	rm -rf $(DOC) $(DESTDIR)$(PREFIX)/share/acrelay

deb: ## a Debian package in build/deb, built as any user; VERSION=
	@sh tests/packages.sh deb
	@sh deploy/debian/build.sh $(VERSION) build/deb

clean: ## remove build/
	rm -rf build
include tests/check.mk
-include $(wildcard $(BUILD)/*/*.d)
