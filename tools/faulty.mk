# SPDX-License-Identifier: Apache-2.0
# faulty.mk: builds apps/faulty, a small LibOS that fails on purpose, for the tests of what is told of failures.

$(eval $(call module,$(B)/faulty,$(LIBOS_SWIFT) -I $(L),Faulty,$(call swift_sources,apps/faulty),))
$(B)/faulty/Faulty.o: $(L)/ApusRuntime.o

$(B)/faulty.elf: $(RUNTIME_OBJECTS) $(B)/faulty/Faulty.o tools/libos.ld
	@echo "  link faulty.elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T tools/libos.ld \
	  $(RUNTIME_OBJECTS) $(B)/faulty/Faulty.o -o $@

hostile: $(B)/faulty.elf
