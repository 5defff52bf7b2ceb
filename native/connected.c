// A fully connected layer: each weight is read once, straight from the file that it lies in.
#include "engine.h"
#include "finish.h"
#include "gemm.h"

// The results of a panel.
static void panel_out(const struct worker *w, const struct native_step *s, int n, const vf *sums) {
    float *to = output_of(w, &s->output) + n * NR;
    for (int v = 0; v < NV && n * NR + v * VL < s->output.channels; v++)
        store_part(to + v * VL, finish(s, sums[v]), at_most_int(VL, s->output.channels - n * NR - v * VL));
}

#ifdef NATIVE_HALF
// A panel is [pixel][channel][NR], as many rows at a time as one sum may have in FP16.
INLINE void panel_of(const struct worker *w, const struct native_step *s, int n, const int type) {
    const void *weights = weights_of(w, s->weights);
    const float *input = input_of(w, &s->input), *bias = (const float *)weights_of(w, s->bias) + (int64_t)n * NR;
    int pixels = s->input.height * s->input.width, channels = s->input.channels;
    int64_t index = (int64_t)n * pixels * channels * NR;
    vf sums[NV][MR];
    for (int v = 0; v < NV; v++) sums[v][0] = load(bias + v * VL);
    for (int p = 0; p < pixels; p++, input += s->input.stride)
        for (int k = 0; k < channels; k += SUMMED) {
            element row[SUMMED], made[SUMMED * NR];
            const element *rows[] = {row}, *panel = type == NATIVE_FP16 ? (const element *)weights + index : made;
            int count = at_most_int(SUMMED, channels - k);
            narrow_row(row, input + k, count);
            if (type == NATIVE_FP32) narrow_row(made, (const float *)weights + index, count * NR);
            multiply(1, rows, panel, count, sums);
            index += count * NR;
        }
    panel_out(w, s, n, (vf[]){sums[0][0], sums[1][0], sums[2][0], sums[3][0]});
}
#else
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
    panel_out(w, s, n, (vf[]){c0[0] + c0[1] + (c0[2] + c0[3]), c1[0] + c1[1] + (c1[2] + c1[3])});
}
#endif

void run_connected(struct worker *w, const struct native_step *s) {
    int from, to;
    share((s->output.channels + NR - 1) / NR, w->index, w->engine->options.threads, &from, &to);
    for (int n = from; n < to; n++) {
        if (s->weights_type == NATIVE_FP16) panel_of(w, s, n, NATIVE_FP16);
        else panel_of(w, s, n, NATIVE_FP32);
    }
}
