#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# mutate.py: removes each check of the kernel's decision code in turn and shows which test fails for it.
#
# Two builds serve all mutants: in a copy of the tree every check can be switched off by its number (checks.py). On the
# host an environment variable holds the number; in the kernel a word of its data, which is patched in the ELF file.
# A mutant meets the host's unit tests first, then the cases in tests/Machine that boot the hostile program, until one
# fails.
#
# usage: tests/Mutation/mutate.py [--only WORD ...] [--sample N] [--assertions] [--list] [--host-only] [--jobs N]
#
# Survivors that tests/Mutation/survivors.txt does not explain make the status 1; so does an explanation too many.
import argparse
import concurrent.futures
import glob
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import checks as finding

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(HOME, "build/mutation")
TREE = os.path.join(WORK, "tree")
# What decides: the ledgers, and the kernel without its start, its end and the device that it prints on.
CORE = ["core/Capabilities", "core/Resources"]
KERNEL = ["kernel"]
NOT_DECIDING = {"kernel/Boot.swift", "kernel/Panic.swift", "kernel/Console.swift"}
NONE = 0x7FFFFFFF
HOST_SUITES = ["CapabilitiesTests", "ResourcesTests"]

MANIFEST = """// swift-tools-version: 6.2
import PackageDescription
let package = Package(name: "Mutants", targets: [
  .target(name: "CApusABI", path: "abi/CApusABI"),
  .target(name: "ApusABI", path: "abi/ApusABI"),
  .target(name: "ApusCapabilities", dependencies: ["ApusABI", "CApusABI"], path: "core/Capabilities"),
  .target(name: "ApusResources", dependencies: ["ApusABI", "CApusABI", "ApusCapabilities"], path: "core/Resources"),
  .testTarget(name: "CapabilitiesTests", dependencies: ["ApusABI", "CApusABI", "ApusCapabilities"],
    path: "tests/Unit/CapabilitiesTests"),
  .testTarget(name: "ResourcesTests", dependencies: ["ApusABI", "CApusABI", "ApusCapabilities", "ApusResources"],
    path: "tests/Unit/ResourcesTests"),
], swiftLanguageModes: [.v6])
"""
HEADER = """
extern volatile unsigned int apus_mutant;
static inline _Bool mutant(unsigned int number) { return apus_mutant == number; }
#endif
"""
HOST_SOURCE = """#include <stdlib.h>
volatile unsigned int apus_mutant = 0x7fffffff;
__attribute__((constructor)) static void choose(void) {
  const char *text = getenv("APUS_MUTANT");
  if (text) apus_mutant = (unsigned int)atoi(text);
}
"""
KERNEL_SOURCE = '\nvolatile unsigned int apus_mutant __attribute__((section(".data"), used)) = 0x7fffffff;\n'


def say(text):
    print(text, flush=True)


def stop(text):
    print(f"apus: {text}", file=sys.stderr)
    sys.exit(2)


