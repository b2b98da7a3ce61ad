/* SPDX-License-Identifier: Apache-2.0 */
/* ApusABI.h: the memory shapes that the kernel, its assembly and every LibOS agree on.
 *
 * Offsets are written once, as macros, so that assembly can use them; the C structures below them are
 * checked against the macros by static assertions and are what Swift sees. Sizes are in bytes.
 */
#ifndef APUS_ABI_H
#define APUS_ABI_H

/* ---- address space ------------------------------------------------------------------------------- */

/* First byte that no ring-3 mapping may reach: one page below the end of the lower canonical half, so that
 * the address after a SYSCALL instruction is always canonical (SDM vol. 2, SYSRET). */
#define APUS_USER_LIMIT 0x00007ffffffff000

/* A family's LibOS occupies one level-4 slot, the same in every address space of the family. */
#define APUS_LIBOS_BASE 0x0000700000000000
/* The boot module (the image that the host packed), mapped read-only for the first environment. */
#define APUS_MODULE_BASE 0x0000701000000000

/* A family that another one started, with budgets: `struct apus_family`, shared with who started it. */
#define APUS_FAMILY_BASE 0x0000700000001000

/* Information pages, read-only in ring 3, in every address space. */
#define APUS_INFORMATION_BASE 0xffffa00000000000
/* Recursive slot: an address space's own page tables, read-only in ring 3.
 * Entry of level 1 for address va: APUS_TABLES_BASE + ((va >> 12) & 0xfffffffff) * 8. */
#define APUS_TABLES_SLOT 384
#define APUS_TABLES_BASE 0xffffc00000000000

/* ---- system calls -------------------------------------------------------------------------------- */

/* Bit 31 of eax marks a call to Apus; every other number is foreign and is reflected to the LibOS. */
#define APUS_CALL_BIT 0x80000000

/* ---- the u-area ---------------------------------------------------------------------------------- */

#define APUS_UA_SIZE 4096
#define APUS_UA_CRITICAL 0x000        /* nonzero: slice end is deferred, within a bound */
#define APUS_UA_PENDING 0x008         /* APUS_PENDING_* bits, set by the kernel, cleared by the LibOS */
#define APUS_UA_EXCEPTION_ENTRY 0x010
#define APUS_UA_EXCEPTION_STACK 0x018
#define APUS_UA_NESTED_ENTRY 0x020    /* taken when a fault meets a save area in use */
#define APUS_UA_NESTED_STACK 0x028
#define APUS_UA_FOREIGN_ENTRY 0x030   /* foreign SYSCALL: the stack pointer stays the caller's */
#define APUS_UA_SLICE_BEGIN_ENTRY 0x038
#define APUS_UA_SLICE_END_ENTRY 0x040
#define APUS_UA_SLICE_STACK 0x048
#define APUS_UA_SELF 0x050            /* address of this u-area, for the LibOS (set by it) */

#define APUS_UA_EXCEPTION 0x080       /* save areas: APUS_SAVE_* offsets apply */
#define APUS_UA_NESTED 0x0c0
#define APUS_UA_SLICE 0x100
#define APUS_UA_FOREIGN_RIP 0x140     /* foreign SYSCALL: return address and flags */
#define APUS_UA_FOREIGN_FLAGS 0x148
/* Protected control transfer. */
#define APUS_UA_PROTECTED_ENTRY 0x150 /* where callers enter, and on which stack */
#define APUS_UA_PROTECTED_STACK 0x158
#define APUS_UA_ACCEPTING 0x160       /* bit 0: can be entered now; cleared by each entry, set by transferReturn */
#define APUS_UA_REPLY_ENTRY 0x168     /* where a caller goes on, and on which stack */
#define APUS_UA_REPLY_STACK 0x170
#define APUS_UA_REVOCATION_ENTRY 0x180 /* slices begin here while APUS_PENDING_REVOCATION is set; 0: none declared */
#define APUS_UA_REVOCATION_KIND 0x188  /* what the kernel was asked for last: APUS_REVOKE_* */
#define APUS_UA_REVOCATION_COUNT 0x190 /* how many are to be given back in all, of that kind */
#define APUS_UA_REVOCATION_DEADLINE 0x198 /* counter at which the kernel begins to take */
#define APUS_UA_LIBOS 0x200           /* from here on the kernel neither reads nor writes */

