# SPDX-License-Identifier: Apache-2.0
# hostile.mk: builds the native test program that takes a LibOS's place and attacks the kernel. Flags as for a LibOS, but
# it may not allocate: it has no heap.

X := $(B)/hostile
HOSTILE_SWIFT := $(filter-out -strict-memory-safety -Wwarning StrictMemorySafety,$(SWIFT_COMMON)) -O -Xfrontend -no-allocations -Xcc -fPIC
HOSTILE_SOURCES := $(call swift_sources,apps/hostile)
HOSTILE_HEADERS := $(wildcard apps/hostile/*.h)
HOSTILE_OBJECTS := $(addprefix $(X)/,Entry.o Snippets.o Neighbours.o Transfers.o Memory.o Hostile.o) $(L)/ApusABI.o

$(X)/Hostile.o: $(HOSTILE_SOURCES) $(HOSTILE_HEADERS) $(L)/ApusABI.o $(HEADERS) tools/build.mk tools/hostile.mk
	@mkdir -p $(X)
	@echo "  swiftc Hostile" >&2
	@$(SWIFTC) $(HOSTILE_SWIFT) -I $(L) -import-objc-header apps/hostile/Hostile.h -module-name Hostile -c $(HOSTILE_SOURCES) -o $@
$(X)/Memory.o: tools/memory.c tools/build.mk tools/hostile.mk
	@mkdir -p $(X)
	@$(CLANG) $(C_COMMON) -fPIC -fno-builtin -c $< -o $@
$(X)/%.o: apps/hostile/%.S $(HOSTILE_HEADERS) $(HEADERS) tools/build.mk tools/hostile.mk
	@mkdir -p $(X)
	@$(CLANG) $(C_COMMON) -I apps/hostile -c $< -o $@

$(B)/hostile.elf: $(HOSTILE_OBJECTS) apps/hostile/hostile.ld
	@echo "  link hostile.elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T apps/hostile/hostile.ld $(HOSTILE_OBJECTS) -o $@

.PHONY: hostile
hostile: $(B)/hostile.elf
