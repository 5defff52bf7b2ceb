// Convolutions of 3x3 and stride 1 by Winograd's F(4x4, 3x3): 36 products instead of 144 for 16 results. In FP16
// arithmetic by F(2x2, 3x3), 16 products instead of 36 for 4 results: of F(4x4) the rounding errors would be too large.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. The picture is cut into tiles of 6x6 (4x4)
// that overlap by two; V is the tiles, U the weights, M their products, each transformed into as many planes. Weights are
// transformed on the way, block by block in the cache, so that memory holds nothing but the weights themselves.
#include "engine.h"
#include "finish.h"
#include "gemm.h"
#include "transforms.h"

#ifdef NATIVE_HALF
#define KB SUMMED  // input channels of a block of U
#elif VL == 4
#define KB 16
#else
#define KB 32
#endif
#define TILES (28 * 4 / OUT)  // in work at a time
#define KEPT (1 << 18)        // floats of U that may stay in the cache from one group of tiles to the next
// Distances between the planes that are no multiple of 4096 bytes: else their lines fall into one set of the cache.
#define U_PLANE (KB * NR + NR)
#define V_PLANE(tiles) ((tiles) * KB + KB)
#define M_PLANE(tiles) ((tiles) * NR + NR)
#define SIZE ((int64_t)sizeof(element))

INLINE int tiles_across(const struct native_step *s) { return (s->output.width + OUT - 1) / OUT; }
INLINE int tiles_of(const struct native_step *s) { return (s->output.height + OUT - 1) / OUT * tiles_across(s); }
INLINE int blocks_of(const struct native_step *s) { return (s->input.channels + KB - 1) / KB; }
INLINE int panels_of(const struct native_step *s) { return (s->output.channels + NR - 1) / NR; }

// u[PLANES][depth][NR] from depth times nine rows of NR weights, which begin at `index`.
INLINE void weights_in(const void *weights, int64_t index, const int type, int depth, element *restrict u) {
    for (int k = 0; k < depth; k++, index += 9 * NR) {
        for (int i = 0; i < 9 * NR; i += 32)
            __builtin_prefetch((const char *)weights + (index + 4 * 9 * NR + i) * (type == NATIVE_FP16 ? 2 : 4));
        for (int n = 0; n < NR; n += VL) {
            vf t[3 * TILE];
            UNROLL for (int x = 0; x < 3; x++)
                transform_weights(weights_at(weights, index + x * NR + n, type), weights_at(weights, index + (3 + x) * NR + n, type),
                                  weights_at(weights, index + (6 + x) * NR + n, type), t + x, 3);
            UNROLL for (int i = 0; i < TILE; i++) {
                vf o[TILE];
                transform_weights(t[3 * i], t[3 * i + 1], t[3 * i + 2], o, 1);
                UNROLL for (int j = 0; j < TILE; j++) put_elements(u + (i * TILE + j) * U_PLANE + k * NR + n, o[j]);
            }
        }
    }
}

// v[block][PLANES][tiles][KB]: one tile of the picture becomes the `place`th of v.
static void tile_in(const struct worker *w, const struct native_step *s, element *restrict v, int tile, int place, int tiles) {
    const struct native_tensor *t = &s->input;
    const float *input = input_of(w, t), *at[PLANES];
    int y0 = tile / tiles_across(s) * OUT - s->top, x0 = tile % tiles_across(s) * OUT - s->left;
    for (int i = 0; i < PLANES; i++) {
        int y = y0 + i / TILE, x = x0 + i % TILE;
        int inside = y >= 0 && y < t->height && x >= 0 && x < t->width;
        at[i] = inside ? input + ((int64_t)y * t->width + x) * t->stride : w->engine->zero;
    }
    for (int c = 0; c < t->channels; c += VL) {
        vf columns[PLANES];
        UNROLL for (int x = 0; x < TILE; x++) {
            vf d[TILE];
            if (c + VL <= t->channels) {
                UNROLL for (int y = 0; y < TILE; y++) d[y] = load(at[y * TILE + x] + c);
            } else {
                UNROLL for (int y = 0; y < TILE; y++) d[y] = load_part(at[y * TILE + x] + c, t->channels - c);
            }
            transform_tile(d, columns + x, TILE);
        }
        element *to = v + (int64_t)(c / KB) * PLANES * V_PLANE(tiles) + place * KB + c % KB;
        UNROLL for (int i = 0; i < TILE; i++) {
            vf r[TILE];
            transform_tile(columns + TILE * i, r, 1);
            UNROLL for (int j = 0; j < TILE; j++) put_elements(to + (int64_t)(i * TILE + j) * V_PLANE(tiles), r[j]);
        }
    }
}

