// Says whether this CPU can run these kernels. Compiled without their instructions.
#include "native.h"
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

NATIVE_EXPORT int32_t native_can_run(void);

int32_t native_can_run(void) {
#if defined(NATIVE_AVX512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2");
#elif defined(NATIVE_AVX2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
    return 1;
#endif
}