def run(words, timeout, **options):
    """Status and output; status None when the time was over."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **options)
    try:
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        return None, output.decode(errors="replace")


# ---- the copy ------------------------------------------------------------------------------------------------


def sources():
    files = []
    for folder in CORE + KERNEL:
        files += sorted(glob.glob(os.path.join(HOME, folder, "*.swift")))
    return [name for name in (os.path.relpath(file, HOME) for file in files) if name not in NOT_DECIDING]


def find_all(with_assertions):
    found, bound, number = [], 0, 0
    for file in sources():
        with open(os.path.join(HOME, file)) as stream:
            source = stream.read()
        some, only_bind = finding.find(file, source, with_assertions)
        bound += only_bind
        for check in some:
            number += 1
            check.number = number
        found += some
    return found, bound


def write(path, text):
    """Writes only what differs, so that what is built stays fresh."""
    path = os.path.join(TREE, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        with open(path) as stream:
            if stream.read() == text:
                return
    with open(path, "w") as stream:
        stream.write(text)


def make_tree(found):
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "abi", "core", "machine", "drivers", "kernel", "tools",
         "libos", "apps", "tests/Unit/CapabilitiesTests", "tests/Unit/ResourcesTests"],
        cwd=HOME, capture_output=True, text=True, check=True).stdout.split("\n")
    wanted = set()
    for file in filter(None, files):
        path = os.path.join(HOME, file)
        if not os.path.isfile(path):
            continue
        with open(path) as stream:
            text = stream.read()
        mine = [check for check in found if check.file == file]
        if mine:
            text = finding.rewrite(text, mine)
        if file == "abi/CApusABI/include/ApusABI.h":
            head, _, tail = text.rpartition("#endif")
            # Assembly includes the header, too.
            text = head + "#ifndef __ASSEMBLER__" + HEADER + "#endif" + tail
        if file.endswith("/RandomSequences.swift"):
            # Enough to meet each operation hundreds of times; a mutant that survives these survives the rest.
            text = re.sub(r"(let sequences|let operations) = \d+", lambda m: m.group(1) + (" = 30" if "seq" in m.group(1) else " = 1000"), text)
        if file == "tools/memory.c":
            text += KERNEL_SOURCE
        write(file, text)
        wanted.add(file)
    write("Package.swift", MANIFEST)
    write("abi/CApusABI/mutant.c", HOST_SOURCE)
    write("kernel.mk", "include tools/build.mk\n")
    wanted |= {"Package.swift", "abi/CApusABI/mutant.c", "kernel.mk"}
    for folder, folders, names in os.walk(TREE):
        folders[:] = [name for name in folders if name not in (".build", "build")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), TREE)
            if path not in wanted and path != "Package.resolved":
                os.unlink(os.path.join(TREE, path))


def build(found, host_only):
    """Builds both; a check whose removal does not compile is left alone, as the compiler keeps it."""
    refused = []
    for _ in range(8):
        make_tree([check for check in found if check not in refused])
        status, output = run(["swift", "build", "--build-tests", "-c", "release", "-Xswiftc", "-enable-testing"], 1800, cwd=TREE)
        if status == 0 and not host_only:
            status, output = run(["make", "-f", "kernel.mk", "kernel", "hostile"], 1800, cwd=TREE)
        if status == 0:
            return refused
        before = len(refused)
        for file, line in re.findall(r"((?:core|kernel)/[\w/+]+\.swift):(\d+):\d+: error", output):
            # Rewriting keeps lines, but for an import that may come before them.
            # A case that is passed over may leave a function without a result: that is told at its end.
            for check in found:
                reach = 8 if check.kind == "case" else 3
                if check.file == file and check not in refused and 0 <= int(line) - check.line <= reach:
                    refused.append(check)
        if len(refused) == before:
            stop("the instrumented tree does not build:\n" + output[-4000:])
    stop("the instrumented tree does not build after eight attempts")


# ---- the host's tests ----------------------------------------------------------------------------------------


def host_test(number, timeout):
    """Which host test fails; None if all pass."""
    environment = dict(os.environ, APUS_MUTANT=str(number), NO_COLOR="1")
    binary = os.path.join(TREE, ".build/release/MutantsPackageTests.xctest")
    for suite in HOST_SUITES:
        status, output = run([binary, "--testing-library", "swift-testing", "--filter", suite], timeout, env=environment, cwd=TREE)
        if status is None:
            return f"{suite}: does not end"
        output = re.sub(r"\x1b\[\d+m", "", output)
        if status != 0:
            match = re.search(r"✘ Test (.+?) (?:recorded an issue|failed after)", output)
            trap = re.search(r"Fatal error|Illegal instruction|crash", output) or status < 0
            return f"{suite}: " + (match.group(1) if match else "a trap" if trap else f"status {status}")
    return None


# ---- the machine's tests -------------------------------------------------------------------------------------


def machine_cases():
    cases = []
    for path in sorted(glob.glob(os.path.join(HOME, "tests/Machine/*.case"))):
        with open(path) as stream:
            directives = re.findall(r"^; apus: ([\w-]+): (.*)$", stream.read(), re.M)
        values = dict(directives)
        if values.get("long") == "yes" or values.get("libos") != "build/hostile.elf":
            continue
        words = ["run", "--libos", os.path.join(TREE, "build/hostile.elf")]
        for key in ("machine", "memory"):
            if key in values:
                words += ["--" + key, values[key]]
        for key, value in directives:
            if key == "option":
                words += value.split()
            if key == "icount" and value == "yes":
                words.append("--icount")
            if key == "append":
                words += ["--append", value]
            if key == "cpus":
                words += ["--cpus", value.split()[0]]
        # A tenth of the random families: what the groups of checks miss is rarely met by chance.
        words += [values["program"]] + re.sub(r"seeds=\d+", "seeds=5", values.get("arguments", "")).split()
        wanted = [value for key, value in directives if key == "stdout-has"]
        cases.append((os.path.basename(path)[: -len(".case")], words, wanted))
    return cases


def symbol_offset(elf, name):
    """Where in an ELF64 file the data of a symbol is."""
    section_table, = struct.unpack_from("<Q", elf, 40)
    size, count = struct.unpack_from("<HH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, section_table + i * size) for i in range(count)]
    for _, kind, _, _, offset, length, link, _, _, _ in sections:
        if kind != 2:
            continue
        for at in range(offset, offset + length, 24):
            text, _, _, index, value, _ = struct.unpack_from("<IBBHQQ", elf, at)
            start = sections[link][4] + text
            if elf[start : elf.index(0, start)].decode() == name:
                return sections[index][4] + value - sections[index][3]
    stop(f"the kernel has no symbol {name}")


class Machine:
    """Runs the machine's tests on one mutant after the other; each worker has a place of its own."""

    def __init__(self):
        with open(os.path.join(TREE, "build/kernel.elf"), "rb") as stream:
            self.kernel = stream.read()
        self.offset = symbol_offset(self.kernel, "apus_mutant")
        self.cases = machine_cases()
        self.seconds = {}

    def measure(self):
        """Runs every case with all checks in place; those that fail, or take longer than a minute, are of no use here."""
        useful = []
        for case in self.cases:
            begin = time.monotonic()
            self.seconds[case[0]] = 0
            failure = self.test(NONE, [case])
            self.seconds[case[0]] = time.monotonic() - begin
            if failure:
                say(f"apus: fails or takes too long with every check in place, and is left out: {failure}")
            else:
                useful.append(case)
        self.cases = sorted(useful, key=lambda case: self.seconds[case[0]])
        say("machine tests: " + ", ".join(f"{name} {self.seconds[name]:.0f} s" for name, _, _ in self.cases))

    def test(self, number, cases=None):
        """Which machine test fails and at what; None if all pass."""
        home = os.path.join(WORK, f"home-{threading.get_ident()}")
        os.makedirs(os.path.join(home, "build"), exist_ok=True)
        with open(os.path.join(home, "build/kernel.elf"), "wb") as stream:
            stream.write(self.kernel[: self.offset] + struct.pack("<I", number) + self.kernel[self.offset + 4 :])
        try:
            for name, words, wanted in cases or self.cases:
                limit = 60 + 6 * self.seconds[name]
                status, output = run([os.path.join(HOME, "build/apus")] + words, limit, env=dict(os.environ, APUS_HOME=home))
                failure = re.search(r"^(?:FAIL\w*|not ok) (.*)$", output, re.M)
                if status is None:
                    return f"{name}: does not end"
                if failure:
                    return f"{name}: {failure.group(1)[:120]}"
                if status != 0 or any(text not in output for text in wanted):
                    return f"{name}: status {status}, {output.strip()[-100:]!r}"
            return None
        finally:
            shutil.rmtree(home)


