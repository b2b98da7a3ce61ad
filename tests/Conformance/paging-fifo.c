// SPDX-License-Identifier: Apache-2.0
// paging-fifo.c: the same as paging.c, with the other replacement policy.
//
// apus: compare: host
// apus: icount: yes
// apus: option: --pager fifo --swap 10000 --revoke 512/500
// apus: memory: 128M
// apus: timeout: 300

#include "paging.c"
