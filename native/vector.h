// Vectors of floats as wide as the target's, and the few things that GCC's own vector types cannot say.
#ifndef VECTOR_H
#define VECTOR_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(NATIVE_HALF)
#define VL 4
#define MR 8
#elif defined(__AVX512F__)
#define VL 16
#define MR 8  // rows of a register block: MR * NV sums, NV weights and one input have to fit the registers
#elif defined(__AVX2__)
#define VL 8
#define MR 6
#elif defined(__aarch64__)
#define VL 4
#define MR 8
#else
#define VL 4
#define MR 6
#endif
#ifdef NATIVE_HALF
#define NV 4
#else
#define NV 2
#endif
#define NR (NV * VL)  // output channels that are packed side by side

#define INLINE static inline __attribute__((always_inline))
#define PRAGMA(x) _Pragma(#x)
#define UNROLL PRAGMA(GCC unroll 40)
#if defined(__clang__)
#undef UNROLL
#define UNROLL _Pragma("clang loop unroll(full)")
#endif

typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
typedef float vf_unaligned __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef uint16_t half;  // the bits of an FP16 number

INLINE vf load(const float *p) { return *(const vf_unaligned *)p; }
INLINE void store(float *p, vf v) { *(vf_unaligned *)p = v; }
INLINE vf splat(float x) { return x - (vf){0}; }

// The first `count` of a vector, 1 to VL; the rest is zero.
#if VL == 16
INLINE vf load_part(const float *p, int count) { return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p); }
INLINE void store_part(float *p, vf v, int count) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v); }
#elif VL == 8
static const int32_t lanes_taken[2 * VL] = {-1, -1, -1, -1, -1, -1, -1, -1};
INLINE __m256i taken(int count) { return _mm256_loadu_si256((const __m256i *)(lanes_taken + VL - count)); }
INLINE vf load_part(const float *p, int count) { return (vf)_mm256_maskload_ps(p, taken(count)); }
INLINE void store_part(float *p, vf v, int count) { _mm256_maskstore_ps(p, taken(count), (__m256)v); }
#else
INLINE vf load_part(const float *p, int count) {
    if (count >= VL) return load(p);
    return (vf){p[0], count > 1 ? p[1] : 0, count > 2 ? p[2] : 0, 0};
}
INLINE void store_part(float *p, vf v, int count) {
    if (count >= VL) {
        store(p, v);
        return;
    }
    p[0] = v[0];
    if (count > 1) p[1] = v[1];
    if (count > 2) p[2] = v[2];
}
#endif

// A result that is not a number stays one: it is the second operand.
INLINE vf at_least(vf low, vf v) {
#if VL == 16
    return (vf)_mm512_max_ps((__m512)low, (__m512)v);
#elif VL == 8
    return (vf)_mm256_max_ps((__m256)low, (__m256)v);
#elif defined(__aarch64__)
    return (vf)vmaxq_f32((float32x4_t)low, (float32x4_t)v);
#else
    return (vf)_mm_max_ps((__m128)low, (__m128)v);
#endif
}
INLINE vf at_most(vf high, vf v) {
#if VL == 16
    return (vf)_mm512_min_ps((__m512)high, (__m512)v);
#elif VL == 8
    return (vf)_mm256_min_ps((__m256)high, (__m256)v);
#elif defined(__aarch64__)
    return (vf)vminq_f32((float32x4_t)high, (float32x4_t)v);
#else
    return (vf)_mm_min_ps((__m128)high, (__m128)v);
#endif
}

// VL FP16 numbers as FP32.
INLINE vf widen(const half *p) {
#if VL == 16
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif VL == 8
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#elif defined(__aarch64__)
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    // Exponent and fraction moved into place, the exponent's bias corrected by a multiplication, exact also for the
    // subnormal numbers; weights are finite.
    vi bits = (vi)_mm_unpacklo_epi16(_mm_loadl_epi64((const __m128i *)p), _mm_setzero_si128());
    vf size = (vf)((bits & 0x7fff) << 13) * 0x1p112f;
    return (vf)((vi)size | ((bits & 0x8000) << 16));
#endif
}

INLINE int at_most_int(int a, int b) { return a < b ? a : b; }
INLINE int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

#endif
