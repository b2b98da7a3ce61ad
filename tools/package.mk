# SPDX-License-Identifier: Apache-2.0
# package.mk: builds a package that `apus new` made, which lies elsewhere: its LibOS on libos/Runtime, its application
# inside of that.
#
# usage: make -C APUS_HOME -f tools/package.mk PACKAGE=/folder/of/the/package NAME=name

.DEFAULT_GOAL := package
include tools/build.mk

P := $(PACKAGE)/build
PACKAGE_TOOLS := $(wildcard tools/package/*) tools/package.mk tools/build.mk
PACKAGE_HEADER := -import-objc-header $(PACKAGE)/Calls.h -Xcc -I -Xcc tools/package
# The application has no heap: whoever wants one writes it.
APPLICATION_SWIFT := $(HOSTILE_SWIFT)

$(P)/Application.o: $(PACKAGE)/Application.swift $(PACKAGE)/Calls.h $(PACKAGE_TOOLS)
	@mkdir -p $(P)
	@echo "  swiftc Application" >&2
	@$(SWIFTC) $(APPLICATION_SWIFT) $(PACKAGE_HEADER) -module-name Application -c $(PACKAGE)/Application.swift -o $@
$(P)/application.bin: $(P)/Application.o $(X)/Memory.o
	@$(LLD) -static --oformat=binary --gc-sections -T tools/package/application.ld $^ -o $@
$(P)/Program.o: $(P)/application.bin $(PACKAGE_TOOLS)
	@$(CLANG) $(C_COMMON) -DAPPLICATION='"$<"' -c tools/package/Application.S -o $@
$(P)/LibOS.o: $(PACKAGE)/LibOS.swift $(PACKAGE)/Calls.h $(L)/ApusRuntime.o $(PACKAGE_TOOLS)
	@mkdir -p $(P)
	@echo "  swiftc LibOS" >&2
	@$(SWIFTC) $(LIBOS_SWIFT) -I $(L) $(PACKAGE_HEADER) -module-name LibOS -c $(PACKAGE)/LibOS.swift -o $@
$(P)/$(NAME).elf: $(P)/LibOS.o $(P)/Program.o $(RUNTIME_OBJECTS) tools/libos.ld
	@echo "  link $(NAME).elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T tools/libos.ld \
	  $(RUNTIME_OBJECTS) $(P)/LibOS.o $(P)/Program.o -o $@

.PHONY: package
package: $(P)/$(NAME).elf