# ---- all of it -----------------------------------------------------------------------------------------------


def explained():
    """What survives for a reason: name -> reason."""
    reasons = {}
    path = os.path.join(HOME, "tests/Mutation/survivors.txt")
    if os.path.exists(path):
        with open(path) as stream:
            lines = [line.strip() for line in stream if line.strip() and not line.startswith("#")]
        for name, reason in zip(lines[0::2], lines[1::2]):
            reasons[name] = reason
    return reasons


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", help="checks whose file or text contains one of the words")
    parser.add_argument("--sample", type=int, help="that many, by chance, another choice each day")
    parser.add_argument("--assertions", action="store_true", help="preconditions, too: what only a bug of the kernel's can break")
    parser.add_argument("--host-only", action="store_true", help="the unit tests alone")
    parser.add_argument("--list", action="store_true", help="show the checks")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    found, bound = find_all(options.assertions)
    if options.list:
        for check in found:
            say(f"{check.number:4} {check.file}:{check.line} {check.kind}: {check.text}")
        return 0
    os.makedirs(TREE, exist_ok=True)
    refused = build(found, options.host_only)
    chosen = [check for check in found if check not in refused and (not options.only or any(word in check.name for word in options.only))]
    if options.sample and options.sample < len(chosen):
        day = int(time.time()) // 86400
        chosen = sorted(random.Random(day).sample(chosen, options.sample), key=lambda check: check.number)
    say(f"{len(found)} checks, {bound} more conditions bind a value, {len(refused)} cannot be removed; {len(chosen)} are tried")

    begin = time.monotonic()
    if host_test(NONE, 1200):
        stop("the host's tests fail with every check in place")
    host_seconds = time.monotonic() - begin
    machine = None
    if not options.host_only:
        machine = Machine()
        machine.measure()
    reasons = explained()
    survivors, results = [], {}

    def attempt(check):
        killer = host_test(check.number, 60 + 6 * host_seconds) if check.file.startswith("core/") else None
        if not killer and machine:
            killer = machine.test(check.number)
        return killer

    with concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs) as pool:
        for check, killer in zip(chosen, pool.map(attempt, chosen)):
            results[check.number] = killer
            if not killer:
                survivors.append(check)
            told = killer or ("SURVIVES, explained" if check.name in reasons else "SURVIVES")
            say(f"{check.file}:{check.line} {check.kind} `{check.text}`\n        {told}")
    with open(os.path.join(WORK, "results.txt"), "w") as stream:
        for check in chosen:
            stream.write(f"{check.name}\n    {results[check.number] or 'survives'}\n")
    unexplained = [check for check in survivors if check.name not in reasons]
    names = {check.name for check in chosen}
    stale = [name for name in reasons if name in names and name not in {check.name for check in survivors}]
    for name in stale if machine else []:
        say(f"explained as a survivor, but a test kills it: {name}")
    say(f"{len(chosen) - len(survivors)} killed, {len(survivors)} survive, {len(unexplained)} of them without an explanation")
    return 1 if unexplained or stale and machine else 0


if __name__ == "__main__":
    sys.exit(main())
