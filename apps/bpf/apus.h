/* SPDX-License-Identifier: Apache-2.0
   apus.h: what C programs for the kernel are written with: `clang -target bpf -O2 -c FILE.c`, then `apus bpf check`. */
#ifndef APUS_BPF_H
#define APUS_BPF_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

/* A program stands in a section of its own; what it calls stays in .text. */
#define PROGRAM __attribute__((section("program"), used))

/* Numbers of a packet are in network order. */
#define BE16(x) __builtin_bswap16(x)
#define BE32(x) __builtin_bswap32(x)

/* Helpers of packet handlers. */
static s64 (*const copy_to_memory)(u64 packet_offset, u64 memory_offset, u64 count) = (void *)1;
static s64 (*const send_reply)(u64 count) = (void *)2;
static s64 (*const wake_owner)(void) = (void *)3;
static s64 (*const copy_to_reply)(u64 packet_offset, u64 reply_offset, u64 count) = (void *)4;
static s64 (*const copy_memory_to_reply)(u64 memory_offset, u64 reply_offset, u64 count) = (void *)5;
/* The helper of block owners. */
static u64 (*const owns_blocks)(u64 first, u64 count, u64 type) = (void *)1;
/* The helper of storage functions. */
static u64 (*const read_block_next)(u64 block) = (void *)1;

#endif
