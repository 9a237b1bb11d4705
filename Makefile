# rollouthost: everything a person needs is `make demo` and `make test`; see README.md.
BUILD   ?= build
PREFIX  ?= /usr/local
CC      ?= gcc
PKGS     = lua5.4 libuv sqlite3 jansson nettle
WARN     = -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wvla -Wwrite-strings -Wmissing-prototypes -Werror
HARDEN   = -O2 -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
           -ftrivial-auto-var-init=zero
OPT     ?= $(HARDEN)
CFLAGS  += -std=c11 -D_GNU_SOURCE -g $(OPT) $(WARN) -Ihost -I. -MMD -MP -DRH_LUA_DIR='"$(BUILD)/lua"'
LDFLAGS += -Wl,-z,relro,-z,now $(SANITIZE)
# `make V=1` shows the whole command lines.
Q        = $(if $(V),,@echo "  $(if $(filter %.o,$@),cc,ld)  $@";)
PKG      = $(shell pkg-config --$(1) $(2) 2>/dev/null)

HOST_SRC   = $(wildcard host/main.c host/*/*.c)
HOST_OBJ   = $(HOST_SRC:%.c=$(BUILD)/obj/%.o)
LANG_SRC   = $(wildcard host/lang/*.lua)
GUARD_SRC  = $(wildcard guard/*.c) host/core/mask.c host/core/mask_encode.c host/core/frame.c host/core/buffer.c host/core/error.c
GUARD_OBJ  = $(GUARD_SRC:%.c=$(BUILD)/guardobj/%.o)
MODULES    = $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard modules/*/*_lua.c)))))
MODULE_SO  = $(MODULES:%=$(BUILD)/modules/%.so)
GUARDIAN   = $(if $(wildcard guard/*.c),$(BUILD)/rollouthost-guardian)
LIB_LUA    = $(patsubst modules/lib/%,$(BUILD)/modules/%,$(wildcard modules/lib/*.lua))

all: check-deps $(BUILD)/rollouthost $(GUARDIAN) $(MODULE_SO) $(LIB_LUA)

check-deps:
	@vendor/check

$(BUILD)/rollouthost: $(HOST_OBJ)
	$(Q)$(CC) -pie -rdynamic $(LDFLAGS) -o $@ $^ $(call PKG,libs,$(PKGS)) -ldl -lm -lpthread

$(BUILD)/rollouthost-guardian: $(GUARD_OBJ)
	$(Q)$(CC) -pie $(LDFLAGS) -o $@ $^

$(BUILD)/obj/host/%.o: host/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(SANITIZE) -fPIE $(call PKG,cflags,$(PKGS)) -c -o $@ $<

# The host's own Lua is compiled and embedded: by lang.c, and by each module's binding.
$(BUILD)/lua/host/lang/%.luac: host/lang/%.lua mk/compile.lua
	@mkdir -p $(@D)
	@lua5.4 mk/compile.lua lang.$* $< $@
$(BUILD)/lua/modules/%.luac: modules/%.lua mk/compile.lua
	@mkdir -p $(@D)
	@lua5.4 mk/compile.lua rollout.$(*F) $< $@
.SECONDARY: # compiled Lua is kept: nothing is made anew that has not changed
$(BUILD)/obj/host/run/lang.o: $(LANG_SRC:%.lua=$(BUILD)/lua/%.luac)

$(BUILD)/guardobj/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(SANITIZE) -fPIE -c -o $@ $<

# A module is every .c of its folder; module.mk beside them names its packages: PKGS_http = libcurl
-include $(wildcard modules/*/module.mk)
define MODULE_RULE
$(BUILD)/modules/$(1).so: $$(patsubst %.c,$(BUILD)/modobj/%.o,$$(wildcard modules/$(1)/*.c))
	@mkdir -p $$(@D)
	$$(Q)$$(CC) -shared $$(LDFLAGS) -o $$@ $$^ $$(if $$(PKGS_$(1)),$$(call PKG,libs,$$(PKGS_$(1))))
$(BUILD)/modobj/modules/$(1)/%.o: modules/$(1)/%.c $$(patsubst %.lua,$(BUILD)/lua/%.luac,$$(wildcard modules/$(1)/*.lua))
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CFLAGS) $$(SANITIZE) -fPIC -DRH_MODULE_LUA='"$(BUILD)/lua/modules/$(1)"' \
	    $$(call PKG,cflags,lua5.4 libuv $$(PKGS_$(1))) -c -o $$@ $$<
endef
$(foreach m,$(MODULES),$(eval $(call MODULE_RULE,$(m))))

$(BUILD)/modules/%.lua: modules/lib/%.lua
	@mkdir -p $(@D)
	cp $< $@

-include mk/targets.mk

clean:
	rm -rf $(BUILD)

.PHONY: all clean check-deps
-include $(shell find $(BUILD) -name npm -prune -o -name '*.d' -type f -print 2>/dev/null)