#define APUS_SAVE_IN_USE 0x00         /* set by the kernel, cleared by the LibOS */
#define APUS_SAVE_RIP 0x08
#define APUS_SAVE_FLAGS 0x10
#define APUS_SAVE_RSP 0x18
#define APUS_SAVE_RAX 0x20
#define APUS_SAVE_RCX 0x28
#define APUS_SAVE_CAUSE 0x30          /* vector in bits 0-7, processor error code in bits 32-63 */
#define APUS_SAVE_ADDRESS 0x38        /* page fault: the faulting address; contract fault: the argument */

#define APUS_PENDING_SLICE_END 1      /* a slice end was deferred by the critical word */
#define APUS_PENDING_DEATH 2          /* an environment of the same account has died */
#define APUS_PENDING_PENALTY 4        /* excess time cost this environment a slice */
#define APUS_PENDING_REVOCATION 8     /* resources are asked back: APUS_UA_REVOCATION_* say what */
#define APUS_PENDING_CALLER_GONE 16   /* whom this environment served no longer waits for its return */

/* Causes beyond the processor's 32 vectors. */
#define APUS_CAUSE_CONTRACT 32        /* garbage in a system call: APUS_SAVE_ADDRESS has the argument */
#define APUS_CAUSE_OVERRUN 33         /* ran past a slice end and its bound while others waited */
#define APUS_CAUSE_KILLED 34          /* ended by environmentKill */

/* States of an environment slot. */
#define APUS_ENVIRONMENT_FREE 0
#define APUS_ENVIRONMENT_RUNNABLE 1
#define APUS_ENVIRONMENT_SLEEPING 2
#define APUS_ENVIRONMENT_DYING 3     /* dead, its resources on the way back */
#define APUS_ENVIRONMENT_CALLING 4   /* waits for a protected call's return: its slices run the end of the chain */

/* ---- protected control transfer ------------------------------------------------------------------- */

#define APUS_TRANSFER_CHAIN 8         /* callers that may wait in a chain */
/* What rax says at a protected entry: whether the caller waits. */
#define APUS_TRANSFER_CALL 0
#define APUS_TRANSFER_ASYNCHRONOUS 1
/* And at the reply entry: how the call ended. */
#define APUS_TRANSFER_REPLY 0
#define APUS_TRANSFER_DIED 1          /* the callee ended */
#define APUS_TRANSFER_EXPIRED 2       /* the deadline passed */

#ifndef __ASSEMBLER__
#include <stdint.h>

struct apus_save_area {
  uint64_t in_use, rip, flags, rsp, rax, rcx, cause, address;
};

struct apus_uarea {
  uint64_t critical, pending;
  uint64_t exception_entry, exception_stack;
  uint64_t nested_entry, nested_stack;
  uint64_t foreign_entry;
  uint64_t slice_begin_entry, slice_end_entry, slice_stack;
  uint64_t self_address;
  uint64_t reserved[5];
  struct apus_save_area exception, nested, slice;
  uint64_t foreign_rip, foreign_flags;
  uint64_t protected_entry, protected_stack, accepting, reply_entry, reply_stack, reserved2;
  uint64_t revocation_entry, revocation_kind, revocation_count, revocation_deadline;
  uint64_t reserved3[12];
  uint64_t libos[448];
};
_Static_assert(sizeof(struct apus_save_area) == 0x40, "save area");
_Static_assert(sizeof(struct apus_uarea) == APUS_UA_SIZE, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, nested_entry) == APUS_UA_NESTED_ENTRY, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, slice_stack) == APUS_UA_SLICE_STACK, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, exception) == APUS_UA_EXCEPTION, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, slice) == APUS_UA_SLICE, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, foreign_rip) == APUS_UA_FOREIGN_RIP, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, protected_entry) == APUS_UA_PROTECTED_ENTRY, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, reply_stack) == APUS_UA_REPLY_STACK, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, revocation_entry) == APUS_UA_REVOCATION_ENTRY, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, revocation_deadline) == APUS_UA_REVOCATION_DEADLINE, "u-area");
_Static_assert(__builtin_offsetof(struct apus_uarea, libos) == APUS_UA_LIBOS, "u-area");

/* ---- information pages --------------------------------------------------------------------------- */

