# SPDX-License-Identifier: Apache-2.0
# Makefile: the doors. `make run` and `make test` work in a fresh clone; they install what is missing.

.DEFAULT_GOAL := build
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

# Where the kernel, the LibOS and the host command are put, and where SwiftPM works.
B ?= build
SCRATCH ?= .build

# Builders read nothing and say what they have to say on standard error: standard output is the program's.
QUIETLY := </dev/null >&2
PROCESSORS := $(shell getconf _NPROCESSORS_ONLN)

SEEDS ?= 1000

.PHONY: build run test test-long bench fuzz paths clean lint lines
.PHONY: tools-for-build tools-for-run tools-for-test tools-for-bench

build: tools-for-build $(B)/apus kernel libos native

ifneq ($(wildcard tools/build.mk),)
include tools/build.mk
else
.PHONY: kernel libos native
kernel libos native:
endif

# ---- the host command -------------------------------------------------------------------------------------

# Folders stand beside the files so that a file that goes away counts as a change too.
COMMAND_SOURCES := Package.swift $(shell find cli abi core/BPF core/PacketFilter core/ELF core/Image core/XN libos/Linux/Calls \
  -type d -o -name '*.swift' -o -name '*.c' -o -name '*.h' -o -name '*.modulemap' 2>/dev/null)

$(B)/apus: $(COMMAND_SOURCES)
	@mkdir -p $(B)
	@echo "  swift build apus" >&2
	@tools/quietly swift build -c release --product apus --scratch-path $(SCRATCH) --static-swift-stdlib $(QUIETLY)
	@cp $(SCRATCH)/release/apus $@.new && mv $@.new $@

# ---- doors ------------------------------------------------------------------------------------------------

run: tools-for-run
	@$(MAKE) --no-print-directory -j $(PROCESSORS) build $(QUIETLY)
	@tools/shell

test test-long: tools-for-test
	@$(MAKE) --no-print-directory -j $(PROCESSORS) build hostile $(QUIETLY)
	@tools/paths
	@./apus test $(if $(filter test-long,$@),--long) </dev/null
	@$(if $(filter test-long,$@),tests/Mutation/mutate.py --sample 20)

bench: tools-for-bench
	@$(MAKE) --no-print-directory -j $(PROCESSORS) build $(QUIETLY)
	@./apus bench </dev/null

# Random calls from SEEDS seeds, FIRST the first of them.
fuzz: tools-for-test
	@$(MAKE) --no-print-directory -j $(PROCESSORS) build hostile $(QUIETLY)
	@tools/fuzz $(SEEDS) $(FIRST)
	@tools/paths

# The longest paths in ring 0, by ways in.
paths: tools-for-test
	@$(MAKE) --no-print-directory -j $(PROCESSORS) build hostile $(QUIETLY)
	@tools/paths --table

tools-for-build tools-for-run tools-for-test tools-for-bench:
	@tools/require $(patsubst tools-for-%,%,$@) $(QUIETLY)

clean:
	@rm -rf $(B) $(SCRATCH)

lint:
	@tools/lint

lines:
	@tools/lines

# Removes each check of the kernel in turn and shows which test fails (tests/Mutation).
mutate: build
	@tests/Mutation/mutate.py
