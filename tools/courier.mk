# SPDX-License-Identifier: Apache-2.0
# courier.mk: builds small LibOSes of their own on libos/Runtime: apps/courier, with which that is tested by itself, and
# apps/echo, which answers packets.

define runtime_program
$(eval $(call module,$(B)/$(1),$(LIBOS_SWIFT) -I $(L),$(2),$(call swift_sources,apps/$(1)),))
$(B)/$(1)/$(2).o: $(L)/ApusRuntime.o
$(B)/$(1).elf: $(RUNTIME_OBJECTS) $(B)/$(1)/$(2).o tools/libos.ld
	@echo "  link $(1).elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T tools/libos.ld \
	  $(RUNTIME_OBJECTS) $(B)/$(1)/$(2).o -o $$@
endef
$(eval $(call runtime_program,courier,Courier))
$(eval $(call runtime_program,echo,Echo))

hostile: $(B)/courier.elf
native: $(B)/echo.elf