#define APUS_INFORMATION_MAGIC 0x0000003173757041 /* "Apus1" */

/* Page 0 of the information region. Offsets are from APUS_INFORMATION_BASE. */
struct apus_information {
  uint64_t magic;
  uint64_t ticks_per_second;         /* of the time stamp counter */
  uint64_t slice_ticks;              /* length of a time slice */
  uint64_t critical_bound_ticks;     /* how long a critical section may defer a slice end */
  uint64_t frame_count;              /* entries in the frame table: physical memory / 4096 */
  uint64_t frames_free;              /* now */
  uint64_t frame_table_offset;       /* struct apus_frame[frame_count] */
  uint64_t environment_table_offset; /* struct apus_environment[environment_count] */
  uint64_t environment_count;
  uint64_t timeline_offset;          /* struct apus_slice[slice_count] */
  uint64_t slice_count;              /* of one CPU */
  uint64_t console_input_count;      /* bytes that have arrived since boot: a word to sleep on */
  uint64_t console_output_count;     /* bytes that the device has taken since boot: a word to sleep on */
  uint64_t first_ring3_ticks;        /* counter when ring 3 ran first */
  uint64_t processor_count;          /* CPUs; each has slice_count slices, one timeline after the other */
  uint64_t idle_ticks;               /* time halted */
  uint64_t extended_state_mask;      /* XCR0, but for PKRU's bit */
  uint64_t extended_state_size;      /* bytes of an XSAVE area under that mask */
  uint64_t contract_table_offset;    /* struct apus_contract[processor_count * APUS_CONTRACT_COUNT] */
  uint64_t account_table_offset;     /* struct apus_account[account_count] */
  uint64_t account_count;
  uint64_t revocation_table_offset;  /* struct apus_revocation[revocation_count] */
  uint64_t revocation_count;
  uint64_t revocation_bound_ticks;   /* what is asked back is back so long after the deadline, at the latest */
  uint64_t protection_keys;          /* 1: they are on; after a switch between accounts PKRU is 0 */
  uint64_t event_table_offset;       /* struct apus_event[event_count], where the command line says trace=COUNT */
  uint64_t event_count;              /* a power of two, or 0 */
  uint64_t events_written;           /* ever; event n is at n % event_count */
  uint64_t network_address;          /* of the network card, its first byte in the lowest bits */
  uint64_t packet_ring_offset;       /* struct apus_packet_ring_record[packet_ring_count] */
  uint64_t packet_ring_count;        /* 0: there is no card */
  uint64_t filter_offset;            /* struct apus_filter[filter_count] */
  uint64_t filter_count;
  uint64_t packets_unclaimed;        /* arrived, and no filter took them */
  uint64_t packets_short;            /* arrived without a whole Ethernet header */
  uint64_t filter_state_offset;      /* struct apus_filter_state[filter_state_count] */
  uint64_t filter_state_count;
  uint64_t filter_field_offset;      /* struct apus_filter_field[filter_field_count] */
  uint64_t filter_field_count;
  uint64_t network_place;            /* physical address of the rings' records, which all of the filters' lie behind */
};
#define APUS_INFORMATION_CONSOLE_INPUT 88
#define APUS_INFORMATION_CONSOLE_OUTPUT 96
_Static_assert(__builtin_offsetof(struct apus_information, console_input_count) == APUS_INFORMATION_CONSOLE_INPUT,
               "information page");

/* Types of a frame. */
#define APUS_FRAME_ABSENT 0          /* no memory there, or firmware's */
#define APUS_FRAME_FREE 1
#define APUS_FRAME_ORDINARY 2
#define APUS_FRAME_TABLE1 3          /* page tables: TABLE1 + level - 1 */
#define APUS_FRAME_TABLE2 4
#define APUS_FRAME_TABLE3 5
#define APUS_FRAME_TABLE4 6
#define APUS_FRAME_KERNEL 7
#define APUS_FRAME_COOLING 8         /* not yet free, or not yet ordinary: see flush_epoch */
#define APUS_FRAME_PROGRAM 9         /* a program's, for as long as the kernel needs it */

