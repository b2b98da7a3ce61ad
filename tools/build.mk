# SPDX-License-Identifier: Apache-2.0
# build.mk: builds the kernel and the LibOSes. The same sources are compiled under two sets of flags that must not
# be mixed: for ring 0 (no vectors, no red zone, no allocation) and for ring 3 LibOS code (no vectors, a heap).

B ?= build
SWIFTC ?= swiftc
CLANG ?= clang
LLD ?= ld.lld
TRIPLE := x86_64-unknown-none-elf

INCLUDES := -I abi/CApusABI/include
SWIFT_COMMON := -target $(TRIPLE) -swift-version 6 -enable-experimental-feature Embedded -wmo -parse-as-library \
  -enable-experimental-feature Lifetimes -strict-memory-safety -Werror EmbeddedRestrictions -Wwarning StrictMemorySafety \
  -Xfrontend -disable-stack-protector -Xfrontend -function-sections -g \
  -Xcc -mno-red-zone -Xcc -mno-sse -Xcc -mno-mmx -Xcc -fno-pic -Xcc -momit-leaf-frame-pointer -Xcc -ffreestanding \
  $(addprefix -Xcc ,$(INCLUDES)) -I abi/CApusABI/include
KERNEL_SWIFT := $(SWIFT_COMMON) -O -Xfrontend -no-allocations -Xcc -mcmodel=kernel -I machine/CShims/include
LIBOS_SWIFT := $(SWIFT_COMMON) -O -enforce-exclusivity=unchecked -Xcc -fPIC -I libos/Runtime/CRuntime/include
C_COMMON := -target $(TRIPLE) -ffreestanding -mno-red-zone -mno-sse -mno-mmx -fno-pic -O2 -g $(INCLUDES)

swift_sources = $(shell find $(1) -name '*.swift' | LC_ALL=C sort)

# module(directory for outputs, flags, module name, sources, modules it needs)
define module
$(1)/$(3).o: $(4) $(foreach m,$(5),$(1)/$(m).o) $(HEADERS) tools/build.mk
	@mkdir -p $(1)
	@echo "  swiftc $(3)" >&2
	@$(SWIFTC) $(2) -I $(1) -module-name $(3) -emit-module -emit-module-path $(1)/$(3).swiftmodule -c $(4) -o $$@
	@touch $$@
endef

