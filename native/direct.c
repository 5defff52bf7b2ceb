// Any convolution as a matrix product on the picture itself, without a copy of its windows ("im2col").
//
// A thread takes some of the result's pixels or some panels of its channels. Pixels go by in strips, small enough that
// a strip's results are still in the cache when their last channels are written; panels are widened to FP32 on the way.
// On cores that share their L2 the strips and what is widened at a time are small enough for all threads together.
#include "engine.h"
#include "finish.h"
#include "gemm.h"

#define KEPT (1 << 17)          // floats of widened panels that may stay in the cache from one strip to the next
#define STRIP_BYTES (128 << 10)  // of results
#define PART (1 << 12)          // floats of a panel that are widened at a time where the L2 is shared

INLINE int group_inputs(const struct native_step *s) { return s->input.channels / s->groups; }
INLINE int group_outputs(const struct native_step *s) { return s->output.channels / s->groups; }
INLINE int panels_of(const struct native_step *s) { return (group_outputs(s) + NR - 1) / NR * s->groups; }
INLINE int window_inputs(const struct native_step *s) { return s->kernel_height * s->kernel_width * group_inputs(s); }
INLINE int64_t panel_floats(const struct native_step *s) { return (int64_t)window_inputs(s) * NR; }

// How a window's inputs are found: pixel by pixel alone; in runs, rows of the window that lie in one piece in memory,
// whatever the pixel, since there is no padding and no gap between pixels; or tap by tap. NARROW: pixel by pixel, for the
// last panel, where half of it is padding.
enum access { PIXELS, RUNS, TAPS, NARROW };

static enum access access_of(const struct native_step *s) {
    int stays_inside = !s->top && !s->left &&
        (s->output.height - 1) * (int64_t)s->stride_y + (s->kernel_height - 1) * (int64_t)s->dilation_y < s->input.height &&
        (s->output.width - 1) * (int64_t)s->stride_x + (s->kernel_width - 1) * (int64_t)s->dilation_x < s->input.width;
    if (!stays_inside) return TAPS;
    int is_pointwise = s->kernel_height == 1 && s->kernel_width == 1 && s->stride_y == 1 && s->stride_x == 1 && s->input.width == s->output.width;
    if (is_pointwise) return PIXELS;
    return s->input.stride == s->input.channels && s->groups == 1 && s->dilation_x == 1 ? RUNS : TAPS;
}

// Some of the inputs of a window, in the order of the panel, and where the sums so far of a strip's pixels are kept.
struct part {
    int from, to;
    float *sums;
};

static void widen_panel(const struct worker *w, const struct native_step *s, int panel, struct part part, float *restrict to) {
    const void *weights = weights_of(w, s->weights);
    int64_t count = (int64_t)(part.to - part.from) * NR, index = panel * panel_floats(s) + (int64_t)part.from * NR;
    for (int64_t i = 0; i < count; i += VL) store(to + i, weights_at(weights, index + i, s->weights_type));
    if (!s->scale.channels) return;
    // The input is multiplied by one value a channel: so are the weights that it meets.
    const float *scale = input_of(w, &s->scale) + part.from;
    for (int k = 0; k < part.to - part.from; k++)
        for (int n = 0; n < NR; n += VL) store(to + k * NR + n, load(to + k * NR + n) * scale[k]);
}

// The results of M pixels, from number `pixel` on, for a panel of which `count` columns are channels.
static __attribute__((noinline)) void part_out(const struct worker *w, const struct native_step *s, int pixels, int pixel, int n0,
                                               int count, const vf *c0, const vf *c1) {
    float *to = output_of(w, &s->output) + (int64_t)pixel * s->output.stride + n0;
    const float *residual = s->operand == NATIVE_SAME ? other_of(w, s) + (int64_t)pixel * s->other.stride + n0 : 0;
    int first = at_most_int(VL, count), second = count - VL;
    for (int m = 0; m < pixels; m++) {
        int64_t from = (int64_t)m * s->other.stride, at = (int64_t)m * s->output.stride;
        store_part(to + at, finish(s, residual ? c0[m] + load_part(residual + from, first) : c0[m]), first);
        if (second > 0) store_part(to + at + VL, finish(s, residual ? c1[m] + load_part(residual + from + VL, second) : c1[m]), second);
    }
}

INLINE void block_out(const int M, const struct worker *w, const struct native_step *s, int pixel, int n0, int count, vf *c0, vf *c1) {
    if (count < NR) {
        part_out(w, s, M, pixel, n0, count, c0, c1);
        return;
    }
    float *to = output_of(w, &s->output) + (int64_t)pixel * s->output.stride + n0;
    if (s->operand == NATIVE_SAME) {
        const float *residual = other_of(w, s) + (int64_t)pixel * s->other.stride + n0;
        UNROLL for (int m = 0; m < M; m++, residual += s->other.stride) {
            c0[m] += load(residual);
            c1[m] += load(residual + VL);
        }
    }
    finish_all(M, s, c0);
    finish_all(M, s, c1);
    UNROLL for (int m = 0; m < M; m++, to += s->output.stride) {
        store(to, c0[m]);
        store(to + VL, c1[m]);
    }
}