struct apus_frame {
  uint64_t guard;                    /* capability name, first byte in the top bits, zero-padded */
  uint32_t mappings;                 /* of a table: parent entries that link it. Free frames: next in list */
  uint32_t writable_mappings;        /* free frames: previous in list */
  uint16_t account;                  /* who is charged */
  uint16_t pins;                     /* device references, sleepers' words, u-areas; see large_parent */
  uint8_t type;
  uint8_t guard_length;              /* bytes of guard */
  uint16_t reserved;
  uint32_t flush_epoch;              /* cooling: reusable when every CPU has passed this flush epoch */
  uint32_t large_parent;             /* a level-1 table with pins stands behind a large page: the one entry that */
                                     /* maps it is number pins - 1 of this level-2 table */
};
_Static_assert(sizeof(struct apus_frame) == 32, "frame record");
#define APUS_FRAME_STATE 16           /* the eight bytes from account to reserved */
_Static_assert(__builtin_offsetof(struct apus_frame, account) == APUS_FRAME_STATE, "frame record");

/* How much of a kind an account may hold, and how much it holds. */
struct apus_budget {
  uint32_t limit, used;
};

/* The account table has one record for each account that can hold anything, by its number: the first two bytes of
 * a capability's name. The limits of all accounts together are what the machine has. */
struct apus_account {
  struct apus_budget frames, environments, slices;
  struct apus_budget time;           /* by contract, in millionths of a CPU */
  uint16_t parent;                   /* who gave it its budget last, and gets it when it has ended */
  uint16_t reserved[3];
};
_Static_assert(sizeof(struct apus_account) == 40, "account record");

struct apus_capability {
  uint64_t name;                     /* like a guard */
  uint8_t length;                    /* bytes of name */
  uint8_t rights;                    /* APUS_RIGHT_* */
  uint8_t valid;
  uint8_t reserved[5];
};
_Static_assert(sizeof(struct apus_capability) == 16, "capability");

#define APUS_RIGHT_READ 1
#define APUS_RIGHT_WRITE 2
#define APUS_RIGHT_GRANT 4

#define APUS_CAPABILITY_COUNT 8

/* How many words an environment can wait for at once. */
#define APUS_WAIT_WORDS 4

struct apus_wait {
  uint64_t word;                     /* in a list for waitAny: an address; in a record: a physical one */
  uint64_t value;                    /* what it is expected to hold */
};

struct apus_environment {
  uint32_t state;                    /* the first three are one word for Transfer.S */
  uint16_t transfer_depth;           /* callers that wait above it, its own and theirs */
  uint16_t running_on;               /* 1 + the CPU that runs it, or 0 */
  uint16_t account;
  uint8_t guard_length;
  uint8_t processor;                 /* whose slice it got last: only there it is given time */
  uint32_t root;                     /* frame of the level-4 table */
  uint64_t guard;                    /* who may kill it or grant to it */
  uint32_t uarea_frame;
  uint32_t slices_owned;
  uint64_t uarea_address;            /* where the LibOS sees its u-area; loaded into the GS base */
  uint64_t wait_word;                /* sleeping: physical address of the word, 0 for none */
  uint64_t wait_value;               /* it wakes when the word differs from this */
  uint64_t wait_deadline;            /* or when the counter reaches this; UINT64_MAX: never */
  uint64_t slice_upcalls, exception_upcalls, calls;
  uint64_t slices_used, ticks_used;
  uint64_t excess_ticks;             /* time taken past slice ends */
  uint64_t slices_forfeited;         /* as a penalty for it */
  uint64_t running_since;            /* counter from which time is charged to it now, or 0; ticks_used is older */
  uint32_t generation;
  uint32_t transfer_failure;         /* how its last call ended, APUS_TRANSFER_*, until it is told */
  uint64_t last_cause;               /* dying: why; APUS_SAVE_CAUSE's shape */
  uint64_t last_rip, last_address;
  uint64_t handle;                   /* generation << 32 | slot + 1 */
  uint64_t uarea_kernel;             /* where the kernel sees its u-area */
  uint64_t returns_to;               /* handle of the caller that it serves, to whom the slice returns; or 0 */
  uint64_t transfer_target;          /* calling: handle of the callee */
  uint64_t transfer_deadline;        /* calling: counter at which the call fails; UINT64_MAX: never */
  uint64_t ring_done;                /* calls of its ring that are done */
  uint32_t ring_frame;               /* frame of its ring, or 0 */
  uint32_t waits;                    /* sleeping: how many further words it sleeps on; all ones: on a predicate */
  uint64_t slices_donated;           /* times it gave the rest of its time to another environment */
  uint64_t polling_ticks;            /* of ticks_used: turns given up to nobody within a sixteenth of a slice */
  struct apus_wait further_waits[APUS_WAIT_WORDS - 1];
  struct apus_capability capabilities[APUS_CAPABILITY_COUNT];
};
_Static_assert(sizeof(struct apus_environment) == 408, "environment record");
_Static_assert(__builtin_offsetof(struct apus_environment, capabilities) ==
               sizeof(struct apus_environment) - 16 * APUS_CAPABILITY_COUNT, "the capabilities come last");

