# SPDX-License-Identifier: Apache-2.0
# steward.mk: builds apps/steward, the first family of a machine with several programs, on libos/Runtime.

$(eval $(call module,$(B)/steward,$(LIBOS_SWIFT) -I $(L),Steward,$(call swift_sources,apps/steward),))
$(B)/steward/Steward.o: $(L)/ApusRuntime.o $(L)/ApusImage.o

$(B)/steward.elf: $(RUNTIME_OBJECTS) $(L)/ApusImage.o $(B)/steward/Steward.o tools/libos.ld
	@echo "  link steward.elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T tools/libos.ld \
	  $(RUNTIME_OBJECTS) $(L)/ApusImage.o $(B)/steward/Steward.o -o $@

libos: $(B)/steward.elf
