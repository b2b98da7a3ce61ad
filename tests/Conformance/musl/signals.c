// SPDX-License-Identifier: Apache-2.0
// signals.c: the same with another C library, which starts, forks, allocates and makes threads in its own way.
//
// apus: compare: host
// apus: flags: -O1 -specs=/usr/lib/x86_64-linux-musl/musl-gcc.specs
// apus: needs: /usr/lib/x86_64-linux-musl/musl-gcc.specs
// apus: timeout: 600
#include "../signals.c"