/* A call in a list for `batch` or in a ring. The kernel writes the result when it has made the call. */
struct apus_call {
  uint64_t number;                   /* without APUS_CALL_BIT */
  uint64_t arguments[5];
  uint64_t result;                   /* as in rax; minus APUS_CALL_GARBAGE where the call would be a fault */
  uint64_t tag;                      /* the application's own */
};
#define APUS_CALL_GARBAGE 255
#define APUS_BATCH_CALLS 64
#define APUS_RING_CALLS 32

/* A page of shared memory through which calls are made without a crossing: call number n is in calls[n % 32]. */
struct apus_ring {
  uint64_t submitted;                /* how many calls the application has put in */
  uint64_t completed;                /* how many the kernel has made: a word to sleep on */
  uint64_t reserved[6];
  struct apus_call calls[APUS_RING_CALLS];
};
_Static_assert(sizeof(struct apus_call) == 64 && sizeof(struct apus_ring) == 2112, "ring");

/* What happened on the timelines. */
#define APUS_EVENT_RUN 1              /* an environment's time was booked: it had the CPU until now */
#define APUS_EVENT_SLICE 2            /* a slice of its begins: detail is CPU << 16 | number */
#define APUS_EVENT_WAKE 3             /* it is runnable again; the other one is whose action that was */
#define APUS_EVENT_CALL 4             /* control went by a protected call to the other one */
#define APUS_EVENT_SEND 5             /* likewise, asynchronously */
#define APUS_EVENT_RETURN 6           /* it returned to the other one */
#define APUS_EVENT_DEATH 7            /* it ended: detail is the cause */
struct apus_event {
  uint64_t ticks;                    /* counter when it happened */
  uint64_t detail;                   /* run: ticks that were booked */
  uint16_t environment, other;       /* slots */
  uint8_t kind, processor;
  uint16_t reserved;
  uint64_t number;                   /* of the event; written last: what stands there is whole if it is the right one */
};
_Static_assert(sizeof(struct apus_event) == 32, "event");

struct apus_slice {
  uint32_t environment;              /* slot, or APUS_SLICE_FREE */
  uint32_t reserved;
  uint64_t used;                     /* times it ran */
};
#define APUS_SLICE_FREE 0xffffffff

/* Packet filters, merged: a trie whose states stand for what has been found and whose fields say where to look next.
   Numbers of states, fields and filters start at 1; 0 is none. Masks and values are as a load of the field's width
   sees them on this machine, which is little-endian. */
struct apus_filter_state {
  uint64_t key;                      /* value that leads here; above bit 32 the field that it was found in */
  uint64_t entry;                    /* address of the code that goes on from here */
  uint32_t hash_next;                /* next state in the same bucket */
  uint32_t filter;                   /* the filter that ends here */
  uint32_t next;                     /* next state behind the same field */
  uint32_t previous;
  uint32_t first_field;
  uint32_t account;                  /* whose filters lie here and behind, or APUS_FILTER_ACCOUNT_MIXED */
  uint32_t reserved[6];
};
#define APUS_FILTER_ACCOUNT_MIXED 0xffffffff
#define APUS_FILTER_ACCOUNT_NONE 0xfffffffe
struct apus_filter_field {
  uint16_t offset;                   /* bytes behind the base */
  uint8_t width;                     /* 1, 2 or 4 bytes */
  uint8_t kind;                      /* APUS_ATOM_COMPARE, or APUS_ATOM_SHIFT and a count */
  uint32_t mask;
  uint32_t state;                    /* where it is asked */
  uint32_t next;                     /* next field asked there */
  uint32_t first_child;              /* states that its values lead to */
  uint32_t children;
  uint32_t worst;                    /* fields that a packet meets at most, from here on */
  uint32_t reserved;
};
struct apus_filter {
  uint32_t state;                    /* where it ends, or 0 */
  uint16_t account;                  /* whose it is */
  uint16_t ring;                     /* index of the ring that it leads to */
  uint64_t hits;                     /* packets */
};
/* Kinds of an atom. */
#define APUS_ATOM_COMPARE 0          /* (load & mask) == value */
#define APUS_ATOM_SHIFT 0x80         /* base += (load & mask) << the low bits */
_Static_assert(sizeof(struct apus_filter_state) == 64 && sizeof(struct apus_filter_field) == 32 &&
               sizeof(struct apus_filter) == 16, "filters");

