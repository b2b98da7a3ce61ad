/* SPDX-License-Identifier: Apache-2.0 */
/* Package.h: what tools/package.mk gives the two halves of a package that `apus new` made. */
#ifndef APUS_PACKAGE_H
#define APUS_PACKAGE_H
#include <stdint.h>

/* Where the application's program is linked to run: its entry, application_start, is there. */
#define APPLICATION_BASE 0x400000

#define PACKAGE_INLINE static inline __attribute__((always_inline))

/* For the LibOS, which carries the application's program in its constants (Application.S). */
extern const uint8_t package_application[], package_application_end[];
PACKAGE_INLINE uint64_t application_image(void) { return (uint64_t)(uintptr_t)package_application; }
PACKAGE_INLINE uint64_t application_image_size(void) {
  return (uint64_t)(package_application_end - package_application);
}
#endif
