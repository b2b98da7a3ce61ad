# SPDX-License-Identifier: Apache-2.0
# courier.mk: builds apps/courier, a small LibOS of its own on libos/Runtime, with which that is tested by itself.

$(eval $(call module,$(B)/courier,$(LIBOS_SWIFT) -I $(L),Courier,$(call swift_sources,apps/courier),))
$(B)/courier/Courier.o: $(L)/ApusRuntime.o

$(B)/courier.elf: $(RUNTIME_OBJECTS) $(B)/courier/Courier.o tools/libos.ld
	@echo "  link courier.elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T tools/libos.ld \
	  $(RUNTIME_OBJECTS) $(B)/courier/Courier.o -o $@

hostile: $(B)/courier.elf
