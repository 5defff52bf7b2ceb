// The transforms of Winograd's algorithm: the paper's matrices G, B^T and A^T, on vectors `s` apart.
#ifndef TRANSFORMS_H
#define TRANSFORMS_H

#include "vector.h"

#ifdef NATIVE_HALF

// F(2x2, 3x3): the factors are small enough for FP16. Those of G's rows, 1/2, are in A^T instead, since weights are
// transformed more often than products.
#define TILE 4
#define OUT 2
INLINE void transform_weights(vf a, vf b, vf c, vf *o, int s) {
    vf p = a + c;
    o[0] = a;
    o[s] = p + b;
    o[2 * s] = p - b;
    o[3 * s] = c;
}
INLINE void transform_tile(const vf *d, vf *o, int s) {
    o[0] = d[0] - d[2];
    o[s] = d[1] + d[2];
    o[2 * s] = d[2] - d[1];
    o[3 * s] = d[1] - d[3];
}
INLINE void transform_products(const vf *m, vf *o, int s) {
    o[0] = m[0] + (m[1] + m[2]) * .5f;
    o[s] = (m[1] - m[2]) * .5f - m[3];
}

#else

// F(4x4, 3x3). The factors -1/6 and 1/24 of G's rows are in A^T instead, since weights are transformed more often than
// products.
#define TILE 6
#define OUT 4
INLINE void transform_weights(vf a, vf b, vf c, vf *o, int s) {
    vf p = a + c, q = a + c * 4.f;
    o[0] = a;
    o[s] = p + b;
    o[2 * s] = p - b;
    o[3 * s] = q + b * 2.f;
    o[4 * s] = q - b * 2.f;
    o[5 * s] = c;
}
INLINE void transform_tile(const vf *d, vf *o, int s) {
    vf t1 = d[4] - d[2] * 4.f, t2 = d[3] - d[1] * 4.f, t3 = d[4] - d[2], t4 = (d[3] - d[1]) * 2.f;
    o[0] = d[0] * 4.f - d[2] * 5.f + d[4];
    o[s] = t1 + t2;
    o[2 * s] = t1 - t2;
    o[3 * s] = t3 + t4;
    o[4 * s] = t3 - t4;
    o[5 * s] = d[1] * 4.f - d[3] * 5.f + d[5];
}
INLINE void transform_products(const vf *m, vf *o, int s) {
    vf p = (m[1] + m[2]) * (-1.f / 6), q = (m[1] - m[2]) * (-1.f / 6), r = m[3] + m[4], t = m[3] - m[4];
    o[0] = m[0] * .25f + p + r * (1.f / 24);
    o[s] = q + t * (1.f / 12);
    o[2 * s] = p + r * (1.f / 6);
    o[3 * s] = q + t * (1.f / 3) + m[5];
}

#endif
#define PLANES (TILE * TILE)

#endif