// Fetch the lines that results will be written to while their sums are made.
INLINE void expect_out(const int M, const struct worker *w, const struct native_step *s, int pixel, int n0) {
    const float *to = output_of(w, &s->output) + (int64_t)pixel * s->output.stride + n0;
    UNROLL for (int m = 0; m < M; m++, to += s->output.stride) {
        __builtin_prefetch(to, 1);
        __builtin_prefetch(to + NR - 1, 1);
    }
}

// Where the sums of M pixels begin: at the bias, or at what the inputs before this part have given.
INLINE void begin_sums(const int M, struct part part, const float *bias, int place, vf *c0, vf *c1) {
    int first = !part.from;
    const float *from = first ? bias : part.sums + (int64_t)place * NR;
    UNROLL for (int m = 0; m < M; m++) {
        c0[m] = load(from + (first ? 0 : m * NR));
        c1[m] = load(from + (first ? 0 : m * NR) + VL);
    }
}

// M pixels from `pixel` on, the `place`th and following of the strip; `panel` holds the weights of the part.
INLINE void block_of(const int M, const enum access access, const struct worker *w, const struct native_step *s, struct part part,
                     const float *panel, const float *input, int pixel, int place, int n0, int count, const float *bias) {
    int depth = group_inputs(s), y[MR], x[MR];
    const float *rows[MR];
    vf c0[MR], c1[MR];
    begin_sums(M, part, bias, place, c0, c1);
    expect_out(M, w, s, pixel, n0);
    int row = pixel / s->output.width, column = pixel % s->output.width;
    UNROLL for (int m = 0; m < M; m++, column++) {
        if (column == s->output.width) row++, column = 0;
        y[m] = row * s->stride_y - s->top;
        x[m] = column * s->stride_x - s->left;
    }
    if (access == PIXELS || access == NARROW) {
        UNROLL for (int m = 0; m < M; m++) rows[m] = input + (int64_t)(pixel + m) * s->input.stride + part.from;
        if (access == NARROW) multiply_narrow(M, rows, panel, part.to - part.from, c0);
        else multiply(M, rows, panel, part.to - part.from, c0, c1);
    } else if (access == RUNS) {
        int run = s->kernel_width * s->input.channels;
        for (int ky = part.from / run; ky * run < part.to; ky++, panel += run * NR) {
            UNROLL for (int m = 0; m < M; m++)
                rows[m] = input + ((int64_t)(y[m] + ky * s->dilation_y) * s->input.width + x[m]) * s->input.stride;
            multiply(M, rows, panel, run, c0, c1);
        }
    } else {
        int tap = part.from / depth, ky = tap / s->kernel_width, kx = tap % s->kernel_width;
        for (; tap * depth < part.to; tap++, kx++, panel += depth * NR) {
            if (kx == s->kernel_width) ky++, kx = 0;
            UNROLL for (int m = 0; m < M; m++) {
                int iy = y[m] + ky * s->dilation_y, ix = x[m] + kx * s->dilation_x;
                int inside = iy >= 0 && iy < s->input.height && ix >= 0 && ix < s->input.width;
                rows[m] = inside ? input + ((int64_t)iy * s->input.width + ix) * s->input.stride : w->engine->zero;
            }
            multiply(M, rows, panel, depth, c0, c1);
        }
    }
    if (part.to == window_inputs(s)) {
        block_out(M, w, s, pixel, n0, count, c0, c1);
        return;
    }
    UNROLL for (int m = 0; m < M; m++) {
        store(part.sums + (int64_t)(place + m) * NR, c0[m]);
        store(part.sums + (int64_t)(place + m) * NR + VL, c1[m]);
    }
}

static void strip(const struct worker *w, const struct native_step *s, struct part part, const float *panel, int n, int from, int to) {
    int group = n / ((group_outputs(s) + NR - 1) / NR), place = n % ((group_outputs(s) + NR - 1) / NR) * NR;
    int n0 = group * group_outputs(s) + place, count = at_most_int(NR, group_outputs(s) - place);
    const float *input = input_of(w, &s->input) + (int64_t)group * group_inputs(s);
    const float *bias = (const float *)weights_of(w, s->bias) + (int64_t)n * NR;
    int size = block_rows(to - from);
    enum access access = access_of(s);
    if (access == PIXELS && count <= VL) access = NARROW;
#define BLOCK(M) \
    if (access == NARROW) block_of(M, NARROW, w, s, part, panel, input, p, p - from, n0, count, bias); \
    else if (access == PIXELS) block_of(M, PIXELS, w, s, part, panel, input, p, p - from, n0, count, bias); \
    else if (access == RUNS) block_of(M, RUNS, w, s, part, panel, input, p, p - from, n0, count, bias); \
    else block_of(M, TAPS, w, s, part, panel, input, p, p - from, n0, count, bias)
    for (int p = from; p < to; p += size) FOR_ROWS(at_most_int(size, to - p), BLOCK)
}