/* The header frame of a packet ring. Entry i belongs to frame i of the list that the ring was made of. */
#define APUS_PACKET_RING_ENTRIES 256
#define APUS_PACKET_FULL 0x100000000
#define APUS_PACKET_RING_WAKES 24
struct apus_packet_ring {
  uint64_t produced;                 /* packets put in: a word to sleep on */
  uint64_t overruns;                 /* packets that found their entry full */
  uint64_t transmitted;              /* transmissions whose memory the card is done with: a word to sleep on */
  uint64_t wakes;                    /* times a handler wanted its owner woken: a word to sleep on */
  uint64_t reserved[4];
  uint64_t entries[APUS_PACKET_RING_ENTRIES]; /* 0: the kernel may fill it; APUS_PACKET_FULL | bytes: it has */
};
_Static_assert(__builtin_offsetof(struct apus_packet_ring, wakes) == APUS_PACKET_RING_WAKES &&
               __builtin_offsetof(struct apus_packet_ring, entries) == 64 && sizeof(struct apus_packet_ring) <= 4096,
               "packet ring");

/* What the kernel remembers of a packet ring. */
struct apus_packet_ring_record {
  uint64_t guard;                    /* who may use it */
  uint64_t produced;
  uint32_t generation;               /* the ring's name is generation << 8 | index */
  uint32_t header_frame;
  uint16_t account;                  /* whose it is */
  uint16_t entries;
  uint16_t next;                     /* the entry that is filled next */
  uint8_t guard_length;
  uint8_t state;                     /* APUS_PACKET_RING_* */
  uint32_t filters;                  /* that lead to it */
  uint32_t overruns;
};
#define APUS_PACKET_RING_FREE 0
#define APUS_PACKET_RING_LIVE 1
#define APUS_PACKET_RING_ENDING 2    /* its owner has ended; its filters are on their way out */
_Static_assert(sizeof(struct apus_packet_ring_record) == 40, "packet ring record");

/* A packet to send: a header, which the kernel copies and checks, and parts that the card reads where they lie. */
#define APUS_TRANSMIT_RUNS 3
#define APUS_TRANSMIT_PACKETS 16
#define APUS_TRANSMIT_HEADER 128
#define APUS_TRANSMIT_BYTES 1514
struct apus_transmit_run {
  uint64_t place;                    /* frame << 12 | offset */
  uint64_t count;                    /* bytes, within the frame */
};
struct apus_transmit {
  uint64_t header;                   /* address of the first bytes of the packet */
  uint16_t header_count;             /* 14 to APUS_TRANSMIT_HEADER */
  uint16_t run_count;
  uint32_t filter;                   /* which filter of the ring it mirrors; 0: by the card's capability */
  struct apus_transmit_run runs[APUS_TRANSMIT_RUNS];
};
_Static_assert(sizeof(struct apus_transmit) == 64, "transmission");

/* A contract: `slice` ticks in each `period` for an environment. */
struct apus_contract {
  uint32_t environment;              /* slot, or APUS_CONTRACT_FREE; a share is reserved until the deadline all the same */
  uint32_t user;                     /* slot of who has the rest of the budget */
  uint32_t generation;               /* part of the contract's name */
  uint16_t account;                  /* who is charged */
  uint16_t ready;                    /* whether the environment could run when the kernel last looked */
  uint32_t share;                    /* millionths of the CPU, the cost of a switch included */
  uint32_t reserved;
  uint64_t period, slice;            /* ticks */
  uint64_t deadline;                 /* counter at which the present period ends */
  uint64_t budget;                   /* ticks left in it */
  uint64_t debt;                     /* ticks used beyond budgets and not yet paid */
  uint64_t used;                     /* ticks charged in all */
  uint64_t periods;                  /* begun */
  uint64_t missed;                   /* ended with budget left for an environment that was ready all through */
};
_Static_assert(sizeof(struct apus_contract) == 88, "contract record");
#define APUS_CONTRACT_FREE 0xffffffff
#define APUS_CONTRACT_COUNT 16       /* records for each CPU */

