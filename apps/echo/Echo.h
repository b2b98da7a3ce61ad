/* SPDX-License-Identifier: Apache-2.0 */
/* Echo.h: the handler that is part of the program. */
#include <stdint.h>
uint64_t echo_program(void); /* its address */
uint64_t echo_program_size(void);
