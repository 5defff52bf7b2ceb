// The product at the heart of every convolution: M rows of numbers times a panel of NR columns, sums in registers.
#ifndef GEMM_H
#define GEMM_H

#ifdef NATIVE_HALF
#include "half.h"
#else
#include "vector.h"

typedef float element;  // of what is multiplied
#define SUMMED 4        // products at a time

INLINE void put_elements(element *to, vf v) { store(to, v); }

// c[v][m] += sum over k < count of rows[m][k] * panel[k]: M rows, NR columns in NV vectors.
INLINE void multiply(const int M, const float *const *rows, const float *restrict panel, int count, vf (*restrict c)[MR]) {
    vf *restrict c0 = c[0], *restrict c1 = c[1];
    int k = 0;
#if VL == 4
    // Four inputs of each row at once: one load instead of four, and on ARM a product by a lane costs nothing more.
    for (; k + 4 <= count; k += 4) {
        vf a[MR];
        UNROLL for (int m = 0; m < M; m++) a[m] = load(rows[m] + k);
        UNROLL for (int j = 0; j < 4; j++) {
            vf b0 = load(panel + (k + j) * NR), b1 = load(panel + (k + j) * NR + VL);
            UNROLL for (int m = 0; m < M; m++) {
                c0[m] += b0 * a[m][j];
                c1[m] += b1 * a[m][j];
            }
        }
    }
#endif
    for (; k < count; k++) {
        vf b0 = load(panel + k * NR), b1 = load(panel + k * NR + VL);
        UNROLL for (int m = 0; m < M; m++) {
            float a = rows[m][k];
            c0[m] += b0 * a;
            c1[m] += b1 * a;
        }
    }
}

// The same for the first half of the columns alone.
INLINE void multiply_narrow(const int M, const float *const *rows, const float *restrict panel, int count, vf (*restrict c)[MR]) {
    for (int k = 0; k < count; k++) {
        vf b = load(panel + k * NR);
        UNROLL for (int m = 0; m < M; m++) c[0][m] += b * rows[m][k];
    }
}
#endif

// So many elements, in floats.
#define FLOATS(elements) (((int64_t)(elements) * (int64_t)sizeof(element) + 3) / 4)

// Call `do_it` with the number of rows as a constant.
#if MR == 8
#define FOR_ROWS(m, do_it) \
    switch (m) { \
    case 1: do_it(1); break; \
    case 2: do_it(2); break; \
    case 3: do_it(3); break; \
    case 4: do_it(4); break; \
    case 5: do_it(5); break; \
    case 6: do_it(6); break; \
    case 7: do_it(7); break; \
    default: do_it(8); \
    }
#else
#define FOR_ROWS(m, do_it) \
    switch (m) { \
    case 1: do_it(1); break; \
    case 2: do_it(2); break; \
    case 3: do_it(3); break; \
    case 4: do_it(4); break; \
    case 5: do_it(5); break; \
    default: do_it(6); \
    }
#endif

// The size of the blocks of rows that `count` rows are cut into: at most MR, and alike.
INLINE int block_rows(int count) {
    int blocks = (count + MR - 1) / MR;
    return (count + blocks - 1) / blocks;
}

#endif
