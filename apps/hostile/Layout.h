/* SPDX-License-Identifier: Apache-2.0 */
/* Layout.h: what hostile's assembly and its Swift agree on: register files and the words after the kernel's own in
 * each u-area. Offsets are written once, for both. */
#ifndef HOSTILE_LAYOUT_H
#define HOSTILE_LAYOUT_H
#include "ApusABI.h"

/* A register file: the general registers in the processor's own order, then the instruction pointer and the flags. */
#define REGISTER_RAX 0x00
#define REGISTER_RCX 0x08
#define REGISTER_RDX 0x10
#define REGISTER_RBX 0x18
#define REGISTER_RSP 0x20
#define REGISTER_RBP 0x28
#define REGISTER_RSI 0x30
#define REGISTER_RDI 0x38
#define REGISTER_R8 0x40
#define REGISTER_R9 0x48
#define REGISTER_R10 0x50
#define REGISTER_R11 0x58
#define REGISTER_R12 0x60
#define REGISTER_R13 0x68
#define REGISTER_R14 0x70
#define REGISTER_R15 0x78
#define REGISTER_RIP 0x80
#define REGISTER_FLAGS 0x88
#define REGISTER_FILE_SIZE 0x90

/* An exception as its handler found it: the interrupted registers, the cause, and what the upcall itself began with. */
#define RECORD_CAUSE 0x90
#define RECORD_ADDRESS 0x98
#define RECORD_ENTRY_FLAGS 0xa0
#define RECORD_ENTRY_RSP 0xa8
#define RECORD_ENTRY_RAX 0xb0
#define RECORD_ENTRY_RCX 0xb8

/* The u-area from APUS_UA_LIBOS on. */
#define UA_CONTEXT 0x200        /* register file while not running */
#define UA_CONTEXT_FS 0x290
#define UA_RECORD 0x2a0         /* the exception that is being handled */
#define UA_NESTED_RECORD 0x360
#define UA_SLICE_ENDS 0x420     /* upcalls seen */
#define UA_SLICE_BEGINS 0x428
#define UA_EXCEPTIONS 0x430
#define UA_NESTED_EXCEPTIONS 0x438
#define UA_PLAN 0x440           /* what the exception handler is to do: PLAN_* */
#define UA_PLAN_ARGUMENT 0x448
#define UA_PLAN_ARGUMENT2 0x450
#define UA_STEPS 0x458          /* single steps counted */
#define UA_WORD 0x460           /* for the body of a child: a counter */
#define UA_WORD2 0x468
#define UA_WORD3 0x470
#define UA_CONTRACT_ARGUMENT 0x478
#define UA_STEPS_RESUME 0x480   /* nonzero: the way out of the next exception handler is single-stepped */
#define UA_RESUME_STEPS 0x488   /* steps inside that way and just after it */
#define UA_STOPS 0x490          /* nonzero: the body of a child is to end */
#define UA_FOUND_RIP 0x498      /* of the last exception, before the handler changed them */
#define UA_FOUND_FLAGS 0x4a0
#define UA_SERVICE 0x4a8        /* what the protected entry does: SERVICE_* */
#define UA_NEXT 0x4b0           /* whom it calls */
#define UA_DEADLINE 0x4b8       /* until when that call, or its sleep, lasts */
#define UA_SERVED 0x4c0         /* times it was entered */
#define UA_REFUSED 0x4c8        /* returns that were refused, and tried again */
#define UA_CALLED 0x4d0         /* calls that it made and that ended: how the last one did, as rax said */
#define UA_ANSWER 0x4d8         /* or what it was refused with */
#define UA_REVOCATIONS 0x4e0    /* revocation upcalls seen */
#define UA_VECTORS 0x500        /* XSAVE area */
#define UA_VECTORS_SIZE 0xb00

#define PLAN_NONE 0             /* an exception that nobody expects ends the test run */
#define PLAN_GO_TO 1            /* go on at the argument */
#define PLAN_GO_ON 2            /* go on where the processor says */
#define PLAN_STEP 3             /* count; stop single-stepping at the argument */
#define PLAN_MAP 4              /* write the second argument as the entry of the first argument's page, then retry */
#define PLAN_FAULT_AGAIN 5      /* fault once in the handler; then go on at the argument */
#define PLAN_STEP_RETURN 6      /* single-step the way back, which goes where the processor says */
#define PLAN_GO_ON_ALWAYS 7     /* as GO_ON, for every exception from now on */

#define SERVICE_ANSWER 0
#define SERVICE_WAIT 1          /* loop until UA_STOPS is set */
#define SERVICE_END 2           /* end itself */
#define SERVICE_FAULT 3         /* fault, which nothing handles */
#define SERVICE_CALL 4          /* call UA_NEXT */
#define SERVICE_SLEEP 5         /* sleep until UA_DEADLINE */
#define SERVICE_DAWDLE 6        /* loop in a critical section until the slice has ended */
#define SERVICE_ACCEPT 7        /* say that it accepts, and loop as in WAIT */
#define SERVICE_VECTORS 8       /* answer with patterns in the vector registers */
#define SERVICE_KEEP 10         /* load patterns into the vector registers, and leave with them at a yield */
#define SERVICE_YIELD 9         /* yield to its caller once */

/* What a call seems to return when it raised a contract fault: no kernel value or error is this. */
#define CONTRACT_FAULTED 0x7fff0000

/* What hostile_suspend returns when a slice began, and what a foreign call returns. */
#define RESUMED 0x7ffe0000
#define FOREIGN_ANSWER 0x464f524549474e

#define CALL_YIELD 1
#define CALL_SLEEP 2
#define CALL_TRANSFER 3
#define CALL_TRANSFER_RETURN 4
#define CALL_TRANSFER_ASYNCHRONOUSLY 5
#define FLAG_TRAP 0x100
#define USER_CODE_SELECTOR 0x2b
#define USER_DATA_SELECTOR 0x23
#endif
