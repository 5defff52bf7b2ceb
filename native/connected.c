// A fully connected layer: each weight is read once, straight from the file that it lies in.
#include "engine.h"
#include "finish.h"

// A panel is [pixel][channel][NR]: the input is a vector in NHWC order. Four sums, so that none waits for another.
INLINE void panel_of(const struct worker *w, const struct native_step *s, int n, const int type) {
    const void *weights = weights_of(w, s->weights);
    const float *input = input_of(w, &s->input), *bias = (const float *)weights_of(w, s->bias) + (int64_t)n * NR;
    int pixels = s->input.height * s->input.width, channels = s->input.channels;
    int64_t index = (int64_t)n * pixels * channels * NR;
    vf c0[4] = {load(bias)}, c1[4] = {load(bias + VL)};
    for (int p = 0; p < pixels; p++, input += s->input.stride) {
        int k = 0;
        for (; k + 4 <= channels; k += 4, index += 4 * NR) UNROLL for (int j = 0; j < 4; j++) {
            c0[j] += weights_at(weights, index + j * NR, type) * input[k + j];
            c1[j] += weights_at(weights, index + j * NR + VL, type) * input[k + j];
        }
        for (; k < channels; k++, index += NR) {
            c0[0] += weights_at(weights, index, type) * input[k];
            c1[0] += weights_at(weights, index + VL, type) * input[k];
        }
    }
    vf v0 = finish(s, c0[0] + c0[1] + (c0[2] + c0[3])), v1 = finish(s, c1[0] + c1[1] + (c1[2] + c1[3]));
    float *to = output_of(w, &s->output) + n * NR;
    int count = s->output.channels - n * NR;
    store_part(to, v0, at_most_int(VL, count));
    if (count > VL) store_part(to + VL, v1, at_most_int(VL, count - VL));
}

void run_connected(struct worker *w, const struct native_step *s) {
    int from, to;
    share((s->output.channels + NR - 1) / NR, w->index, w->engine->options.threads, &from, &to);
    for (int n = from; n < to; n++) {
        if (s->weights_type == NATIVE_FP16) panel_of(w, s, n, NATIVE_FP16);
        else panel_of(w, s, n, NATIVE_FP32);
    }
}
