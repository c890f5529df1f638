# Tests and other checks, included by the Makefile. `make test` runs tests/run.py, which calls most
# of these targets; each can also be run on its own.
.PHONY: tools unit units threads live bench bench-journal bench-normal bench-backlog bench-partitions \
    bench-commands bench-ids fuzz analyse memcheck \
    coverage reference soak soak-partitions soak-normal soak-malloc soak-worker soak-commands failovers \
    test-systemd test-roots test-servers test-container \
    kubernetes-api prism axe operations-table cloudevents format \
    format-check layers

TOOLS    := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c))
PRELOADS := $(patsubst tests/preload/%.c,$(BUILD)/preload/%.so,$(wildcard tests/preload/*.c))
UNITS    := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*.c))

# multi-threaded programs for TSan, under which Criterion cannot run
THREADS  := $(patsubst tests/threads/%.c,$(BUILD)/threads/%,$(wildcard tests/threads/*.c))

tools: $(TOOLS) $(PRELOADS) $(BUILD)/acsim ## test programs, preloaded libraries and the simulator

# --- rules ----------------------------------------------------------------------------
# wrapped system calls: tests make the steps of the journal fail or crash, or record them
WRAP := $(foreach f,openat pwrite pwritev2 fdatasync fsync ftruncate renameat renameat2 unlinkat \
                    mkdirat,-Wl,--wrap=$(f))
WRAP_journal_fault := $(WRAP)
WRAP_journal_power := $(WRAP)
WRAP_tail := -Wl,--wrap=pwritev2
WRAP_journal_place := -Wl,--wrap=statx,--wrap=fstatvfs
# wrapped clocks, which tests set
WRAP_journal_clock := -Wl,--wrap=clock_read_us

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

# preloaded into programs as they are, so built without a sanitizer
$(BUILD)/preload/%.so: tests/preload/%.c Makefile
	@mkdir -p $(@D)
	$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra $(WERROR) -O2 -g -fPIC -shared $< -ldl -o $@

# the simulator of ActiveCampaign
SIMULATOR := $(patsubst tests/simulator/%.c,$(BUILD)/simulator/%.o,$(wildcard tests/simulator/*.c))
$(BUILD)/simulator/%.o: tests/simulator/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -iquote tests/simulator -MMD -MP -c $< -o $@
$(BUILD)/simulator/operations.o: tests/simulator/operations.txt
$(BUILD)/acsim: $(SIMULATOR) $(ARCHIVES)
	$(call LINK,$(SIMULATOR)) -o $@

$(BUILD)/threads/%: tests/threads/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	$(call LINK,$(ALL_CFLAGS) -Itests/threads $<) -o $@

# --- checks ---------------------------------------------------------------------------
units: $(UNITS) ## build the unit tests
# the longest first, two at a time
# Three times at most where the run says nothing about the program: LeakSanitizer cannot always stop
# the threads of one that ends, and Criterion sometimes hangs before the first test begins. One that
# hangs later is ended, and the last of its tests that began stands in its output. What a sanitizer
# reports of the program counts in any run: of a leak in one of its tests Criterion makes a success.
unit: $(UNITS) ## unit tests
	@echo $(filter %_fault %_power,$(UNITS)) $(filter-out %_fault %_power,$(UNITS)) | \
	    xargs -n 1 -P 2 sh -c 'for run in 1 2 3; do \
	        out=$$(timeout 600 $$0 --jobs 1 --verbose 2>&1); code=$$?; \
	        case "$$code $$out" in *"ERROR: "*"Sanitizer: "*|*": runtime error: "*) code=1; break ;; \
	            0*) break ;; \
            *"LeakSanitizer has encountered a fatal"*) ;; \
	            124*"[RUN ]"*) break ;; 124*) ;; *) break ;; esac; done; \
	    echo "$$0\n$$out"; exit $$code'
threads: $(THREADS) ## run the multi-threaded programs, for SAN=thread
	@failed=0; for t in $(THREADS); do $$t || failed=1; done; exit $$failed
# with all threads on one core, then on all cores
bench-journal: $(BUILD)/bench/journal ## benchmark appending to the journal
	@for n in 1 8 64 256; do taskset -c 0 $< $$n; done; echo 'on all cores:'; $< 64
live: all tools ## run the tests with real processes
	$(PYTHON) -m pytest -q tests/live
$(BUILD)/bench/%: tests/bench/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@.o
	$(call LINK,$@.o) -o $@
# compares acrelayd with a bare and a naive server (and webdis, if installed), in one run
ROUNDS ?= 20
BENCH_SECONDS ?= 1
bench: all $(BUILD)/bench/load $(BUILD)/bench/server ## compare acrelayd with a bare and a naive server; ROUNDS= BENCH_SECONDS=
	$(PYTHON) tests/bench/serve.py --rounds $(ROUNDS) --seconds $(BENCH_SECONDS)
# compares with cJSON, PHP, Node and Python: time, instructions (callgrind), scaling
bench-normal: $(BUILD)/bench/normal ## benchmark parsing a body into an event
	@$(PYTHON) tests/bench/normal.py $(BUILD)/bench/normal
RECORDS ?= 1000000
bench-partitions: all tools ## compare 1, 2 and 4 partitions; ROUNDS= RECORDS=
	@$(PYTHON) tests/bench/partitions.py --rounds $(ROUNDS) --records $(RECORDS)
# a journal with RECORDS unpublished records: the first answer after a start, and draining
bench-backlog: all tools ## time to the first answer with RECORDS= unpublished records
	@$(PYTHON) tests/bench/backlog.py --records $(RECORDS)
# three services, one of which floods the lane of commands: shares, latencies, use of the rate
bench-commands: all tools ## benchmark the lane of commands
	@$(PYTHON) tests/bench/commands.py
bench-ids: all tools ## 1,000,000 remembered ids and 100,000 waiting commands: memory
	@$(PYTHON) tests/bench/ids.py
# libFuzzer with ASan and UBSan: replays the corpora, then fuzzes each target for SECONDS; new
# inputs are kept in build/fuzz/TARGET.found, crashes in build/fuzz/TARGET-crash-*
SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
fuzz: ## run libFuzzer on every target; SECONDS= each
	@$(MAKE) -s CC=clang SAN=fuzz BUILD=build/fuzz \
	    $(FUZZERS:%=build/fuzz/target/%)
	@for f in $(FUZZERS); do $(PYTHON) tests/fuzz/run.py $$f $(SECONDS) || exit 1; done
$(BUILD)/target/%: tests/fuzz/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@.o
	$(call LINK,$@.o) -fsanitize=fuzzer -o $@
# the static analyzers of gcc and clang, with the checks in .clang-tidy
analyse: ## run the static analyzers of gcc and clang
	@$(MAKE) -s all CC=gcc CFLAGS='-O1 -g -fanalyzer' BUILD=build/analyse
	@ls src/*/*.c | xargs -P 2 -n 8 sh -c 'clang-tidy --quiet "$$@" -- -std=c17 \
	    -D_GNU_SOURCE -DACRELAY_VERSION=\"\" -iquote src 2>/dev/null' sh
# without the unit tests that kill processes or take minutes under valgrind
VALGRIND := base config event hook_json verify metric options pace plan reply script
memcheck: $(VALGRIND:%=$(BUILD)/unit/%) ## run unit tests under valgrind
	@for t in $^; do valgrind -q --error-exitcode=9 --leak-check=full \
	    --errors-for-leak-kinds=definite $$t --jobs 1 || exit 1; done
# lines and branches covered by the unit tests and the live tests
COVERED = $(MAKE) -s CC=gcc CFLAGS='-O0 -g --coverage -fprofile-update=atomic' HARDEN=-fPIE \
    BUILD=build/coverage
coverage: ## report the coverage of lines and branches
	@mkdir -p build/coverage
	@$(COVERED) -k unit LDFLAGS=--coverage || true
	@gcc -O1 -c tests/gcov.c -o build/coverage/gcov.o
	@$(COVERED) all tools \
	    LDFLAGS='--coverage -Wl,--wrap=_exit $(CURDIR)/build/coverage/gcov.o'
	@-ACRELAY_BUILD=$(CURDIR)/build/coverage $(PYTHON) -m pytest -q -p no:cacheprovider tests/live
	@gcovr -r . --object-directory build/coverage -f src/ -s --gcov-ignore-parse-errors | tail -110
# parses BODIES random bodies with acrelay and with a second implementation of the normal form
BODIES ?= 20000
reference: tools ## compare events with a second implementation; BODIES=
	$(PYTHON) tests/reference/compare.py $(BUILD)/tools/normal --count $(BODIES)
	$(PYTHON) tests/reference/zones.py $(BUILD)/tools/normal
soak-normal: tools ## the same with a million bodies
	$(PYTHON) tests/reference/zones.py $(BUILD)/tools/normal --all
	@$(MAKE) -s reference BODIES=1000000
# it says what it does and how long that may take before it starts
failovers: all ## deliveries while Sentinel and Cluster fail over and a slot moves
	$(PYTHON) tests/live/failovers.py
# the ledger with many deliveries, and with random faults from SEEDS seeds
SOAK ?= 50000
SEEDS ?= 200
soak: all tools ## run the ledger with random faults; SEEDS=
	$(PYTHON) tests/live/ledger.py --count $(SOAK) --receiver-kills 3 --redis-kills 1 --rollbacks 2
	$(PYTHON) tests/live/soak.py --seeds $(SEEDS)
soak-partitions: all tools ## the same with two receivers and four partitions; SEEDS=
	$(PYTHON) tests/live/soak.py --seeds $(SEEDS) --receivers 2 --partitions 4

# installs the package on a booted machine with a real systemd, under load; needs root
test-systemd: deps ## test the package on a booted machine at full scale; as root
	$(PYTHON) -m pytest -q -ra -p no:cacheprovider tests/systemd --whole

# in clean roots of Debian 13 and 12; needs root, debootstrap and the package archive. ROOTS= is a
# directory for them (build/roots), ONLY= words as "trixie root test"
test-roots: ## run `make demo`, `run`, `deb`, `test` in clean Debians; ROOTS= ONLY=; as root
	ROOTS=$(ROOTS) $(PYTHON) tests/roots/run.py $(ONLY)

# needs the package archive, and no root; ONLY= words as "redis-8.0 valkey-8.1"
test-servers: all tools ## the live suite on Redis 7.0 and 8.0, Valkey 8.0 and 8.1; ONLY=
	$(PYTHON) tests/servers.py $(ONLY)

# in build/container: Debian's root and packages, which stay. Needs root, buildah, debootstrap, the
# package archive, and npm
DEBIAN ?= 13
test-container: all tools kubernetes-api ## build and run the container image; DEBIAN=12; as root
	DEBIAN=$(DEBIAN) $(PYTHON) -m pytest -q -s -ra -p no:cacheprovider tests/container
kubernetes-api: ## install Kubernetes' published API, for checks of the manifests (npm)
	@test -e build/kubernetes/node_modules/typescript || { mkdir -p build/kubernetes && \
	    cd build/kubernetes && npm install --no-audit --no-fund --silent \
	    kubernetes-models@4.5.1 typescript@5; }

# a proxy that validates the worker's requests; needs npm and a network
prism: ## install the proxy that validates API requests (npm)
	@mkdir -p build/prism
	cd build/prism && npm install --no-audit --no-fund --silent @stoplight/prism-cli@5
# judges the inspector's page by WCAG, beside our own checks; needs npm and a network
axe: ## install the checker of the page's accessibility (npm)
	@mkdir -p build/axe
	cd build/axe && npm install --no-audit --no-fund --silent axe-core@4
# a test installs it itself, so side by side with others, and where there may be no network
cloudevents: ## install the CloudEvents SDK that reads entries in a test (npm)
	@mkdir -p build/cloudevents
	@cd build/cloudevents && flock . sh -c 'test -e node_modules/cloudevents/package.json || \
	    npm install --no-audit --no-fund --silent --fetch-retries=1 --fetch-timeout=20000 \
	    cloudevents@10.0.0'
operations-table: all tools ## every operation through stream, lane, Prism and simulator, as a table
	$(PYTHON) tests/live/operations_table.py
# makes every allocation of acrelayd fail in turn; `make test` tries two dozen
MALLOC_FAULTS ?= 600
soak-malloc: all tools ## make allocations fail; MALLOC_FAULTS=
	MALLOC_FAULTS=$(MALLOC_FAULTS) $(PYTHON) -m pytest -q -s -p no:cacheprovider \
	    tests/live/test_nth_malloc.py
WORKER_RUNS ?= 500
soak-worker: all tools ## run the worker with random faults; WORKER_RUNS= seeds
	$(PYTHON) tests/live/worker_faults.py --seeds $(WORKER_RUNS)

# faults at random around services' commands; says first how long it takes
soak-commands: all tools ## run commands with random faults; SEEDS=
	$(PYTHON) tests/live/commands_soak.py --seeds $(SEEDS)

# --- form -----------------------------------------------------------------------------
# by version: each formats in its own way, and Debian 12 and 13 both have this one
CLANG_FORMAT ?= clang-format-19
FORMATTED = $(wildcard src/*/*.[ch] tests/*/*.[ch])
format: ## format all sources with clang-format
	$(CLANG_FORMAT) -i $(FORMATTED)
format-check: ## check the format of all sources
	$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)
layers: all ## check includes and circles; print the figures of the source
	@$(PYTHON) tests/layers.py $(BUILD)