/* ---- revocation ------------------------------------------------------------------------------------ */

/* Kinds of resources that can be asked back. */
#define APUS_REVOKE_FRAMES 1
#define APUS_REVOKE_SLICES 2

/* Account 0 is the kernel's: frames that were taken by force are charged to it until nothing maps them any more. */
#define APUS_ACCOUNT_REVOKED 0

/* What an account is asked for, of one kind. */
struct apus_revocation_request {
  uint64_t deadline;                 /* counter at which the kernel begins to take; 0: nothing is asked for */
  uint32_t goal;                     /* how many the account may hold then */
  uint32_t minimum;                  /* how many it keeps whatever is asked */
  uint32_t taken;                    /* by force, ever */
  uint32_t missed;                   /* asked for, but pinned or page tables: left with the account, ever */
  uint32_t granted;                  /* how much budget goes over to the requester when the deadline has come */
  uint16_t requester;                /* its account */
  uint8_t authority;                 /* bytes of the name of its capability: who stands higher gets it all */
  uint8_t reserved;
};
_Static_assert(sizeof(struct apus_revocation_request) == 32, "revocation request");

/* What the kernel remembers of an account that was asked for something, has a minimum of its own or a vector. */
struct apus_revocation {
  uint16_t account;                  /* 0: the record is free */
  uint16_t reserved[3];
  uint32_t vector_frame;             /* of the repossession vector; 0: none */
  uint32_t reserved2;
  uint64_t vector_written;           /* as in the vector */
  uint64_t debt_ticks;               /* kernel time spent on taking by force, not yet paid with slices */
  struct apus_revocation_request frames, slices;
};
_Static_assert(sizeof(struct apus_revocation) == 96, "revocation record");

/* The repossession vector: a page that a family shares with the kernel. Entries of both lists: kind << 56 | number. */
#define APUS_REPOSSESSION_ENTRIES 248
#define APUS_REPOSSESSION_FIRST 256
#define APUS_REPOSSESSION_KIND_SHIFT 56
struct apus_repossession {
  uint64_t written;                  /* kernel: entries written ever; entry n lies at n % APUS_REPOSSESSION_ENTRIES */
  uint64_t overflow;                 /* kernel: resources taken that found no room */
  uint64_t consumed;                 /* LibOS: entries read ever, which makes room */
  uint64_t first_count;              /* LibOS: how many of `first` count */
  uint64_t reserved[4];
  uint64_t entries[APUS_REPOSSESSION_ENTRIES]; /* kernel: what was taken */
  uint64_t first[APUS_REPOSSESSION_FIRST];     /* LibOS: what to take first */
};
_Static_assert(sizeof(struct apus_repossession) == 4096, "repossession vector");

/* ---- families that another one started ------------------------------------------------------------- */

#define APUS_FAMILY_MAGIC 0x316d616673757041 /* "Apusfam1" */
#define APUS_FAMILY_RUNS 0
#define APUS_FAMILY_ENDED 1

/* A page of the starter's, which both can write: neither believes the other more than it must. */
struct apus_family {
  uint64_t magic;
  uint64_t account;                  /* starter: the family's own */
  uint64_t state;                    /* family: APUS_FAMILY_* */
  uint64_t status;                   /* family: exit status, once it has ended */
  uint64_t request;                  /* starter: signal to be sent to the first process << 32 | how many requests so far */
};

/* ---- failures --------------------------------------------------------------------------------------- */

/* Who reports what. */
#define APUS_CRASH_ENVIRONMENT 1     /* the kernel: an environment failed */
#define APUS_CRASH_LIBOS 2           /* a LibOS: a fault in its own code */
#define APUS_CRASH_STOPPED 3         /* a LibOS: it cannot go on; the instruction is the one that found out */
#define APUS_CRASH_PROGRAM 4         /* a LibOS: one of its programs failed */
#define APUS_CRASH_FAMILY_ENDS 1     /* flags: the account's environments end with it */
#define APUS_CRASH_HAS_VECTOR 2      /* it has a repossession vector */
#define APUS_CRASH_FRAMES 24
#define APUS_CRASH_TAKEN 4

