// Sums and products of two tensors, functions of one, and copies.
#include "engine.h"
#include "finish.h"

INLINE vf operand(const struct native_step *s, const float *other, int c, int count) {
    if (s->operand == NATIVE_SINGLE) return splat(*other);
    return count == VL ? load(other + c) : load_part(other + c, count);
}

static void pixels_of(const struct worker *w, const struct native_step *s, int p1, int p2, int c1, int c2) {
    const float *input = input_of(w, &s->input) + (int64_t)p1 * s->input.stride;
    const float *other = s->operand == NATIVE_NONE ? 0 : other_of(w, s);
    float *output = output_of(w, &s->output) + (int64_t)p1 * s->output.stride;
    int64_t step = s->operand == NATIVE_SAME ? s->other.stride : 0;
    if (other) other += p1 * step;
    for (int p = p1; p < p2; p++) {
        for (int c = c1; c < c2; c += VL) {
            int count = at_most_int(VL, c2 - c);
            vf v = count == VL ? load(input + c) : load_part(input + c, count);
            if (s->kind == NATIVE_ADD) v += operand(s, other, c, count);
            else if (s->kind == NATIVE_MULTIPLY) v *= operand(s, other, c, count);
            v = finish(s, v);
            if (count == VL) store(output + c, v);
            else store_part(output + c, v, count);
        }
        input += s->input.stride;
        output += s->output.stride;
        if (other) other += step;
    }
}

void run_elementwise(struct worker *w, const struct native_step *s) {
    int threads = w->engine->options.threads, p1 = 0, p2 = s->output.height * s->output.width, v1 = 0, v2 = (s->output.channels + VL - 1) / VL;
    if (p2 >= threads) share(p2, w->index, threads, &p1, &p2);
    else share(v2, w->index, threads, &v1, &v2);
    pixels_of(w, s, p1, p2, v1 * VL, at_most_int(v2 * VL, s->output.channels));
}
