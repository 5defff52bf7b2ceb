// Depthwise convolution: a filter for each channel, with vectors over the channels.
#include <limits.h>

#include "engine.h"
#include "finish.h"

#define MAX_KERNEL 5       // with code of its own
#define ACROSS 4           // results in a row that share what they read
#define CHANNELS (4 * VL)  // at a time

// Weights are [tap][channels, rounded up to NR]; a thread widens those of its channels, from `c1` to `c2`, once a picture.
void widen_filters(const struct worker *w, const struct native_step *s, int c1, int c2, float *filters) {
    const void *weights = weights_of(w, s->weights);
    int taps = s->kernel_height * s->kernel_width, padded = round_up(s->input.channels, NR);
    for (int tap = 0; tap < taps; tap++)
        for (int c = c1; c < c2; c += VL) {
            int64_t index = (int64_t)tap * padded + c;
            store(filters + index, weights_at(weights, index, s->weights_type));
        }
}

INLINE void put(float *to, vf v, int count) {
    if (count == VL) store(to, v);
    else store_part(to, v, count);
}

// A row of windows, as far as it lies in the picture: rows from `top` to `bottom`, `input` being the first of them or not.
struct window_row {
    const float *input, *filters, *bias;
    float *output;
    int top, bottom, channels;
};

// N results in a row, of one vector of channels, from channel c on. `at` is the upper left of their windows; columns from
// `left` to `right` of these lie in the picture.
INLINE void vector_of(const int N, const int kernel, const int stride, const struct native_step *s, const struct window_row *r,
                      const float *at, float *to, int c, int count, int left, int right) {
    int64_t pixel = s->input.stride, row = pixel * s->input.width, tap = round_up(s->input.channels, NR);
    vf sums[ACROSS], bias = load(r->bias + c);
    UNROLL for (int n = 0; n < N; n++) sums[n] = bias;
    for (int ky = r->top; ky < r->bottom; ky++) {
        const float *p = at + ky * row + c;
        vf f[MAX_KERNEL];
        UNROLL for (int kx = 0; kx < kernel; kx++) f[kx] = load(r->filters + (ky * kernel + kx) * tap + c);
        UNROLL for (int i = 0; i < (N - 1) * stride + kernel; i++) {
            if (i < left || i >= right) continue;
            vf v = count == VL ? load(p + i * pixel) : load_part(p + i * pixel, count);
            UNROLL for (int kx = 0; kx < kernel; kx++)
                if (i >= kx && (i - kx) % stride == 0 && (i - kx) / stride < N) sums[(i - kx) / stride] += v * f[kx];
        }
    }
    finish_all(N, s, sums);
    UNROLL for (int n = 0; n < N; n++) put(to + (int64_t)n * s->output.stride + c, sums[n], count);
}

INLINE void block_of(const int N, const int kernel, const int stride, const struct native_step *s, const struct window_row *r, int x,
                     int left, int right) {
    const float *at = r->input + (int64_t)(x * stride - s->left) * s->input.stride;
    float *to = r->output + (int64_t)x * s->output.stride;
    int c = 0;
    for (; c + VL <= r->channels; c += VL) vector_of(N, kernel, stride, s, r, at, to, c, VL, left, right);
    if (c < r->channels) vector_of(N, kernel, stride, s, r, at, to, c, r->channels - c, left, right);
}

INLINE void row_of(const int kernel, const int stride, const struct native_step *s, const struct window_row *r) {
    int width = s->output.width, across = width >= ACROSS ? ACROSS : 1, columns = (across - 1) * stride + kernel;
    for (int x = 0; x < width; x += across) {
        if (x + across > width) x = width - across;  // the last block overlaps the one before
        int from = x * stride - s->left, left = from < 0 ? -from : 0, right = s->input.width - from;
        if (across == 1) block_of(1, kernel, stride, s, r, x, left, right);
        else if (left > 0 || right < columns) block_of(ACROSS, kernel, stride, s, r, x, left, right);
        else block_of(ACROSS, kernel, stride, s, r, x, 0, INT_MAX);
    }
}

// Any window, stride and dilation.
static void any_row(const struct native_step *s, const struct window_row *r) {
    int64_t pixel = s->input.stride, row = pixel * s->input.width * s->dilation_y, tap = round_up(s->input.channels, NR);
    for (int x = 0; x < s->output.width; x++)
        for (int c = 0; c < r->channels; c += VL) {
            int count = at_most_int(VL, r->channels - c);
            vf sum = load(r->bias + c);
            for (int ky = r->top; ky < r->bottom; ky++)
                for (int kx = 0; kx < s->kernel_width; kx++) {
                    int ix = x * s->stride_x + kx * s->dilation_x - s->left;
                    if (ix < 0 || ix >= s->input.width) continue;
                    const float *p = r->input + ky * row + ix * pixel + c;
                    vf v = count == VL ? load(p) : load_part(p, count);
                    sum += v * load(r->filters + ((int64_t)ky * s->kernel_width + kx) * tap + c);
                }
            put(r->output + (int64_t)x * s->output.stride + c, finish(s, sum), count);
        }
}

// The rows of the result from y1 to y2, of the channels from c1 to c2. Some channels go by at a time, so that the rows which
// a window covers stay in the first cache.
void depthwise_rows(const struct worker *w, const struct native_step *s, struct view in, struct view out, int y1, int y2, int c1, int c2, const float *filters) {
    const float *bias = weights_of(w, s->bias);
    int is_square = s->kernel_height == s->kernel_width && s->stride_y == s->stride_x && s->dilation_y == 1 && s->dilation_x == 1;
    int shape = is_square ? s->kernel_width * 10 + s->stride_x : 0, d = s->dilation_y;
    int64_t in_row = (int64_t)s->input.width * s->input.stride, out_row = (int64_t)s->output.width * s->output.stride;
    for (int c = c1; c < c2; c += CHANNELS)
        for (int y = y1; y < y2; y++) {
            int from = y * s->stride_y - s->top;
            struct window_row r = {in.data + (from - in.first) * in_row + c, filters + c, bias + c, out.data + (y - out.first) * out_row + c,
                                   from < 0 ? (-from + d - 1) / d : 0, at_most_int(s->kernel_height, (s->input.height - from + d - 1) / d),
                                   at_most_int(CHANNELS, c2 - c)};
            switch (shape) {
            case 31: row_of(3, 1, s, &r); break;
            case 32: row_of(3, 2, s, &r); break;
            case 51: row_of(5, 1, s, &r); break;
            case 52: row_of(5, 2, s, &r); break;
            default: any_row(s, &r);
            }
        }
}

void run_depthwise(struct worker *w, const struct native_step *s) {
    int threads = w->engine->options.threads, y1 = 0, y2 = s->output.height, v1 = 0, v2 = (s->output.channels + VL - 1) / VL;
    int by_rows = y2 % threads == 0 || y2 >= 8 * threads || v2 < threads;
    if (by_rows) share(y2, w->index, threads, &y1, &y2);
    else share(v2, w->index, threads, &v1, &v2);
    int c1 = v1 * VL, c2 = at_most_int(v2 * VL, s->output.channels);
    if (y1 == y2 || c1 >= c2) return;
    widen_filters(w, s, c1, c2, w->scratch);
    depthwise_rows(w, s, whole(w, &s->input), whole(w, &s->output), y1, y2, c1, c2, w->scratch);
}

int64_t depthwise_scratch(const struct native_step *s) {
    return (int64_t)s->kernel_height * s->kernel_width * round_up(s->input.channels, NR);
}
