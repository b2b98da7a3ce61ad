# SPDX-License-Identifier: Apache-2.0
# native.mk: builds small native programs that take a LibOS's place: each is apps/native and its own folder, under the
# flags of apps/hostile. They have no heap.

NATIVE_PROGRAMS := stride deadline pager collector tenants
NATIVE_HEADERS := $(wildcard apps/native/*.h)

define native
$(B)/native/$(1).o: $(call swift_sources,apps/native) $(call swift_sources,apps/$(1)) $(NATIVE_HEADERS) $(L)/ApusABI.o $(HEADERS) \
  tools/build.mk tools/native.mk
	@mkdir -p $(B)/native
	@echo "  swiftc $(1)" >&2
	@$(SWIFTC) $(HOSTILE_SWIFT) -I $(L) -import-objc-header apps/native/Native.h -module-name Program \
	  -c $(call swift_sources,apps/native) $(call swift_sources,apps/$(1)) -o $$@
$(B)/$(1).elf: $(B)/native/$(1).o $(B)/native/Entry.o $(X)/Memory.o $(L)/ApusABI.o apps/native/native.ld
	@echo "  link $(1).elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T apps/native/native.ld \
	  $(B)/native/$(1).o $(B)/native/Entry.o $(X)/Memory.o $(L)/ApusABI.o -o $$@
endef
$(foreach program,$(NATIVE_PROGRAMS),$(eval $(call native,$(program))))

$(B)/native/Entry.o: apps/native/Entry.S $(NATIVE_HEADERS) $(HEADERS) tools/build.mk tools/native.mk
	@mkdir -p $(B)/native
	@$(CLANG) $(C_COMMON) -I apps/native -c $< -o $@

.PHONY: native
native: $(foreach program,$(NATIVE_PROGRAMS),$(B)/$(program).elf)
