/* Stands in for libunwind on 32-bit ARM.
 *
 * Every function of ring's C code names a routine for unwinding (EHABI, "generic
 * personality"), and the linker brings libunwind, and printf through it: 14 KB
 * for what a program that ends at a panic never does.
 */
#include <stdlib.h>

#define NEVER(name) void name(void) { abort(); }

NEVER(__aeabi_unwind_cpp_pr0)
NEVER(__aeabi_unwind_cpp_pr1)
NEVER(__aeabi_unwind_cpp_pr2)
/* What the personality routine of Rust's standard library asks for. */
NEVER(__gnu_unwind_frame)
NEVER(_Unwind_VRS_Get)
NEVER(_Unwind_VRS_Set)
NEVER(_Unwind_GetLanguageSpecificData)
NEVER(_Unwind_GetRegionStart)
NEVER(_Unwind_GetDataRelBase)
NEVER(_Unwind_GetTextRelBase)
