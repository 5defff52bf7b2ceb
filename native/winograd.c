// Convolutions of 3x3 and stride 1 by Winograd's F(4x4, 3x3): 36 products instead of 144 for 16 results.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. The picture is cut into tiles of 6x6 that
// overlap by two; V is the tiles, U the weights, M their products, each transformed into 36 planes. Weights are
// transformed on the way, block by block in the cache, so that memory holds nothing but the weights themselves.
#include "engine.h"
#include "finish.h"
#include "gemm.h"

#if VL == 4
#define KB 16  // input channels of a block of U
#else
#define KB 32
#endif
#define TILES 28          // in work at a time
#define KEPT (1 << 18)    // floats of U that may stay in the cache from one group of tiles to the next
// Distances between the 36 planes that are no multiple of 4096 bytes: else their lines fall into one set of the cache.
#define U_PLANE (KB * NR + NR)
#define V_PLANE(tiles) ((tiles) * KB + KB)
#define M_PLANE(tiles) ((tiles) * NR + NR)

INLINE int tiles_across(const struct native_step *s) { return (s->output.width + 3) / 4; }
INLINE int tiles_of(const struct native_step *s) { return (s->output.height + 3) / 4 * tiles_across(s); }
INLINE int blocks_of(const struct native_step *s) { return (s->input.channels + KB - 1) / KB; }
INLINE int panels_of(const struct native_step *s) { return (s->output.channels + NR - 1) / NR; }

// The transforms of the paper's matrices G, B^T and A^T, on vectors `s` apart. The factors -1/6 and 1/24 of G's rows are
// in A^T instead, since weights are transformed more often than products.
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

// u[36][depth][NR] from depth times nine rows of NR weights, which begin at `index`.
INLINE void weights_in(const void *weights, int64_t index, const int type, int depth, float *restrict u) {
    for (int k = 0; k < depth; k++, index += 9 * NR) {
        for (int i = 0; i < 9 * NR; i += 32)
            __builtin_prefetch((const char *)weights + (index + 4 * 9 * NR + i) * (type == NATIVE_FP16 ? 2 : 4));
        for (int n = 0; n < NR; n += VL) {
            vf t[18];
            UNROLL for (int x = 0; x < 3; x++)
                transform_weights(weights_at(weights, index + x * NR + n, type), weights_at(weights, index + (3 + x) * NR + n, type),
                                  weights_at(weights, index + (6 + x) * NR + n, type), t + x, 3);
            UNROLL for (int i = 0; i < 6; i++) {
                vf o[6];
                transform_weights(t[3 * i], t[3 * i + 1], t[3 * i + 2], o, 1);
                UNROLL for (int j = 0; j < 6; j++) store(u + (i * 6 + j) * U_PLANE + k * NR + n, o[j]);
            }
        }
    }
}

// v[block][36][tiles][KB]: one tile of the picture becomes the `place`th of v.
static void tile_in(const struct worker *w, const struct native_step *s, float *restrict v, int tile, int place, int tiles) {
    const struct native_tensor *t = &s->input;
    const float *input = input_of(w, t), *at[36];
    int y0 = tile / tiles_across(s) * 4 - s->top, x0 = tile % tiles_across(s) * 4 - s->left;
    for (int i = 0; i < 36; i++) {
        int y = y0 + i / 6, x = x0 + i % 6;
        int inside = y >= 0 && y < t->height && x >= 0 && x < t->width;
        at[i] = inside ? input + ((int64_t)y * t->width + x) * t->stride : w->engine->zero;
    }
    for (int c = 0; c < t->channels; c += VL) {
        vf columns[36];
        UNROLL for (int x = 0; x < 6; x++) {
            vf d[6];
            if (c + VL <= t->channels) {
                UNROLL for (int y = 0; y < 6; y++) d[y] = load(at[y * 6 + x] + c);
            } else {
                UNROLL for (int y = 0; y < 6; y++) d[y] = load_part(at[y * 6 + x] + c, t->channels - c);
            }
            transform_tile(d, columns + x, 6);
        }
        float *to = v + (int64_t)(c / KB) * 36 * V_PLANE(tiles) + place * KB + c % KB;
        UNROLL for (int i = 0; i < 6; i++) {
            vf r[6];
            transform_tile(columns + 6 * i, r, 1);
            UNROLL for (int j = 0; j < 6; j++) store(to + (int64_t)(i * 6 + j) * V_PLANE(tiles), r[j]);
        }
    }
}

