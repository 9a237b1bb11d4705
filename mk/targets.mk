# What a developer asks for. Included by the Makefile; `make` alone builds.

JOBS    ?= 2
# Seconds that one file may take before it counts as hung; several times of what the longest takes.
TIMEOUT ?= 900
C_FILES  = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')

# --- specs ------------------------------------------------------------------------------------------
# spec/unit/X_test.c is linked with the whole host (without main), and with the engine of the module
# whose name it begins with: http_retry_test.c with modules/http/*.c, its binding left out.

UNIT_SRC   = $(wildcard spec/unit/*_test.c)
UNITS      = $(UNIT_SRC:spec/unit/%.c=$(BUILD)/unit/%)
UNIT_HOST  = $(filter-out $(BUILD)/obj/host/main.o,$(HOST_OBJ))
unit_module = $(firstword $(filter $(MODULES),$(subst _, ,$(1))))
unit_engine = $(if $(1),$(patsubst %.c,$(BUILD)/modobj/%.o,$(filter-out %_lua.c,$(wildcard modules/$(1)/*.c))))

define UNIT_RULE
$(BUILD)/unit/$(1): $(BUILD)/unit/$(1).o $(UNIT_HOST) $(call unit_engine,$(call unit_module,$(1)))
	$$(Q)$$(CC) -pie -rdynamic $$(LDFLAGS) -o $$@ $$^ $$(call PKG,libs,$$(PKGS) cmocka \
	    $$(PKGS_$(call unit_module,$(1)))) -ldl -lm -lpthread
endef
$(foreach u,$(UNIT_SRC:spec/unit/%.c=%),$(eval $(call UNIT_RULE,$(u))))

$(BUILD)/unit/%.o: spec/unit/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(SANITIZE) -fPIE $(call PKG,cflags,$(PKGS) cmocka) -c -o $@ $<

units: all $(UNITS)

LUA_SPECS = $(sort $(shell find spec/host spec/modules spec/playbooks spec/faults spec/regress \
                -name '*_spec.lua' 2>/dev/null))
SPECS    ?= $(UNITS) $(LUA_SPECS)

# Everything below that needs packages installs them first, and only then asks pkg-config again.
test:
	@vendor/install build run test
	@$(MAKE) --no-print-directory units
	@$(MAKE) --no-print-directory specs

specs:
	@ROLLOUTHOST_BUILD=$(BUILD) spec/run --jobs $(JOBS) --timeout $(TIMEOUT) $(SPECS)

# Kills at every commit of TERP's rollout, where `test` kills at some of them.
matrix: all
	@vendor/install build run test
	@RH_MATRIX_EVERY=1 $(MAKE) --no-print-directory TIMEOUT=3600 \
	    SPECS='$(wildcard spec/faults/terp_*_spec.lua) spec/faults/every_verb_spec.lua' specs

# --- the same under watch ---------------------------------------------------------------------------

ASAN      = BUILD=build-asan OPT="-O1 -fno-omit-frame-pointer" \
            SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
# Modules in Lua alone have nothing for it to find, and tools of npm's are slow enough without.
LUA_ALONE   = $(foreach name,bluegreen compose_app datadog deploys_plan docuseal github grafana k6 kubectl migrate node pagerduty \
              pm2 prometheus python railway render repo sentry ssh statuspage systemd vercel webhook,spec/modules/$(name)_%)
ASAN_SPECS ?= $(UNIT_SRC:spec/unit/%.c=build-asan/unit/%) $(filter-out $(LUA_ALONE),$(filter spec/host/% spec/modules/%,$(LUA_SPECS)))

asan:
	@vendor/install build run test
	@$(MAKE) --no-print-directory $(ASAN) units
	@ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    $(MAKE) --no-print-directory $(ASAN) SPECS='$(ASAN_SPECS)' specs

VALGRIND = valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite
valgrind:
	@vendor/install build run test tools
	@$(MAKE) --no-print-directory units
	@SPEC_SLOW=1 ROLLOUTHOST_BUILD=$(BUILD) spec/run --jobs $(JOBS) --timeout $(TIMEOUT) \
	    --wrap '$(VALGRIND)' $(UNITS)

# Lua's collector runs all the time: what C forgot to anchor is gone before it is used.
GCSTRESS = BUILD=build-gcstress OPT="$(HARDEN) -DRH_GC_STRESS"
GCSTRESS_SPECS ?= spec/host/engine_spec.lua spec/host/gate_spec.lua spec/modules/sh_spec.lua spec/modules/json_spec.lua
gcstress:
	@vendor/install build run test
	@$(MAKE) --no-print-directory $(GCSTRESS) units
	@$(MAKE) --no-print-directory $(GCSTRESS) \
	    SPECS='$(UNIT_SRC:spec/unit/%.c=build-gcstress/unit/%) $(GCSTRESS_SPECS)' specs

COVER = BUILD=build-cover OPT="-O0 --coverage" SANITIZE=--coverage
cover:
	@vendor/install build run test tools
	@$(MAKE) --no-print-directory $(COVER) units
	@$(MAKE) --no-print-directory $(COVER) \
	    SPECS='$(UNIT_SRC:spec/unit/%.c=build-cover/unit/%) $(LUA_SPECS)' specs
	@gcovr --root . --filter host/ --filter modules/ --filter guard/ build-cover

# spec/fuzz/X_fuzz.c, a libFuzzer target each, run for FUZZ_TIME seconds; what it finds stays in build-fuzz/.
FUZZ_TIME ?= 60
FUZZ_SRC   = $(wildcard spec/fuzz/*_fuzz.c)
FUZZERS    = $(FUZZ_SRC:spec/fuzz/%.c=$(BUILD)/fuzz/%)
FUZZ       = BUILD=build-fuzz CC=clang OPT="-O1 -fno-omit-frame-pointer" \
             SANITIZE="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined"

$(BUILD)/fuzz/%: spec/fuzz/%.c $(UNIT_HOST)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fsanitize=address,undefined,fuzzer -rdynamic $(call PKG,cflags,$(PKGS)) -o $@ $^ \
	    $(call PKG,libs,$(PKGS)) -ldl -lm -lpthread

fuzzers: $(FUZZERS)
fuzz:
	@vendor/install build tools
	@$(MAKE) --no-print-directory $(FUZZ) fuzzers
	@for fuzzer in $(FUZZ_SRC:spec/fuzz/%.c=build-fuzz/fuzz/%); do \
	    mkdir -p $$fuzzer.corpus; \
	    $$fuzzer -max_total_time=$(FUZZ_TIME) -artifact_prefix=$$fuzzer. -rss_limit_mb=1024 $$fuzzer.corpus \
	        >$$fuzzer.log 2>&1 || { tail -n 40 $$fuzzer.log; exit 1; }; \
	    echo "ok  $$fuzzer  $$(tail -n 1 $$fuzzer.log)"; \
	done

# --- the source -------------------------------------------------------------------------------------

# cppcheck does not know that raising an error does not return: hence no nullPointerRedundantCheck.
lint:
	@vendor/install build lint
	@bad=$$(clang-format --dry-run $(C_FILES) 2>&1 | sed -n 's/:.*-Wclang-format-violations.*//p' | sort -u); \
	    [ -z "$$bad" ] || { echo "not formatted (\`make format\`):" $$bad; exit 1; }
	@luacheck --quiet --no-color .
	@cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
	    --suppress=missingIncludeSystem --suppress=nullPointerRedundantCheck -j$(JOBS) -D_GNU_SOURCE '-DRH_MODULE_LUA="x"' \
	    '-DRH_LUA_DIR="x"' \
	    '-DRH_EMBED(a,b)=' -Ihost -I. host guard modules
	@scripts/lint-rooms
	@echo "lint: nothing to complain about"

format:
	@vendor/install lint
	@clang-format -i $(C_FILES)

# --- to show and to use -----------------------------------------------------------------------------

demo:
	@vendor/install build run test
	@$(MAKE) --no-print-directory all
	@ROLLOUTHOST_BUILD=$(BUILD) spec/world/terp/demo

# spec/bench/X.c are programs: those whose name ends in _bench measure, the others are measured against.
BENCH_SRC = $(wildcard spec/bench/*.c)
BENCHES   = $(BENCH_SRC:spec/bench/%.c=$(BUILD)/bench/%)

$(BUILD)/bench/%: spec/bench/%.c $(UNIT_HOST)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fPIE -pie -rdynamic $(LDFLAGS) $(call PKG,cflags,$(PKGS)) -o $@ $^ $(call PKG,libs,$(PKGS)) \
	    -ldl -lm -lpthread
# The floors have nothing of the host in them.
PKGS_floor      = sqlite3 nettle
PKGS_http_floor = libcurl
PKGS_http_multi_floor = libcurl libuv
FLOORS          = race floor http_floor http_multi_floor
$(FLOORS:%=$(BUILD)/bench/%): $(BUILD)/bench/%: spec/bench/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fPIE -pie $(LDFLAGS) -o $@ $< $(if $(PKGS_$*),$(call PKG,cflags --libs,$(PKGS_$*)))

benches: all $(BENCHES)
bench:
	@vendor/install build run test
	@$(MAKE) --no-print-directory benches
	@ROLLOUTHOST_BUILD=$(BUILD) spec/bench/run

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/rollouthost/modules
	install $(BUILD)/rollouthost $(BUILD)/rollouthost-guardian $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(MODULE_SO) $(LIB_LUA) $(DESTDIR)$(PREFIX)/lib/rollouthost/modules

.PHONY: units test specs matrix asan valgrind cover fuzz fuzzers lint format demo bench benches install
