// The end of an operation: bounds, then a function, on results that are still in registers.
#ifndef FINISH_H
#define FINISH_H

#include "native.h"
#include "vector.h"

// e^x by 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes, expf); relative error 2e-7.
INLINE vf exponential(vf x) {
    x = at_most(splat(88.f), at_least(splat(-87.f), x));
    vf shifted = x * 1.44269504f + 12582912.f;  // 1.5 * 2^23: the integer is in the low bits
    vf n = shifted - 12582912.f;
    vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.f;
    return (vf)((vi)p + ((vi)shifted << 23));
}

INLINE vf sigmoid(vf v) { return 1.f / (1.f + exponential(-v)); }

// Not inlined, so that the kernels stay small.
static __attribute__((noinline, unused)) vf apply(int function, vf v) {
    switch (function) {
    case NATIVE_HARDSWISH: return v * at_most(splat(1.f), at_least(splat(0.f), v * (1.f / 6) + .5f));
    case NATIVE_SIGMOID: return sigmoid(v);
    case NATIVE_SILU: return v * sigmoid(v);
    default: return v;
    }
}

// In FP16 arithmetic, what has left the range of FP16 is infinite by now, and bounds would make it look like any other
// result: it becomes no number, which bounds and all steps after leave as it is, so that it is seen in the logits.
#ifdef NATIVE_HALF
INLINE vf reveal(vf v) { return v - v * 0.f; }
#else
INLINE vf reveal(vf v) { return v; }
#endif

INLINE vf bounded(vf low, vf high, vf v) { return at_most(high, at_least(low, reveal(v))); }

// The same for several results at once, so that the function is asked for once.
INLINE void finish_all(const int N, const struct native_step *s, vf *v) {
    vf low = splat(s->low), high = splat(s->high);
    UNROLL for (int n = 0; n < N; n++) v[n] = bounded(low, high, v[n]);
    if (s->function != NATIVE_IDENTITY)
        for (int n = 0; n < N; n++) v[n] = apply(s->function, v[n]);
}

INLINE vf finish(const struct native_step *s, vf v) {
    v = bounded(splat(s->low), splat(s->high), v);
    return s->function == NATIVE_IDENTITY ? v : apply(s->function, v);
}

#endif