// One tile of products, their planes `plane` apart, becomes up to OUT x OUT results of the channels from n0.
static void tile_out(const struct worker *w, const struct native_step *s, int tile, int plane, const float *m, int n0) {
    const struct native_tensor *t = &s->output;
    int y0 = tile / tiles_across(s) * OUT, x0 = tile % tiles_across(s) * OUT;
    const float *bias = weights_of(w, s->bias);
    const float *residual = s->operand == NATIVE_SAME ? other_of(w, s) : 0;
    float *output = output_of(w, t);
    for (int n = n0; n < n0 + NR && n < t->channels; n += VL, m += VL) {
        int count = at_most_int(VL, t->channels - n);
        vf columns[OUT * TILE], b = load(bias + n);
        UNROLL for (int x = 0; x < TILE; x++) {
            vf d[TILE];
            UNROLL for (int y = 0; y < TILE; y++) d[y] = load(m + (int64_t)(y * TILE + x) * plane);
            transform_products(d, columns + x, TILE);
        }
        UNROLL for (int i = 0; i < OUT; i++) {
            if (y0 + i >= t->height) break;
            vf r[OUT];
            transform_products(columns + TILE * i, r, 1);
            int64_t pixel = (int64_t)(y0 + i) * t->width + x0;
            UNROLL for (int j = 0; j < OUT; j++) {
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

// m[PLANES][tiles][NR] (+)= v[PLANES][tiles][KB] * u[PLANES][depth][NR]
INLINE void product_of(const int M, const element *a, const element *u, float *c, int depth, int first) {
    const element *rows[MR];
    UNROLL for (int m = 0; m < M; m++) rows[m] = a + m * KB;
#ifdef NATIVE_HALF
    ve s[2][MR];
    if (depth == KB) multiply_short(M, 2, rows, 0, u, KB, s);
    else multiply_short(M, 2, rows, 0, u, depth, s);
    UNROLL for (int m = 0; m < M; m++, c += NR) {
        vf v[NV] = {lower(s[0][m]), upper(s[0][m]), lower(s[1][m]), upper(s[1][m])};
        UNROLL for (int n = 0; n < NV; n++) store(c + n * VL, first ? v[n] : load(c + n * VL) + v[n]);
    }
#else
    vf s[NV][MR];
    UNROLL for (int m = 0; m < M; m++)
        UNROLL for (int n = 0; n < NV; n++) s[n][m] = first ? (vf){0} : load(c + m * NR + n * VL);
    if (depth == KB) multiply(M, rows, u, KB, s);
    else multiply(M, rows, u, depth, s);
    UNROLL for (int m = 0; m < M; m++)
        UNROLL for (int n = 0; n < NV; n++) store(c + m * NR + n * VL, s[n][m]);
#endif
}

static void multiply_planes(const element *v, const element *u, float *m, int tiles, int depth, int first) {
    int size = block_rows(tiles);
    for (int x = 0; x < PLANES; x++, v += V_PLANE(tiles), u += U_PLANE, m += M_PLANE(tiles))
        for (int t = 0; t < tiles; t += size) {
#define PRODUCT(M) product_of(M, v + t * KB, u, m + t * NR, depth, first)
            FOR_ROWS(at_most_int(size, tiles - t), PRODUCT)
        }
}

static void transform_block(const struct worker *w, const struct native_step *s, int panel, int block, element *u) {
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
    int tiles = tiles_of(s), by_tiles = tiles >= TILES * 6 / 7 * threads;
    int own = by_tiles ? (tiles + threads - 1) / threads : tiles, groups = (own + TILES - 1) / TILES;
    return (struct split){by_tiles, (own + groups - 1) / groups};
}

static void run_private(struct worker *w, const struct native_step *s) {
    int threads = w->engine->options.threads, blocks = blocks_of(s), t1 = 0, t2 = tiles_of(s), n1 = 0, n2 = panels_of(s);
    struct split split = split_of(s, threads);
    if (split.by_tiles) share(t2, w->index, threads, &t1, &t2);
    else share(n2, w->index, threads, &n1, &n2);
    int64_t all = (int64_t)PLANES * U_PLANE * blocks * (n2 - n1);
    int keep = t2 - t1 > split.group && all <= KEPT;
    element *u = (element *)w->scratch, *v = u + (keep ? all : PLANES * U_PLANE);
    float *m = w->scratch + FLOATS((keep ? all : PLANES * U_PLANE) + (int64_t)PLANES * V_PLANE(split.group) * blocks);
    for (int t0 = t1; t0 < t2; t0 += split.group) {
        int count = at_most_int(split.group, t2 - t0);
        for (int t = 0; t < count && n1 < n2; t++) tile_in(w, s, v, t0 + t, t, count);
        for (int n = n1; n < n2; n++) {
            for (int b = 0; b < blocks; b++) {
                element *block = keep ? u + (int64_t)PLANES * U_PLANE * ((n - n1) * blocks + b) : u;
                if (!keep || t0 == t1) transform_block(w, s, n, b, block);
                multiply_planes(v + (int64_t)b * PLANES * V_PLANE(count), block, m, count, at_most_int(KB, s->input.channels - b * KB), b == 0);
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
    int64_t room = cache / 8 * (stays ? 6 : 5) - (int64_t)o->threads * PLANES * SIZE * U_PLANE;
    int64_t tile = PLANES * (SIZE * inputs + 4 * o->threads * NR);
    if (stays) tile += OUT * OUT * 4 * (inputs + outputs * (s->operand == NATIVE_SAME ? 2 : 1));
    int64_t most = room / tile < 4 ? 4 : room / tile, groups = (tiles + most - 1) / most;
    return (int)((tiles + groups - 1) / groups);
}

static void run_shared(struct worker *w, const struct native_step *s) {
    struct native_engine *engine = w->engine;
    int group = shared_group(s, &engine->options), blocks = blocks_of(s), tiles = tiles_of(s), n1, n2;
    share(panels_of(s), w->index, engine->options.threads, &n1, &n2);
    element *u = (element *)w->scratch, *v = (element *)engine->shared;
    float *m = w->scratch + FLOATS(PLANES * U_PLANE);
    for (int t0 = 0; t0 < tiles; t0 += group) {
        int count = at_most_int(group, tiles - t0), from, to;
        share(count, w->index, engine->options.threads, &from, &to);
        if (t0) barrier(engine);
        for (int t = from; t < to; t++) tile_in(w, s, v, t0 + t, t, count);
        barrier(engine);
        for (int n = n1; n < n2; n++) {
            for (int b = 0; b < blocks; b++) {
                transform_block(w, s, n, b, u);
                multiply_planes(v + (int64_t)b * PLANES * V_PLANE(count), u, m, count, at_most_int(KB, s->input.channels - b * KB), b == 0);
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
    int64_t one = PLANES * U_PLANE;
    if (options->shared_l2_bytes) return FLOATS(one) + (int64_t)PLANES * M_PLANE(shared_group(s, options));
    struct split split = split_of(s, options->threads);
    int64_t panels = split.by_tiles ? panels_of(s) : (panels_of(s) + options->threads - 1) / options->threads;
    int64_t all = one * blocks_of(s) * panels, kept = all < KEPT ? all : KEPT;
    int64_t elements = (kept > one ? kept : one) + PLANES * (int64_t)V_PLANE(split.group) * blocks_of(s);
    return FLOATS(elements) + (int64_t)PLANES * M_PLANE(split.group);
}

int64_t winograd_shared(const struct native_step *s, const struct native_options *options) {
    if (!options->shared_l2_bytes) return 0;
    return FLOATS((int64_t)PLANES * V_PLANE(shared_group(s, options)) * blocks_of(s));
}
