// FP16 arithmetic: products of FP16 numbers in vectors of eight, their sums FP16 for 32 of them and FP32 from there on.
//
// Sums alone would lose the most in FP16: they grow, and with them what each rounding takes away.
#ifndef HALF_H
#define HALF_H

#include "vector.h"

#define VE 8
#define SUMMED 32  // products whose sum is FP16

typedef _Float16 element;
typedef _Float16 ve __attribute__((vector_size(2 * VE)));
typedef _Float16 ve_unaligned __attribute__((vector_size(2 * VE), aligned(2), may_alias));

INLINE ve load_elements(const element *p) { return *(const ve_unaligned *)p; }

// The halves of a vector as FP32; four numbers as FP16, where those beyond its range become infinite.
#if defined(__aarch64__)
INLINE vf lower(ve v) { return (vf)vcvt_f32_f16(vget_low_f16((float16x8_t)v)); }
INLINE vf upper(ve v) { return (vf)vcvt_high_f32_f16((float16x8_t)v); }
INLINE void put_elements(element *to, vf v) { vst1_f16((float16_t *)to, vcvt_f16_f32((float32x4_t)v)); }
#else  // not shipped: for the sanitizers of a machine whose CPU has AVX512-FP16
INLINE vf lower(ve v) { return (vf)_mm_cvtph_ps((__m128i)v); }
INLINE vf upper(ve v) { return (vf)_mm_cvtph_ps(_mm_srli_si128((__m128i)v, 8)); }
INLINE void put_elements(element *to, vf v) { _mm_storel_epi64((__m128i_u *)to, _mm_cvtps_ph((__m128)v, _MM_FROUND_TO_NEAREST_INT)); }
#endif
static inline void narrow_row(element *to, const float *from, int count) {
    int i = 0;
    for (; i + VL <= count; i += VL) put_elements(to + i, load(from + i));
    for (; i < count; i++) to[i] = (element)from[i];
}

// sum += b * a[lane]. On ARM one instruction, which GCC does not find where several columns meet the same number.
#if defined(__aarch64__)
#define ADD_PRODUCT(sum, b, a, lane) __asm__ volatile("fmla %0.8h, %1.8h, %2.h[" #lane "]" : "+w"(sum) : "w"(b), "x"(a))
#else
#define ADD_PRODUCT(sum, b, a, lane) sum += b * a[lane]
#endif

// s[v][m] = sum over from <= k < from + count of rows[m][k] * panel[k], at most SUMMED products: M rows, V vectors of columns.
INLINE void multiply_short(const int M, const int V, const element *const *rows, int from, const element *restrict panel, int count, ve (*s)[MR]) {
    UNROLL for (int v = 0; v < V; v++) UNROLL for (int m = 0; m < M; m++) s[v][m] = (ve){0};
    int k = 0;
    for (; k + VE <= count; k += VE) {
        ve a[MR];
        UNROLL for (int m = 0; m < M; m++) a[m] = load_elements(rows[m] + from + k);
#define ADD_PRODUCTS(j)                                                     \
    UNROLL for (int v = 0; v < V; v++) {                                    \
        ve b = load_elements(panel + (k + j) * NR + v * VE);                \
        UNROLL for (int m = 0; m < M; m++) ADD_PRODUCT(s[v][m], b, a[m], j); \
    }
        ADD_PRODUCTS(0) ADD_PRODUCTS(1) ADD_PRODUCTS(2) ADD_PRODUCTS(3)
        ADD_PRODUCTS(4) ADD_PRODUCTS(5) ADD_PRODUCTS(6) ADD_PRODUCTS(7)
#undef ADD_PRODUCTS
    }
    for (; k < count; k++) UNROLL for (int v = 0; v < V; v++) {
        ve b = load_elements(panel + k * NR + v * VE);
        UNROLL for (int m = 0; m < M; m++) {
            ve a = rows[m][from + k] - (ve){0};
            ADD_PRODUCT(s[v][m], b, a, 0);
        }
    }
}

INLINE void multiply_columns(const int M, const int V, const element *const *rows, const element *restrict panel, int count, vf (*restrict c)[MR]) {
    for (int k = 0; k < count; k += SUMMED) {
        ve s[2][MR];
        multiply_short(M, V, rows, k, panel + k * NR, at_most_int(SUMMED, count - k), s);
        UNROLL for (int v = 0; v < V; v++) UNROLL for (int m = 0; m < M; m++) {
            c[2 * v][m] += lower(s[v][m]);
            c[2 * v + 1][m] += upper(s[v][m]);
        }
    }
}

// c[v][m] += sum over k < count of rows[m][k] * panel[k]: M rows, NR columns in NV vectors.
INLINE void multiply(const int M, const element *const *rows, const element *restrict panel, int count, vf (*restrict c)[MR]) {
    multiply_columns(M, 2, rows, panel, count, c);
}

// The same for the first half of the columns alone.
INLINE void multiply_narrow(const int M, const element *const *rows, const element *restrict panel, int count, vf (*restrict c)[MR]) {
    multiply_columns(M, 1, rows, panel, count, c);
}

#endif