/* A report of a failure, for the person at the console (ConsoleStream.crash): numbers, which the host makes into names.
 * The kernel leaves the program out. */
struct apus_crash {
  uint32_t kind, slot;
  uint32_t account, flags;
  uint64_t cause, rip, rsp, address; /* as in a save area */
  uint64_t slices_used, slices_forfeited, ticks_used, excess_ticks;
  uint64_t slice_upcalls, exception_upcalls, calls;
  struct apus_account resources;
  struct apus_save_area exception, nested, slice; /* the last upcalls of each kind */
  uint64_t repossessed;              /* resources taken by force, as the vector counts them */
  uint64_t taken[APUS_CRASH_TAKEN];  /* the last of them, the newest first: kind << 56 | number */
  uint64_t frame_count;
  uint64_t frames[APUS_CRASH_FRAMES]; /* return addresses, innermost first */
  uint64_t image_base;               /* what the program's own addresses are relative to */
  char program[128];                 /* its path, closed by zeros */
};
#define APUS_CRASH_TAKEN_OFFSET 344
#define APUS_CRASH_FRAMES_OFFSET 384
#define APUS_CRASH_PROGRAM_OFFSET 584
_Static_assert(__builtin_offsetof(struct apus_crash, taken) == APUS_CRASH_TAKEN_OFFSET, "crash report");
_Static_assert(__builtin_offsetof(struct apus_crash, frames) == APUS_CRASH_FRAMES_OFFSET, "crash report");
_Static_assert(__builtin_offsetof(struct apus_crash, program) == APUS_CRASH_PROGRAM_OFFSET, "crash report");

/* ---- the boot image ------------------------------------------------------------------------------- */

/* What the host command packs and the kernel's loader hands to the first environment. Page-aligned throughout:
 * a file's pages can be mapped where they lie. All offsets are from the start of the image. */
#define APUS_IMAGE_MAGIC 0x31656d6973757041 /* "Apusime1" */
#define APUS_IMAGE_SEGMENTS 8

struct apus_image_segment {
  uint64_t address;                  /* page-aligned, in the LibOS's level-4 slot */
  uint64_t offset;                   /* page-aligned, in the image */
  uint64_t file_size;                /* bytes in the image */
  uint64_t memory_size;              /* bytes in memory; the rest is zero */
  uint64_t flags;                    /* 1: executable, 2: writable (as in ELF's p_flags) */
};

struct apus_image {
  uint64_t magic;
  uint64_t size;                     /* of the whole image */
  uint64_t entry;                    /* of the LibOS */
  uint64_t segment_count;
  struct apus_image_segment segments[APUS_IMAGE_SEGMENTS];
  uint64_t entry_table_offset;       /* struct apus_image_entry[entry_count], parents before children */
  uint64_t entry_count;
  uint64_t strings_offset;           /* all names and link targets, not terminated */
  uint64_t strings_size;
  uint64_t command_offset;           /* the start command: see below */
  uint64_t command_size;
};

/* One file, directory or symbolic link. Path: absolute, no trailing slash, bytes as on the host. */
struct apus_image_entry {
  uint64_t path_offset, path_size;   /* in the strings */
  uint64_t target_offset, target_size; /* of a symbolic link, in the strings */
  uint64_t data_offset, data_size;   /* of a file: page-aligned offset in the image */
  uint32_t mode;                     /* as in struct stat: type and permissions */
  uint32_t uid, gid;
  uint32_t links_to;                 /* 0, or 1 + index of the entry that this is a hard link to */
  int64_t mtime;                     /* seconds */
};

/* The start command: strings, each closed by a zero byte: "key=value" settings, an empty string, the program's
 * path, its arguments (the first is argv[0]), an empty string, its environment.
 * Settings: arguments=N (how many arguments follow the path, as some may be empty), trace=1, verbose=1, workdir=PATH, terminal=BITS (bit n: host stream n is a terminal),
 * rows=N, columns=N, epoch=NANOSECONDS, seed=HEX (random bytes). */
#endif
#endif
