// Any convolution as a matrix product on the picture itself, without a copy of its windows ("im2col").
//
// A thread takes some of the result's pixels or some panels of its channels. Pixels go by in strips, small enough that
// a strip's results are still in the cache when their last channels are written; panels are widened to FP32 on the way.
// In FP16 arithmetic panels are multiplied as they are stored, and it is a strip's input that is made FP16 on the way.
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
INLINE int64_t panel_elements(const struct native_step *s) { return (int64_t)window_inputs(s) * NR; }

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

// The input's numbers as they are multiplied. In FP16 arithmetic they are a copy of the pixels from `first` on, dense.
struct source {
    const element *data;
    int first;
};
#ifdef NATIVE_HALF
INLINE const element *source_pixel(const struct native_step *s, struct source in, int64_t pixel) {
    return in.data + (pixel - in.first) * s->input.channels;
}

// At most so many pixels are read for as many results in a row.
static int64_t most_copied(const struct native_step *s, int64_t results) {
    if (access_of(s) == PIXELS) return results;
    int64_t lines = (results + 2 * (int64_t)s->output.width - 2) / s->output.width;
    if (lines > s->output.height) lines = s->output.height;
    int64_t rows = (lines - 1) * s->stride_y + (s->kernel_height - 1) * (int64_t)s->dilation_y + 1;
    return (rows < s->input.height ? rows : s->input.height) * s->input.width;
}

// The pixels that are read for the results from number `from` to `to`.
static struct source source_of(const struct worker *w, const struct native_step *s, int from, int to, element *copy) {
    const struct native_tensor *t = &s->input;
    if (access_of(s) != PIXELS) {
        int y1 = from / s->output.width * s->stride_y - s->top;
        int y2 = (to - 1) / s->output.width * s->stride_y - s->top + (s->kernel_height - 1) * s->dilation_y + 1;
        from = (y1 < 0 ? 0 : y1) * t->width;
        to = at_most_int(y2, t->height) * t->width;
    }
    for (int p = from; p < to; p++) narrow_row(copy + (int64_t)(p - from) * t->channels, input_of(w, t) + (int64_t)p * t->stride, t->channels);
    return (struct source){copy, from};
}

// FP16 weights are multiplied as they are stored, unless they are scaled first.
static int is_stored(const struct native_step *s) { return s->weights_type == NATIVE_FP16 && !s->scale.channels; }
#else
INLINE const element *source_pixel(const struct native_step *s, struct source in, int64_t pixel) { return in.data + pixel * s->input.stride; }
static int64_t most_copied(const struct native_step *s, int64_t results) { return 0 * results * s->groups; }
static struct source source_of(const struct worker *w, const struct native_step *s, int from, int to, element *copy) {
    (void)from, (void)to, (void)copy;
    return (struct source){input_of(w, &s->input), 0};
}
static int is_stored(const struct native_step *s) { return 0 * s->groups; }
#endif

// Some of the inputs of a window, in the order of the panel, and where the sums so far of a strip's pixels are kept.
struct part {
    int from, to;
    float *sums;
};

INLINE int64_t part_index(const struct native_step *s, int panel, struct part part) { return panel * panel_elements(s) + (int64_t)part.from * NR; }

static void make_panel(const struct worker *w, const struct native_step *s, int panel, struct part part, element *restrict to) {
    const void *weights = weights_of(w, s->weights);
    int64_t count = (int64_t)(part.to - part.from) * NR, index = part_index(s, panel, part);
    if (!s->scale.channels) {
        for (int64_t i = 0; i < count; i += VL) put_elements(to + i, weights_at(weights, index + i, s->weights_type));
        return;
    }
    // The input is multiplied by one value a channel: so are the weights that it meets.
    const float *scale = input_of(w, &s->scale) + part.from;
    for (int k = 0; k < part.to - part.from; k++)
        for (int n = 0; n < NR; n += VL, index += VL, to += VL) put_elements(to, weights_at(weights, index, s->weights_type) * scale[k]);
}

// The results of M pixels, from number `pixel` on, for a panel of which `count` columns are channels.
static __attribute__((noinline)) void part_out(const struct worker *w, const struct native_step *s, int pixels, int pixel, int n0,
                                               int count, vf (*c)[MR]) {
    float *to = output_of(w, &s->output) + (int64_t)pixel * s->output.stride + n0;
    const float *residual = s->operand == NATIVE_SAME ? other_of(w, s) + (int64_t)pixel * s->other.stride + n0 : 0;
    for (int m = 0; m < pixels; m++, to += s->output.stride, residual += residual ? s->other.stride : 0)
        for (int v = 0; v * VL < count; v++) {
            int some = at_most_int(VL, count - v * VL);
            store_part(to + v * VL, finish(s, residual ? c[v][m] + load_part(residual + v * VL, some) : c[v][m]), some);
        }
}