// One tile of products, their planes `plane` apart, becomes up to 4x4 results of the channels from n0.
static void tile_out(const struct worker *w, const struct native_step *s, int tile, int plane, const float *m, int n0) {
    const struct native_tensor *t = &s->output;
    int y0 = tile / tiles_across(s) * 4, x0 = tile % tiles_across(s) * 4;
    const float *bias = weights_of(w, s->bias);
    const float *residual = s->operand == NATIVE_SAME ? other_of(w, s) : 0;
    float *output = output_of(w, t);
    for (int n = n0; n < n0 + NR && n < t->channels; n += VL, m += VL) {
        int count = at_most_int(VL, t->channels - n);
        vf columns[24], b = load(bias + n);
        UNROLL for (int x = 0; x < 6; x++) {
            vf d[6];
            UNROLL for (int y = 0; y < 6; y++) d[y] = load(m + (int64_t)(y * 6 + x) * plane);
            transform_products(d, columns + x, 6);
        }
        UNROLL for (int i = 0; i < 4; i++) {
            if (y0 + i >= t->height) break;
            vf r[4];
            transform_products(columns + 6 * i, r, 1);
            int64_t pixel = (int64_t)(y0 + i) * t->width + x0;
            UNROLL for (int j = 0; j < 4; j++) {
                if (x0 + j >= t->width) break;
                vf v = r[j] + b;
                if (residual) {
                    const float *p = residual + (pixel + j) * s->other.stride + n;
                    v += count == VL ? load(p) : load_part(p, count);
                }
                v = finish(s, v);
                float *to = output + (pixel + j) * t->stride + n;
                if (count == VL) store(to, v);
                else store_part(to, v, count);
            }
        }
    }
}

// m[36][tiles][NR] (+)= v[36][tiles][KB] * u[36][depth][NR]
static void multiply_planes(const float *v, const float *u, float *m, int tiles, int depth, int first) {
    int size = block_rows(tiles);
    for (int x = 0; x < 36; x++, v += V_PLANE(tiles), u += U_PLANE, m += M_PLANE(tiles))
        for (int t = 0; t < tiles; t += size) {
            const float *a = v + t * KB;
            float *c = m + t * NR;
#define PRODUCT(M)                                                                     \
    {                                                                                  \
        const float *rows[MR];                                                         \
        vf c0[MR], c1[MR];                                                             \
        UNROLL for (int i = 0; i < M; i++) {                                           \
            rows[i] = a + i * KB;                                                      \
            c0[i] = first ? (vf){0} : load(c + i * NR);                                \
            c1[i] = first ? (vf){0} : load(c + i * NR + VL);                           \
        }                                                                              \
        if (depth == KB) multiply(M, rows, u, KB, c0, c1);                             \
        else multiply(M, rows, u, depth, c0, c1);                                      \
        UNROLL for (int i = 0; i < M; i++) {                                           \
            store(c + i * NR, c0[i]);                                                  \
            store(c + i * NR + VL, c1[i]);                                             \
        }                                                                              \
    }
            FOR_ROWS(at_most_int(size, tiles - t), PRODUCT)
        }
}

static void transform_block(const struct worker *w, const struct native_step *s, int panel, int block, float *u) {
    const void *weights = weights_of(w, s->weights);
    int depth = at_most_int(KB, s->input.channels - block * KB);
    int64_t index = ((int64_t)panel * s->input.channels + block * KB) * 9 * NR;
    if (s->weights_type == NATIVE_FP16) weights_in(weights, index, NATIVE_FP16, depth, u);
    else weights_in(weights, index, NATIVE_FP32, depth, u);
}

// How the tiles are shared out where each thread has its own V: many tiles among the threads, each of which transforms
// all weights; of few tiles each thread transforms all, and the output channels are shared out. So nothing but
// activations goes from core to core.
struct split {
    int by_tiles;
    int group;  // tiles in work at a time
};
static struct split split_of(const struct native_step *s, int threads) {
    int tiles = tiles_of(s), by_tiles = tiles >= 24 * threads;
    int own = by_tiles ? (tiles + threads - 1) / threads : tiles, groups = (own + TILES - 1) / TILES;
    return (struct split){by_tiles, (own + groups - 1) / groups};
}

