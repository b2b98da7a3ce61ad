# SPDX-License-Identifier: Apache-2.0
# apus.py: commands for gdb on a machine: who lives there, from the information pages (abi/CApusABI/include/ApusABI.h).

import gdb

INFORMATION = 0xFFFFA00000000000
STATES = {1: "ready", 2: "sleeping", 3: "dying", 4: "calling"}


def words(address, count):
    """Eight-byte words at an address."""
    memory = gdb.selected_inferior().read_memory(address, count * 8).tobytes()
    return [int.from_bytes(memory[at : at + 8], "little") for at in range(0, count * 8, 8)]


def environments():
    """Each live environment: slot, words of its record."""
    page = words(INFORMATION, 24)
    if page[0] != 0x3173757041:
        raise gdb.GdbError("there are no information pages: the machine has not booted")
    table, count = page[7], page[8]
    size = int(gdb.parse_and_eval("$apus_environment_size"))  # `apus gdb` sets it
    for slot in range(count):
        record = words(INFORMATION + table + slot * size, 22)
        if record[0] & 0xFFFFFFFF:
            yield slot, record


class Environments(gdb.Command):
    """apus-environments: lists the machine's environments; a star is before those that run on a CPU now."""

    def __init__(self):
        super().__init__("apus-environments", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        print("  environment  account  state     root frame  u-area        slices used  exceptions  calls")
        for slot, record in environments():
            state, running = record[0] & 0xFFFFFFFF, record[0] >> 48
            account, root = record[1] & 0xFFFF, record[1] >> 32
            print(
                "%s %11d  %7d  %-8s  %10d  0x%-10x  %11d  %10d  %d"
                % ("*" if running else " ", slot, account, STATES.get(state, "?"), root, record[4], record[11],
                   record[9], record[10])
            )


Environments()