INLINE void block_out(const int M, const struct worker *w, const struct native_step *s, int pixel, int n0, int count, vf (*c)[MR]) {
    if (count < NR) {
        part_out(w, s, M, pixel, n0, count, c);
        return;
    }
    float *to = output_of(w, &s->output) + (int64_t)pixel * s->output.stride + n0;
    if (s->operand == NATIVE_SAME) {
        const float *residual = other_of(w, s) + (int64_t)pixel * s->other.stride + n0;
        UNROLL for (int m = 0; m < M; m++, residual += s->other.stride)
            UNROLL for (int v = 0; v < NV; v++) c[v][m] += load(residual + v * VL);
    }
    UNROLL for (int v = 0; v < NV; v++) finish_all(M, s, c[v]);
    UNROLL for (int m = 0; m < M; m++, to += s->output.stride)
        UNROLL for (int v = 0; v < NV; v++) store(to + v * VL, c[v][m]);
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
INLINE void begin_sums(const int M, struct part part, const float *bias, int place, vf (*c)[MR]) {
    int first = !part.from;
    const float *from = first ? bias : part.sums + (int64_t)place * NR;
    UNROLL for (int m = 0; m < M; m++)
        UNROLL for (int v = 0; v < NV; v++) c[v][m] = load(from + (first ? 0 : m * NR) + v * VL);
}

// M pixels from `pixel` on, the `place`th and following of the strip; `panel` holds the weights of the part.
INLINE void block_of(const int M, const enum access access, const struct worker *w, const struct native_step *s, struct part part,
                     const element *panel, struct source in, int pixel, int place, int n0, int count, const float *bias) {
    int depth = group_inputs(s), y[MR], x[MR];
    const element *rows[MR];
    vf c[NV][MR];
    begin_sums(M, part, bias, place, c);
    expect_out(M, w, s, pixel, n0);
    int row = pixel / s->output.width, column = pixel % s->output.width;
    UNROLL for (int m = 0; m < M; m++, column++) {
        if (column == s->output.width) row++, column = 0;
        y[m] = row * s->stride_y - s->top;
        x[m] = column * s->stride_x - s->left;
    }
    if (access == PIXELS || access == NARROW) {
        UNROLL for (int m = 0; m < M; m++) rows[m] = source_pixel(s, in, pixel + m) + part.from;
        if (access == NARROW) multiply_narrow(M, rows, panel, part.to - part.from, c);
        else multiply(M, rows, panel, part.to - part.from, c);
    } else if (access == RUNS) {
        int run = s->kernel_width * s->input.channels;
        for (int ky = part.from / run; ky * run < part.to; ky++, panel += run * NR) {
            UNROLL for (int m = 0; m < M; m++)
                rows[m] = source_pixel(s, in, (int64_t)(y[m] + ky * s->dilation_y) * s->input.width + x[m]);
            multiply(M, rows, panel, run, c);
        }
    } else {
        int tap = part.from / depth, ky = tap / s->kernel_width, kx = tap % s->kernel_width;
        for (; tap * depth < part.to; tap++, kx++, panel += depth * NR) {
            if (kx == s->kernel_width) ky++, kx = 0;
            UNROLL for (int m = 0; m < M; m++) {
                int iy = y[m] + ky * s->dilation_y, ix = x[m] + kx * s->dilation_x;
                int inside = iy >= 0 && iy < s->input.height && ix >= 0 && ix < s->input.width;
                rows[m] = inside ? source_pixel(s, in, (int64_t)iy * s->input.width + ix) : (const element *)w->engine->zero;
            }
            multiply(M, rows, panel, depth, c);
        }
    }
    if (part.to == window_inputs(s)) {
        block_out(M, w, s, pixel, n0, count, c);
        return;
    }
    UNROLL for (int m = 0; m < M; m++)
        UNROLL for (int v = 0; v < NV; v++) store(part.sums + (int64_t)(place + m) * NR + v * VL, c[v][m]);
}

static void strip(const struct worker *w, const struct native_step *s, struct part part, const element *panel, struct source in,
                  int n, int from, int to) {
    int group = n / ((group_outputs(s) + NR - 1) / NR), place = n % ((group_outputs(s) + NR - 1) / NR) * NR;
    int n0 = group * group_outputs(s) + place, count = at_most_int(NR, group_outputs(s) - place);
    in.data += (int64_t)group * group_inputs(s);
    const float *bias = (const float *)weights_of(w, s->bias) + (int64_t)n * NR;
    int size = block_rows(to - from);
    enum access access = access_of(s);
    if (access == PIXELS && count <= NR / 2) access = NARROW;
#define BLOCK(M) \
    if (access == NARROW) block_of(M, NARROW, w, s, part, panel, in, p, p - from, n0, count, bias); \
    else if (access == PIXELS) block_of(M, PIXELS, w, s, part, panel, in, p, p - from, n0, count, bias); \
    else if (access == RUNS) block_of(M, RUNS, w, s, part, panel, in, p, p - from, n0, count, bias); \
    else block_of(M, TAPS, w, s, part, panel, in, p, p - from, n0, count, bias)
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
    int by_pixels = is_by_pixels(s, threads, 0), keep = panel_elements(s) * own_panels(s, threads, by_pixels) <= KEPT;
    int64_t pixels = (keep ? STRIP_BYTES : 4 * STRIP_BYTES) / (4 * (int64_t)s->output.channels);
    return (struct way){by_pixels, keep, pixels < MR ? MR : (int)(pixels / MR * MR), window_inputs(s)};
}

// A strip's input and results take a quarter of the cache, or most of it where the weights, read once a strip, have no
// room beside them; widened panels take a quarter, and those that cannot stay are widened in parts.
static struct way shared_way(const struct native_step *s, int threads, int64_t cache_bytes) {
    int by_pixels = is_by_pixels(s, threads, 1), strips = by_pixels ? threads : 1;
    int64_t kept = panel_elements(s) * own_panels(s, threads, by_pixels) * threads * 4;
    int64_t pixel = 4 * ((int64_t)at_most_int(s->kernel_height, s->stride_y) * at_most_int(s->kernel_width, s->stride_x) * s->input.channels +
                         (int64_t)s->output.channels * (s->operand == NATIVE_SAME ? 2 : 1));
    int64_t weights = panel_elements(s) * panels_of(s) * (s->weights_type == NATIVE_FP16 ? 2 : 4);
    int64_t room = weights <= cache_bytes / 4 ? cache_bytes / 4 : cache_bytes / 8 * 5;
    int64_t pixels = room / strips / pixel, all = (int64_t)s->output.height * s->output.width;
    if (pixels < MR) pixels = MR;
    if (pixels > all) pixels = all;
    int unit = group_inputs(s);
    switch (access_of(s)) {
    case PIXELS: unit = SUMMED; break;
    case RUNS: unit = s->kernel_width * s->input.channels; break;
    default: break;
    }
    int inputs = PART / NR / unit * unit;
    return (struct way){by_pixels, kept <= cache_bytes / 4, (int)pixels, inputs < unit ? unit : inputs};
}

static struct way way_of(const struct native_step *s, const struct native_options *o) {
    struct way way = o->shared_l2_bytes ? shared_way(s, o->threads, o->shared_l2_bytes) : private_way(s, o->threads);
    if (way.keep || is_stored(s)) way.inputs = window_inputs(s);
    return way;
}

// Where a thread's scratch holds its panels, the sums of parts, and the copy of its input; all sizes in floats.
struct rooms {
    int64_t panels, sums, copy;
};
static struct rooms rooms_of(const struct native_step *s, const struct native_options *o) {
    struct way way = way_of(s, o);
    int64_t panels = way.keep ? panel_elements(s) * own_panels(s, o->threads, way.by_pixels) : (int64_t)way.inputs * NR;
    int64_t results = at_most_int(way.pixels, s->output.height * s->output.width);
    return (struct rooms){
        .panels = is_stored(s) ? 0 : FLOATS(panels),
        .sums = way.inputs < window_inputs(s) ? (int64_t)way.pixels * NR : 0,
        .copy = FLOATS(most_copied(s, results) * s->input.channels),
    };
}

void run_direct(struct worker *w, const struct native_step *s) {
    int threads = w->engine->options.threads, p1 = 0, p2 = s->output.height * s->output.width, n1 = 0, n2 = panels_of(s);
    struct way way = way_of(s, &w->engine->options);
    if (way.by_pixels) share(p2, w->index, threads, &p1, &p2);
    else share(n2, w->index, threads, &n1, &n2);
    struct rooms rooms = rooms_of(s, &w->engine->options);
    element *panels = (element *)w->scratch, *copy = (element *)(w->scratch + rooms.panels + rooms.sums);
    int64_t size = panel_elements(s);
    int all = window_inputs(s);
    for (int p = p1; p < p2 && n1 < n2; p += way.pixels) {
        int end = at_most_int(p + way.pixels, p2);
        struct source in = source_of(w, s, p, end, copy);
        for (int n = n1; n < n2; n++)
            for (int k = 0; k < all; k += way.inputs) {
                struct part part = {k, at_most_int(k + way.inputs, all), w->scratch + rooms.panels};
                const element *panel = (const element *)weights_of(w, s->weights) + part_index(s, n, part);
                if (!is_stored(s)) {
                    element *made = panels + (way.keep ? size * (n - n1) : 0);
                    if (!way.keep || p == p1) make_panel(w, s, n, part, made);
                    panel = made;
                }
                strip(w, s, part, panel, in, n, p, end);
            }
    }
}

int64_t direct_scratch(const struct native_step *s, const struct native_options *options) {
    struct rooms rooms = rooms_of(s, options);
    return rooms.panels + rooms.sums + rooms.copy;
}
