// Maxima and averages over windows, and the average over the whole picture.
#include <math.h>

#include "engine.h"

// Padding never wins a maximum and is not counted in an average.
static void pool(struct worker *w, const struct native_step *s, const int is_max) {
    const struct native_tensor *in = &s->input, *out = &s->output;
    int y1, y2;
    share(out->height, w->index, w->engine->options.threads, &y1, &y2);
    for (int y = y1; y < y2; y++)
        for (int x = 0; x < out->width; x++) {
            int top = y * s->stride_y - s->top, left = x * s->stride_x - s->left;
            int bottom = at_most_int(top + s->kernel_height, in->height), right = at_most_int(left + s->kernel_width, in->width);
            if (top < 0) top = 0;
            if (left < 0) left = 0;
            float scale = 1.f / (float)((bottom - top) * (right - left));
            float *to = output_of(w, out) + ((int64_t)y * out->width + x) * out->stride;
            for (int c = 0; c < out->channels; c += VL) {
                int count = at_most_int(VL, out->channels - c);
                vf result = splat(is_max ? -INFINITY : 0.f);
                for (int iy = top; iy < bottom; iy++) {
                    const float *p = input_of(w, in) + ((int64_t)iy * in->width + left) * in->stride + c;
                    for (int ix = left; ix < right; ix++, p += in->stride) {
                        vf v = count == VL ? load(p) : load_part(p, count);
                        result = is_max ? at_least(result, v) : result + v;
                    }
                }
                if (!is_max) result *= scale;
                if (count == VL) store(to + c, result);
                else store_part(to + c, result, count);
            }
        }
}

void run_max_pool(struct worker *w, const struct native_step *s) { pool(w, s, 1); }
void run_average_pool(struct worker *w, const struct native_step *s) { pool(w, s, 0); }

// N vectors of channels at a time, so that one addition need not wait for the one before.
INLINE void average_of(const int N, const struct worker *w, const struct native_step *s, int c) {
    const float *p = input_of(w, &s->input) + c;
    float *to = output_of(w, &s->output) + c;
    int pixels = s->input.height * s->input.width;
    vf sums[4];
    UNROLL for (int n = 0; n < N; n++) sums[n] = (vf){0};
    for (int i = 0; i < pixels; i++, p += s->input.stride) UNROLL for (int n = 0; n < N; n++) sums[n] += load(p + n * VL);
    UNROLL for (int n = 0; n < N; n++) store(to + n * VL, sums[n] * (1.f / (float)pixels));
}

void run_global_average(struct worker *w, const struct native_step *s) {
    int from, to, pixels = s->input.height * s->input.width, whole = s->input.channels / VL;
    share((s->input.channels + VL - 1) / VL, w->index, w->engine->options.threads, &from, &to);
    for (; from + 4 <= to && from + 4 <= whole; from += 4) average_of(4, w, s, from * VL);
    for (; from < to && from < whole; from++) average_of(1, w, s, from * VL);
    if (from == to) return;
    int c = from * VL, count = s->input.channels - c;
    const float *p = input_of(w, &s->input) + c;
    vf sum = {0};
    for (int i = 0; i < pixels; i++, p += s->input.stride) sum += load_part(p, count);
    store_part(output_of(w, &s->output) + c, sum * (1.f / (float)pixels), count);
}
