// Says whether this CPU can run these kernels. Compiled without their instructions.
#include "native.h"
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDHP
#define HWCAP_ASIMDHP (1 << 10)
#endif
#endif

NATIVE_EXPORT int32_t native_can_run(void);

#if defined(NATIVE_AVX2) || defined(NATIVE_AVX512)
static int has_f16c(void) {  // clang cannot be asked for it by name
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && c >> 29 & 1;
}
#endif

int32_t native_can_run(void) {
#if defined(NATIVE_AVX512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2") && has_f16c();
#elif defined(NATIVE_AVX2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#elif defined(NATIVE_HALF) && defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDHP) != 0;
#else
    return 1;
#endif
}
