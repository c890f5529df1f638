# acrelay: what you may set, flags, floors, programs, rules, checks. `make help` lists targets.

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
CFLAGS  ?= -O2 -g
ALL_CFLAGS  = -std=c17 -D_GNU_SOURCE -DACRELAY_VERSION='"$(VERSION)"' -iquote src \
              $(WARN) $(CFLAGS) $(HARDEN) $(SAN_$(SAN)) -pthread
ALL_LDFLAGS = $(LDFLAGS) $(SAN_$(SAN)) -pie -pthread -Wl,--as-needed -Wl,-z,relro,-z,now
# each foreign library is used by one file of src/edge (cJSON by *_json.c files)
LIBS := -lcivetweb -lcjson -lhiredis -lcurl -lyaml -lcrypto

# --- floors: an archive each; a floor may include only what stands left of it -----------
FLOORS   := base program event journal hook edge config relay receiver worker cli
MAINS    := src/receiver/acrelayd.c src/worker/acrelay-worker.c src/cli/acrelay.c
sources   = $(filter-out $(MAINS),$(wildcard src/$(1)/*.c))
objects   = $(patsubst src/%.c,$(BUILD)/%.o,$(1))
ARCHIVES := $(FLOORS:%=$(BUILD)/lib%.a)
TOOLS    := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c))
PRELOADS := $(patsubst tests/preload/%.c,$(BUILD)/preload/%.so,$(wildcard tests/preload/*.c))
PROGRAMS := $(foreach main,$(wildcard $(MAINS)),$(BUILD)/$(basename $(notdir $(main))))
UNITS    := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*.c))

# programs in which threads meet, for TSan (Criterion cannot run under it)
THREADS  := $(patsubst tests/threads/%.c,$(BUILD)/threads/%,$(wildcard tests/threads/*.c))

.PHONY: FORCE test-systemd test-long units bench-backlog soak-malloc analyse memcheck coverage deb man reference soak-normal install uninstall bench prism soak-worker all tools help unit threads bench-journal live test run demo deps format layers soak fuzz clean
.DELETE_ON_ERROR:
.SECONDARY:
all: $(PROGRAMS)
# small programs that tests drive, and libraries put before a program's own
tools: $(TOOLS) $(PRELOADS) $(BUILD)/acsim

help:
	@echo 'make            build the three programs into $(BUILD)/'
	@echo 'make run        install what is missing, start everything with a simulated account'
	@echo 'make demo       the same for a fixed number of deliveries, then a summary'
	@echo 'make test       every check, 6 minutes; make test-long: soaks, benchmarks, analyses'
	@echo 'make unit live  parts of it; make format layers; make bench fuzz soak'
	@echo 'make install uninstall   DESTDIR= PREFIX=; configuration goes to /etc/acrelay'
	@echo 'make deb        a Debian package in build/deb'
	@echo 'make test-systemd   that package on a booted machine, under load; as root'
	@echo 'make soak soak-worker soak-malloc soak-normal bench-normal bench-journal bench-backlog prism   longer ones'

# --- rules ----------------------------------------------------------------------------
$(BUILD)/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/event/samples.o: src/event/samples.txt

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

$(BUILD)/acrelayd: $(BUILD)/receiver/acrelayd.o $(ARCHIVES)
	$(call LINK,$<) -o $@
$(BUILD)/acrelay-worker: $(BUILD)/worker/acrelay-worker.o $(ARCHIVES)
	$(call LINK,$<) -o $@
$(BUILD)/acrelay: $(BUILD)/cli/acrelay.o $(ARCHIVES)
	$(call LINK,$<) -o $@

# tests in which the steps of the journal fail, die or are recorded
WRAP := $(foreach f,openat pwrite fdatasync fsync ftruncate renameat renameat2 unlinkat \
                    mkdirat,-Wl,--wrap=$(f))
WRAP_journal_fault := $(WRAP)
WRAP_journal_power := $(WRAP)
# clocks that lie
WRAP_journal_clock := -Wl,--wrap=clock_now_us -Wl,--wrap=clock_boot_us

$(BUILD)/unit/%.o: tests/unit/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Wno-pedantic -MMD -MP -c $< -o $@
$(BUILD)/unit/%: $(BUILD)/unit/%.o $(ARCHIVES)
	$(call LINK,$<) $(WRAP_$(notdir $@)) -lcriterion -o $@

$(BUILD)/tools/%.o: tests/tools/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/tools/%: $(BUILD)/tools/%.o $(ARCHIVES)
	$(call LINK,$<) -o $@

# loaded into a program as it is: no sanitizer
$(BUILD)/preload/%.so: tests/preload/%.c Makefile
	@mkdir -p $(@D)
	$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra $(WERROR) -O2 -g -fPIC -shared $< -ldl -o $@

# the simulator of ActiveCampaign
SIMULATOR := $(patsubst tests/simulator/%.c,$(BUILD)/simulator/%.o,$(wildcard tests/simulator/*.c))
$(BUILD)/simulator/%.o: tests/simulator/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -iquote tests/simulator -MMD -MP -c $< -o $@
$(BUILD)/acsim: $(SIMULATOR) $(ARCHIVES)
	$(call LINK,$(SIMULATOR)) -o $@

$(BUILD)/threads/%: tests/threads/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	$(call LINK,$(ALL_CFLAGS) $<) -o $@

# --- checks ---------------------------------------------------------------------------
units: $(UNITS)
# the longest first, two at a time
unit: $(UNITS)
	@echo $(filter %_fault %_power,$(UNITS)) $(filter-out %_fault %_power,$(UNITS)) | \
	    xargs -n 1 -P 2 sh -c 'out=$$($$0 --jobs 1 2>&1); code=$$?; echo "$$0\n$$out"; exit $$code'
threads: $(THREADS)
	@failed=0; for t in $(THREADS); do $$t || failed=1; done; exit $$failed
# what an append costs, with all threads on one core and on all of them
bench-journal: $(BUILD)/bench/journal
	@for n in 1 8 64 256; do taskset -c 0 $< $$n; done; echo 'on all cores:'; $< 64
live: all tools
	$(PYTHON) -m pytest -q tests/live
$(BUILD)/bench/%: tests/bench/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@.o
	$(call LINK,$@.o) -o $@
# acrelayd beside a bare and a naive server (and webdis, where installed), in one run
ROUNDS ?= 5
BENCH_SECONDS ?= 4
bench: all $(BUILD)/bench/load $(BUILD)/bench/server
	$(PYTHON) tests/bench/serve.py --rounds $(ROUNDS) --seconds $(BENCH_SECONDS)
# bytes to event beside cJSON, PHP, Node and Python: time, instructions (callgrind), scaling
bench-normal: $(BUILD)/bench/normal
	@$(PYTHON) tests/bench/normal.py $(BUILD)/bench/normal
# a journal with RECORDS unpublished records: the first answer after a start, and draining
RECORDS ?= 1000000
bench-backlog: all tools
	@$(PYTHON) tests/bench/backlog.py --records $(RECORDS)
# libFuzzer with ASan and UBSan: replays the corpora, then SECONDS for each target; what is
# found new is kept in build/fuzz/TARGET.found, a crash in build/fuzz/TARGET-crash-*
SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
fuzz:
	@$(MAKE) -s CC=clang SAN=fuzz CFLAGS='-O1 -g' BUILD=build/fuzz \
	    $(FUZZERS:%=build/fuzz/target/%)
	@for f in $(FUZZERS); do $(PYTHON) tests/fuzz/run.py $$f $(SECONDS) || exit 1; done
$(BUILD)/target/%: tests/fuzz/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@.o
	$(call LINK,$@.o) -fsanitize=fuzzer -o $@
# what gcc's and clang's analyzers find, with the short list in .clang-tidy
analyse:
	@$(MAKE) -s all CC=gcc CFLAGS='-O1 -g -fanalyzer' BUILD=build/analyse
	@ls src/*/*.c | xargs -P 2 -n 8 sh -c 'clang-tidy --quiet "$$@" -- -std=c17 \
	    -D_GNU_SOURCE -DACRELAY_VERSION=\"\" -iquote src 2>/dev/null' sh
# the unit tests under valgrind, without those that kill processes or take minutes there
VALGRIND := base config event hook_json inspect metric options pace plan reply script
memcheck: $(VALGRIND:%=$(BUILD)/unit/%)
	@for t in $^; do valgrind -q --error-exitcode=9 --leak-check=full \
	    --errors-for-leak-kinds=definite $$t --jobs 1 || exit 1; done
# lines and branches that the unit tests and the live tests reach
COVERED = $(MAKE) -s CC=gcc CFLAGS='-O0 -g --coverage -fprofile-update=atomic' HARDEN=-fPIE \
    BUILD=build/coverage
coverage:
	@mkdir -p build/coverage
	@$(COVERED) -k unit LDFLAGS=--coverage || true
	@gcc -O1 -c tests/gcov.c -o build/coverage/gcov.o
	@$(COVERED) all tools \
	    LDFLAGS='--coverage -Wl,--wrap=_exit $(CURDIR)/build/coverage/gcov.o'
	@-ACRELAY_BUILD=$(CURDIR)/build/coverage $(PYTHON) -m pytest -q -p no:cacheprovider tests/live
	@gcovr -r . --object-directory build/coverage -f src/ -s --gcov-ignore-parse-errors | tail -110
# bodies read by acrelay and by a second reading of the normal form: BODIES random ones
BODIES ?= 20000
reference: tools
	$(PYTHON) tests/reference/compare.py $(BUILD)/tools/normal --count $(BODIES)
	$(PYTHON) tests/reference/zones.py $(BUILD)/tools/normal
soak-normal: tools
	$(PYTHON) tests/reference/zones.py $(BUILD)/tools/normal --all
	@$(MAKE) -s reference BODIES=1000000
# the ledger over many deliveries, and under random faults from SEEDS seeds
SOAK ?= 50000
SEEDS ?= 200
soak: all tools
	$(PYTHON) tests/live/ledger.py --count $(SOAK) --receiver-kills 3 --redis-kills 1 --rollbacks 2
	$(PYTHON) tests/live/soak.py --seeds $(SEEDS)
run:
	@sh tests/packages.sh run
	@$(MAKE) -s all $(BUILD)/acsim
	@sh deploy/try.sh run
demo:
	@sh tests/packages.sh run
	@$(MAKE) -s all $(BUILD)/acsim
	@sh deploy/try.sh demo
test: deps
	$(PYTHON) tests/run.py
# what `make test` has no time for; says how long it takes
test-long: deps
	$(PYTHON) tests/run.py --long
# the package on a booted machine with a real systemd, under load: as root
test-systemd: deps
	$(PYTHON) -m pytest -q -ra -p no:cacheprovider tests/systemd --whole
deps:
	@sh tests/packages.sh

# the validating proxy that judges the worker's requests; needs npm and a network
prism:
	@mkdir -p build/prism
	cd build/prism && npm install --no-audit --no-fund --silent @stoplight/prism-cli@5
# every allocation of acrelayd fails in turn; `make test` tries two dozen
MALLOC_FAULTS ?= 600
soak-malloc: all tools
	MALLOC_FAULTS=$(MALLOC_FAULTS) $(PYTHON) -m pytest -q -s -p no:cacheprovider \
	    tests/live/test_nth_malloc.py
# the worker under random faults: WORKER_RUNS seeds
WORKER_RUNS ?= 500
soak-worker: all tools
	$(PYTHON) tests/live/worker_faults.py --seeds $(WORKER_RUNS)

# manual pages; the settings in acrelay.yaml(5) are printed from the table itself
MANUALS := acrelay.1 acrelay.yaml.5 acrelay-stream.7 acrelayd.8 acrelay-worker.8
man: $(MANUALS:%=$(BUILD)/man/%)
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
install: all man
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(PROGRAMS)
	install -d $(UNITS_TO) $(BASH_TO) $(ZSH_TO) $(FISH_TO)
	for unit in deploy/systemd/*; do \
	    sed 's|/usr/local|$(PREFIX)|' $$unit >$(UNITS_TO)/$${unit##*/} || exit 1; done
	for page in $(MANUALS); do \
	    install -D -m 644 $(BUILD)/man/$$page $(MAN_TO)/man$${page##*.}/$$page || exit 1; done
	install -D -m 644 -t $(DOC) README.md LICENSE conf/acrelay.yaml deploy/CHANGELOG.md deploy/OPERATING.md
	install -D -m 644 -t $(DOC)/proxy deploy/proxy/*
	install -D -m 644 -t $(DOC)/consumers deploy/consumers/*
	install -D -m 644 -t $(DOC)/redis deploy/redis/*
	install -D -m 644 -t $(DOC)/monitoring deploy/monitoring/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/acrelay/schemas conf/schemas/*.json
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/acrelay conf/asyncapi.yaml
	$(BUILD)/acrelay completion bash >$(BASH_TO)/acrelay
	$(BUILD)/acrelay completion zsh >$(ZSH_TO)/_acrelay
	$(BUILD)/acrelay completion fish >$(FISH_TO)/acrelay.fish
uninstall:
	rm -f $(PROGRAMS:$(BUILD)/%=$(DESTDIR)$(PREFIX)/bin/%)
	rm -f $(patsubst deploy/systemd/%,$(UNITS_TO)/%,$(wildcard deploy/systemd/*))
	rm -f $(foreach page,$(MANUALS),$(MAN_TO)/man$(lastword $(subst ., ,$(page)))/$(page))
	rm -f $(BASH_TO)/acrelay $(ZSH_TO)/_acrelay $(FISH_TO)/acrelay.fish
	rm -rf $(DOC) $(DESTDIR)$(PREFIX)/share/acrelay

# a Debian package, built as any user; needs dpkg-dev
deb:
	@sh deploy/debian/build.sh $(VERSION) build/deb

FORMATTED = $(wildcard src/*/*.[ch] tests/*/*.[ch])
format:
	clang-format -i $(FORMATTED)
format-check:
	clang-format --dry-run -Werror $(FORMATTED)
layers:
	@$(PYTHON) tests/layers.py

clean:
	rm -rf build
-include $(wildcard $(BUILD)/*/*.d)