// How a step is gone through.
struct way {
    int by_pixels;  // whether the result's pixels are shared out, or else its panels
    int keep;       // whether widened panels stay from one strip to the next
    int pixels;     // of a strip
    int inputs;     // of a window whose weights are widened at a time
};

// By pixels or by panels: what the slowest thread has to do. Pixels cost nothing but panels that every thread widens,
// panels an input that every thread reads, which costs nothing where they share their cache.
static int is_by_pixels(const struct native_step *s, int threads, int shared) {
    int64_t pixels = (int64_t)s->output.height * s->output.width, panels = panels_of(s);
    int64_t own = (pixels + threads - 1) / threads;
    int64_t by_pixels = panels * ((own + MR - 1) / MR * MR + 4), by_panels = (panels + threads - 1) / threads * ((pixels + MR - 1) / MR * MR + 4);
    return shared ? by_pixels < by_panels - by_panels / 8 : by_pixels <= by_panels + by_panels / 8;
}

static int own_panels(const struct native_step *s, int threads, int by_pixels) {
    return by_pixels ? panels_of(s) : (panels_of(s) + threads - 1) / threads;
}

// Pixels of a strip. Where the panels cannot stay they are widened again for each strip, so it is larger.
static struct way private_way(const struct native_step *s, int threads) {
    int by_pixels = is_by_pixels(s, threads, 0), keep = panel_floats(s) * own_panels(s, threads, by_pixels) <= KEPT;
    int64_t pixels = (keep ? STRIP_BYTES : 4 * STRIP_BYTES) / (4 * (int64_t)s->output.channels);
    return (struct way){by_pixels, keep, pixels < MR ? MR : (int)(pixels / MR * MR), window_inputs(s)};
}

// A strip's input and results take a quarter of the cache, or most of it where the weights, read once a strip, have no
// room beside them; widened panels take a quarter, and those that cannot stay are widened in parts.
static struct way shared_way(const struct native_step *s, int threads, int64_t cache_bytes) {
    int by_pixels = is_by_pixels(s, threads, 1), strips = by_pixels ? threads : 1;
    int64_t kept = panel_floats(s) * own_panels(s, threads, by_pixels) * threads * 4;
    int64_t pixel = 4 * ((int64_t)at_most_int(s->kernel_height, s->stride_y) * at_most_int(s->kernel_width, s->stride_x) * s->input.channels +
                         (int64_t)s->output.channels * (s->operand == NATIVE_SAME ? 2 : 1));
    int64_t weights = panel_floats(s) * panels_of(s) * (s->weights_type == NATIVE_FP16 ? 2 : 4);
    int64_t room = weights <= cache_bytes / 4 ? cache_bytes / 4 : cache_bytes / 8 * 5;
    int64_t pixels = room / strips / pixel, all = (int64_t)s->output.height * s->output.width;
    if (pixels < MR) pixels = MR;
    if (pixels > all) pixels = all;
    int unit = group_inputs(s);
    switch (access_of(s)) {
    case PIXELS: unit = 4; break;
    case RUNS: unit = s->kernel_width * s->input.channels; break;
    default: break;
    }
    int inputs = PART / NR / unit * unit;
    return (struct way){by_pixels, kept <= cache_bytes / 4, (int)pixels, inputs < unit ? unit : inputs};
}

static struct way way_of(const struct native_step *s, const struct native_options *o) {
    struct way way = o->shared_l2_bytes ? shared_way(s, o->threads, o->shared_l2_bytes) : private_way(s, o->threads);
    if (way.keep) way.inputs = window_inputs(s);
    return way;
}

void run_direct(struct worker *w, const struct native_step *s) {
    int threads = w->engine->options.threads, p1 = 0, p2 = s->output.height * s->output.width, n1 = 0, n2 = panels_of(s);
    struct way way = way_of(s, &w->engine->options);
    if (way.by_pixels) share(p2, w->index, threads, &p1, &p2);
    else share(n2, w->index, threads, &n1, &n2);
    int64_t size = panel_floats(s);
    int all = window_inputs(s);
    for (int p = p1; p < p2; p += way.pixels)
        for (int n = n1; n < n2; n++)
            for (int k = 0; k < all; k += way.inputs) {
                struct part part = {k, at_most_int(k + way.inputs, all), w->scratch + way.inputs * NR};
                float *panel = way.keep ? w->scratch + size * (n - n1) : w->scratch;
                if (!way.keep || p == p1) widen_panel(w, s, n, part, panel);
                strip(w, s, part, panel, n, p, at_most_int(p + way.pixels, p2));
            }
}

int64_t direct_scratch(const struct native_step *s, const struct native_options *options) {
    struct way way = way_of(s, options);
    if (way.keep) return panel_floats(s) * own_panels(s, options->threads, way.by_pixels);
    return ((int64_t)way.inputs + (way.inputs < window_inputs(s) ? way.pixels : 0)) * NR;
}