HEADERS := $(wildcard abi/CApusABI/include/* machine/CShims/include/* libos/Runtime/CRuntime/include/*)

# ---- kernel -----------------------------------------------------------------------------------------------
K := $(B)/kernel
$(eval $(call module,$(K),$(KERNEL_SWIFT),ApusABI,$(call swift_sources,abi/ApusABI),))
$(eval $(call module,$(K),$(KERNEL_SWIFT),ApusCapabilities,$(call swift_sources,core/Capabilities),ApusABI))
$(eval $(call module,$(K),$(KERNEL_SWIFT),ApusResources,$(call swift_sources,core/Resources),ApusABI ApusCapabilities))
$(eval $(call module,$(K),$(KERNEL_SWIFT),ApusMachine,$(call swift_sources,machine/X86_64),ApusABI ApusCapabilities ApusResources))
$(eval $(call module,$(K),$(KERNEL_SWIFT),ApusDrivers,$(call swift_sources,drivers),ApusABI))
$(eval $(call module,$(K),$(KERNEL_SWIFT),ApusPacketFilter,$(call swift_sources,core/PacketFilter),))
# What the kernel has of BPF: the forward verifier and the compiler. They are for size: they run once for each program.
KERNEL_BPF := $(addprefix core/BPF/,Compiler.swift Compiler+Instructions.swift Compiler+Sequences.swift \
  Contract.swift Decoder.swift ForwardValue.swift ForwardVerifier.swift ForwardVerifier+Execute.swift InstructionSet.swift \
  KernelUses.swift MachineCode.swift MachineRegister.swift ProgramError.swift ProgramMarks.swift VerifierRule.swift \
  WordMemory.swift)
$(eval $(call module,$(K),$(subst -O -Xfrontend,-Osize -Xfrontend,$(KERNEL_SWIFT)),ApusBPF,$(KERNEL_BPF),))
$(eval $(call module,$(K),$(KERNEL_SWIFT),ApusKernel,$(call swift_sources,kernel),ApusABI ApusBPF ApusCapabilities ApusResources ApusMachine ApusDrivers ApusPacketFilter))

# What XN needs of BPF is more than the kernel has: `make xn` compiles both as the kernel would.
XN := $(B)/xn
$(eval $(call module,$(XN),$(KERNEL_SWIFT),ApusBPF,$(filter-out core/BPF/Tools/%,$(call swift_sources,core/BPF)),))
$(eval $(call module,$(XN),$(KERNEL_SWIFT),ApusXN,$(call swift_sources,core/XN),ApusBPF))
.PHONY: xn
xn: $(XN)/ApusXN.o

KERNEL_OBJECTS := $(addprefix $(K)/,Start.o Entry.o Transfer.o Processors.o Memory.o ApusABI.o ApusCapabilities.o ApusResources.o ApusMachine.o ApusDrivers.o ApusBPF.o ApusPacketFilter.o ApusKernel.o)

$(K)/%.o: machine/Boot/%.S $(HEADERS) tools/build.mk
	@mkdir -p $(K)
	@$(CLANG) $(C_COMMON) -mcmodel=kernel -I machine/CShims/include -c $< -o $@
$(K)/Memory.o: tools/memory.c tools/build.mk
	@mkdir -p $(K)
	@$(CLANG) $(C_COMMON) -mcmodel=kernel -fno-builtin -c $< -o $@

$(B)/kernel.elf: $(KERNEL_OBJECTS) tools/kernel.ld
	@echo "  link kernel.elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T tools/kernel.ld $(KERNEL_OBJECTS) -o $@

# ---- LibOS ------------------------------------------------------------------------------------------------
L := $(B)/libos
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusABI,$(call swift_sources,abi/ApusABI),))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusRuntime,$(wildcard libos/Runtime/*.swift),ApusABI))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusELF,$(call swift_sources,core/ELF),))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusImage,$(filter-out core/Image/ImageLayout.swift,$(call swift_sources,core/Image)),))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusNet,$(call swift_sources,libos/Net),))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusFiles,$(call swift_sources,libos/Files),ApusABI ApusRuntime))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusNetRing,$(call swift_sources,libos/NetRing),ApusABI ApusRuntime ApusNet))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusHTTP,$(call swift_sources,libos/HTTP),))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusUnix,$(call swift_sources,libos/Unix),ApusABI ApusRuntime ApusNet))
$(eval $(call module,$(L),$(LIBOS_SWIFT),ApusLinux,$(call swift_sources,libos/Linux),ApusABI ApusRuntime ApusELF ApusImage ApusNet ApusNetRing ApusUnix))

LIBOS_C := -I libos/Runtime/CRuntime/include -mcmodel=large
RUNTIME_OBJECTS := $(addprefix $(L)/,Entry.o Guard.o Transfer.o Memory.o Static.o ApusABI.o ApusRuntime.o)
LIBOS_OBJECTS := $(RUNTIME_OBJECTS) $(addprefix $(L)/,ApusELF.o ApusImage.o ApusNet.o ApusNetRing.o ApusUnix.o ApusLinux.o)

$(L)/%.o: libos/Runtime/%.S $(HEADERS) tools/build.mk
	@mkdir -p $(L)
	@$(CLANG) $(C_COMMON) $(LIBOS_C) -c $< -o $@
$(L)/Static.o: libos/Runtime/Memory.c $(HEADERS) tools/build.mk
	@mkdir -p $(L)
	@$(CLANG) $(C_COMMON) $(LIBOS_C) -c $< -o $@
$(L)/Memory.o: tools/memory.c tools/build.mk
	@mkdir -p $(L)
	@$(CLANG) $(C_COMMON) $(LIBOS_C) -fno-builtin -c $< -o $@

$(B)/libos.elf: $(LIBOS_OBJECTS) tools/libos.ld
	@echo "  link libos.elf" >&2
	@$(LLD) -static -z max-page-size=4096 --build-id=none --gc-sections -T tools/libos.ld $(LIBOS_OBJECTS) -o $@

# No LibOS links the file systems yet; they are compiled for one.
libos: $(B)/libos.elf $(L)/ApusFiles.o

include tools/steward.mk

include tools/hostile.mk
include tools/native.mk
include tools/courier.mk
include tools/faulty.mk

.PHONY: kernel libos
kernel: $(B)/kernel.elf