static void run_private(struct worker *w, const struct native_step *s) {
    int threads = w->engine->options.threads, blocks = blocks_of(s), t1 = 0, t2 = tiles_of(s), n1 = 0, n2 = panels_of(s);
    struct split split = split_of(s, threads);
    if (split.by_tiles) share(t2, w->index, threads, &t1, &t2);
    else share(n2, w->index, threads, &n1, &n2);
    int64_t all = (int64_t)36 * U_PLANE * blocks * (n2 - n1);
    int keep = t2 - t1 > split.group && all <= KEPT;
    float *u = w->scratch, *v = u + (keep ? all : 36 * U_PLANE), *m = v + (int64_t)36 * V_PLANE(split.group) * blocks;
    for (int t0 = t1; t0 < t2; t0 += split.group) {
        int count = at_most_int(split.group, t2 - t0);
        for (int t = 0; t < count && n1 < n2; t++) tile_in(w, s, v, t0 + t, t, count);
        for (int n = n1; n < n2; n++) {
            for (int b = 0; b < blocks; b++) {
                float *block = keep ? u + (int64_t)36 * U_PLANE * ((n - n1) * blocks + b) : u;
                if (!keep || t0 == t1) transform_block(w, s, n, b, block);
                multiply_planes(v + (int64_t)b * 36 * V_PLANE(count), block, m, count, at_most_int(KB, s->input.channels - b * KB), b == 0);
            }
            for (int t = 0; t < count; t++) tile_out(w, s, t0 + t, M_PLANE(count), m + t * NR, n * NR);
        }
    }
}

// On cores that share their L2 there is one V for all threads: each transforms some tiles of a group, then all of the
// group's tiles meet each thread's own output channels. The weights are read once a group, by one thread each: where they
// stay in the cache, a group leaves room for its part of the pictures too; else it is as large as it can be.
static int shared_group(const struct native_step *s, const struct native_options *o) {
    int64_t cache = o->shared_l2_bytes, inputs = s->input.channels, outputs = s->output.channels, tiles = tiles_of(s);
    int stays = inputs * outputs * 9 * (s->weights_type == NATIVE_FP16 ? 2 : 4) <= cache / 4;
    int64_t room = cache / 8 * (stays ? 6 : 5) - (int64_t)o->threads * 36 * 4 * U_PLANE, tile = 36 * 4 * (inputs + o->threads * NR);
    if (stays) tile += 16 * 4 * (inputs + outputs * (s->operand == NATIVE_SAME ? 2 : 1));
    int64_t most = room / tile < 4 ? 4 : room / tile, groups = (tiles + most - 1) / most;
    return (int)((tiles + groups - 1) / groups);
}

static void run_shared(struct worker *w, const struct native_step *s) {
    struct native_engine *engine = w->engine;
    int group = shared_group(s, &engine->options), blocks = blocks_of(s), tiles = tiles_of(s), n1, n2;
    share(panels_of(s), w->index, engine->options.threads, &n1, &n2);
    float *u = w->scratch, *v = engine->shared, *m = u + 36 * U_PLANE;
    for (int t0 = 0; t0 < tiles; t0 += group) {
        int count = at_most_int(group, tiles - t0), from, to;
        share(count, w->index, engine->options.threads, &from, &to);
        if (t0) barrier(engine);
        for (int t = from; t < to; t++) tile_in(w, s, v, t0 + t, t, count);
        barrier(engine);
        for (int n = n1; n < n2; n++) {
            for (int b = 0; b < blocks; b++) {
                transform_block(w, s, n, b, u);
                multiply_planes(v + (int64_t)b * 36 * V_PLANE(count), u, m, count, at_most_int(KB, s->input.channels - b * KB), b == 0);
            }
            for (int t = 0; t < count; t++) tile_out(w, s, t0 + t, M_PLANE(count), m + t * NR, n * NR);
        }
    }
}

void run_winograd(struct worker *w, const struct native_step *s) {
    if (w->engine->shared) run_shared(w, s);
    else run_private(w, s);
}

int64_t winograd_scratch(const struct native_step *s, const struct native_options *options) {
    int64_t one = 36 * U_PLANE;
    if (options->shared_l2_bytes) return one + (int64_t)36 * M_PLANE(shared_group(s, options));
    struct split split = split_of(s, options->threads);
    int64_t panels = split.by_tiles ? panels_of(s) : (panels_of(s) + options->threads - 1) / options->threads;
    int64_t all = one * blocks_of(s) * panels, kept = all < KEPT ? all : KEPT;
    return (kept > one ? kept : one) + 36 * ((int64_t)V_PLANE(split.group) * blocks_of(s) + M_PLANE(split.group));
}

int64_t winograd_shared(const struct native_step *s, const struct native_options *options) {
    if (!options->shared_l2_bytes) return 0;
    return (int64_t)36 * V_PLANE(shared_group(s, options)) * blocks_of(s);
}
