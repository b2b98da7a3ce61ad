# SPDX-License-Identifier: Apache-2.0
# courier.mk: builds small LibOSes of their own on libos/Runtime: apps/courier, with which that is tested by itself,
# apps/echo, which answers packets, apps/tcpecho, which answers TCP with the network stack, and apps/cheetah, a web server.

# name, module, further modules that it is linked with, further objects, further flags
define runtime_program
$(eval $(call module,$(B)/$(1),$(LIBOS_SWIFT) $(5) -I $(L),$(2),$(call swift_sources,apps/$(1)),))
$(B)/$(1)/$(2).o: $(L)/ApusRuntime.o $(foreach m,$(3),$(L)/$(m).o)
$(B)/$(1).elf: $(RUNTIME_OBJECTS) $(foreach m,$(3),$(L)/$(m).o) $(B)/$(1)/$(2).o $(4) tools/libos.ld
	@echo "  link $(1).elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T tools/libos.ld \
	  $(RUNTIME_OBJECTS) $(foreach m,$(3),$(L)/$(m).o) $(B)/$(1)/$(2).o $(4) -o $$@
endef

# BPF programs for the kernel, as a LibOS carries them: the instructions and nothing else.
$(B)/bpf/%.bin: apps/bpf/%.c apps/bpf/apus.h tools/courier.mk
	@mkdir -p $(@D)
	@$(CLANG) -target bpf -mcpu=v3 -O2 -Wall -Werror -c $< -o $(@:.bin=.o)
	@$(OBJCOPY) -O binary --only-section=program $(@:.bin=.o) $@
OBJCOPY ?= llvm-objcopy
$(B)/echo/Handler.o: apps/echo/Handler.S $(B)/bpf/echo.bin tools/courier.mk
	@mkdir -p $(@D)
	@$(CLANG) $(C_COMMON) $(LIBOS_C) -DPROGRAM='"$(B)/bpf/echo.bin"' -c $< -o $@

$(eval $(call runtime_program,courier,Courier,))
$(eval $(call runtime_program,echo,Echo,,$(B)/echo/Handler.o,-import-objc-header apps/echo/Echo.h))
$(eval $(call runtime_program,tcpecho,TCPEcho,ApusNet ApusNetRing))
$(eval $(call runtime_program,cheetah,Cheetah,ApusNet ApusNetRing ApusHTTP ApusImage))

hostile: $(B)/courier.elf
native: $(B)/echo.elf $(B)/tcpecho.elf $(B)/cheetah.elf
