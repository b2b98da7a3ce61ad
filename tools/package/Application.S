/* SPDX-License-Identifier: Apache-2.0 */
/* Application.S: a package's application as constants of its LibOS; APPLICATION is the file. */
  .section .rodata.package_application, "a"
  .balign 16
  .globl package_application, package_application_end
package_application:
  .incbin APPLICATION
package_application_end:
