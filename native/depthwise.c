// Depthwise convolution: a filter for each channel, with vectors over the channels.
#include "engine.h"
#include "finish.h"

#define ACROSS 4        // results in a row that share what they read
#define MAX_KERNEL 5    // of the windows that have code of their own
#define MAX_COLUMNS ((ACROSS - 1) * 2 + MAX_KERNEL)

// Weights are [tap][channels, rounded up to NR]; a thread widens those of its channels, from `c1` to `c2`, once a picture.
static void widen_filters(const struct worker *w, const struct native_step *s, int c1, int c2) {
    const void *weights = weights_of(w, s->weights);
    int taps = s->kernel_height * s->kernel_width, padded = round_up(s->input.channels, NR);
    for (int tap = 0; tap < taps; tap++)
        for (int c = c1; c < c2; c += VL) {
            int64_t index = (int64_t)tap * padded + c;
            store(w->scratch + index, weights_at(weights, index, s->weights_type));
        }
}

INLINE void put(const struct native_step *s, float *to, vf v, int count) {
    v = finish(s, v);
    if (count == VL) store(to, v);
    else store_part(to, v, count);
}

// N results in a row, all channels from c1 to c2; `at` has where each row and column of their windows begins.
INLINE void block_of(const int N, const int kernel, const int stride, const struct worker *w, const struct native_step *s,
                     const float *const *at, float *to, int c1, int c2) {
    const int columns = (N - 1) * stride + kernel;
    const float *bias = weights_of(w, s->bias), *filters = w->scratch;
    int64_t padded = round_up(s->input.channels, NR);
    for (int c = c1; c < c2; c += VL) {
        int count = at_most_int(VL, c2 - c);
        vf sums[N];
        UNROLL for (int n = 0; n < N; n++) sums[n] = load(bias + c);
        UNROLL for (int ky = 0; ky < kernel; ky++) {
            vf filter[kernel];
            UNROLL for (int kx = 0; kx < kernel; kx++) filter[kx] = load(filters + (ky * kernel + kx) * padded + c);
            UNROLL for (int i = 0; i < columns; i++) {
                const float *p = at[ky * columns + i] + c;
                vf v = count == VL ? load(p) : load_part(p, count);
                UNROLL for (int kx = 0; kx < kernel; kx++)
                    if (i >= kx && (i - kx) % stride == 0 && (i - kx) / stride < N) sums[(i - kx) / stride] += v * filter[kx];
            }
        }
        UNROLL for (int n = 0; n < N; n++) put(s, to + (int64_t)n * s->output.stride + c, sums[n], count);
    }
}

INLINE void row_of(const int kernel, const int stride, const struct worker *w, const struct native_step *s, int y, int c1, int c2) {
    const float *input = input_of(w, &s->input), *at[MAX_KERNEL * MAX_COLUMNS];
    float *output = output_of(w, &s->output) + (int64_t)y * s->output.width * s->output.stride;
    int width = s->output.width, across = width >= ACROSS ? ACROSS : 1, columns = (across - 1) * stride + kernel;
    for (int x = 0; x < width; x += across) {
        if (x + across > width) x = width - across;  // the last block overlaps the one before
        for (int ky = 0; ky < kernel; ky++) {
            int iy = y * stride + ky - s->top;
            const float *row = iy >= 0 && iy < s->input.height ? input + (int64_t)iy * s->input.width * s->input.stride : 0;
            for (int i = 0; i < columns; i++) {
                int ix = x * stride + i - s->left;
                at[ky * columns + i] = row && ix >= 0 && ix < s->input.width ? row + (int64_t)ix * s->input.stride : w->engine->zero;
            }
        }
        if (across == ACROSS) block_of(ACROSS, kernel, stride, w, s, at, output + (int64_t)x * s->output.stride, c1, c2);
        else block_of(1, kernel, stride, w, s, at, output + (int64_t)x * s->output.stride, c1, c2);
    }
}

// Any window, stride and dilation.
static void any_row(const struct worker *w, const struct native_step *s, int y, int c1, int c2) {
    const float *bias = weights_of(w, s->bias), *input = input_of(w, &s->input);
    float *to = output_of(w, &s->output) + (int64_t)y * s->output.width * s->output.stride;
    int64_t padded = round_up(s->input.channels, NR);
    for (int x = 0; x < s->output.width; x++, to += s->output.stride)
        for (int c = c1; c < c2; c += VL) {
            int count = at_most_int(VL, c2 - c);
            vf sum = load(bias + c);
            for (int ky = 0; ky < s->kernel_height; ky++) {
                int iy = y * s->stride_y + ky * s->dilation_y - s->top;
                if (iy < 0 || iy >= s->input.height) continue;
                for (int kx = 0; kx < s->kernel_width; kx++) {
                    int ix = x * s->stride_x + kx * s->dilation_x - s->left;
                    if (ix < 0 || ix >= s->input.width) continue;
                    const float *p = input + ((int64_t)iy * s->input.width + ix) * s->input.stride + c;
                    vf v = count == VL ? load(p) : load_part(p, count);
                    sum += v * load(w->scratch + ((int64_t)ky * s->kernel_width + kx) * padded + c);
                }
            }
            put(s, to + c, sum, count);
        }
}

void run_depthwise(struct worker *w, const struct native_step *s) {
    int threads = w->engine->options.threads, y1 = 0, y2 = s->output.height, v1 = 0, v2 = (s->output.channels + VL - 1) / VL;
    int by_rows = y2 % threads == 0 || y2 >= 8 * threads || v2 < threads;
    if (by_rows) share(y2, w->index, threads, &y1, &y2);
    else share(v2, w->index, threads, &v1, &v2);
    int c1 = v1 * VL, c2 = at_most_int(v2 * VL, s->output.channels);
    if (y1 == y2 || c1 >= c2) return;
    widen_filters(w, s, c1, c2);
    int square = s->kernel_height == s->kernel_width && s->stride_y == s->stride_x && s->dilation_y == 1 && s->dilation_x == 1;
    int shape = square ? s->kernel_width * 10 + s->stride_x : 0;
    for (int y = y1; y < y2; y++) switch (shape) {
        case 31: row_of(3, 1, w, s, y, c1, c2); break;
        case 32: row_of(3, 2, w, s, y, c1, c2); break;
        case 51: row_of(5, 1, w, s, y, c1, c2); break;
        case 52: row_of(5, 2, w, s, y, c1, c2); break;
        default: any_row(w, s, y, c1, c2);
        }
}

int64_t depthwise_scratch(const struct native_step *s) {
    return (int64_t)s->kernel_height * s->kernel_width * round_up(s->input.channels, NR);
}
