// Creates an engine, and runs a picture through its steps: one call, all threads, a barrier after each step.
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "pool.h"

#define MOST_STEPS 20000
#define MOST_THREADS 64
#define ALIGNMENT 64
#define FIRST_TURN (UINT_MAX - 100)  // turns and pictures are counted round; in months, so each engine begins with it

#ifndef NATIVE_VERSION
#define NATIVE_VERSION "unknown"
#endif

int32_t native_abi(void) { return NATIVE_ABI; }
const char *native_version(void) { return NATIVE_VERSION; }
int32_t native_lanes(void) { return NR; }
size_t native_step_bytes(void) { return sizeof(struct native_step); }
size_t native_bytes(const struct native_engine *engine) { return engine->allocated; }

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_step(struct worker *w, const struct native_step *s) {
    switch (s->kind) {
    case NATIVE_WINOGRAD: run_winograd(w, s); break;
    case NATIVE_DIRECT: run_direct(w, s); break;
    case NATIVE_DEPTHWISE: run_depthwise(w, s); break;
    case NATIVE_CONNECTED: run_connected(w, s); break;
    case NATIVE_MAX_POOL: run_max_pool(w, s); break;
    case NATIVE_AVERAGE_POOL: run_average_pool(w, s); break;
    case NATIVE_GLOBAL_AVERAGE: run_global_average(w, s); break;
    default: run_elementwise(w, s);
    }
}

// Streaming: the pages of weights that lie before `end` are not needed until the next picture.
static void give_back(uintptr_t *from, uintptr_t end) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    end &= ~(page - 1);
    if (end > *from) {
        madvise((void *)*from, end - *from, MADV_DONTNEED);
        *from = end;
    }
}

static uintptr_t first_page(const struct native_engine *engine) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    return ((uintptr_t)engine->weights + page - 1) & ~(page - 1);
}

static int has_weights(const struct native_step *s) { return s->kind <= NATIVE_CONNECTED; }

static void run_steps(struct worker *w) {
    struct native_engine *engine = w->engine;
    uintptr_t kept_from = first_page(engine);
    for (size_t i = 0; i < engine->step_count; i++) {
        const struct native_step *s = engine->steps + i;
        double begin_s = engine->seconds && !w->index ? now_s() : 0;
        run_step(w, s);
        barrier(engine);
        if (w->index) continue;
        if (engine->options.streaming && has_weights(s)) give_back(&kept_from, (uintptr_t)engine->weights + (size_t)s->weights);
        if (engine->seconds) engine->seconds[i] = now_s() - begin_s;
    }
    if (engine->options.streaming && !w->index) give_back(&kept_from, (uintptr_t)engine->weights + engine->weights_bytes);
}

static void *serve(void *argument) {
    struct worker *w = argument;
    struct native_engine *engine = w->engine;
    for (unsigned picture = FIRST_TURN;; picture++) {
        pool_wait(&engine->picture, picture, engine->options.spins);
        if (atomic_load_explicit(&engine->stop, memory_order_acquire)) return 0;
        run_steps(w);
    }
}

static void copy_in(struct native_engine *engine, const float *picture) {
    const struct native_network *n = &engine->network;
    const struct native_tensor *t = &n->picture;
    float *to = engine->memory + t->offset;
    int width = t->width - n->border_left - n->border_right;
    size_t pixel = (size_t)t->channels * sizeof(float);
    for (int y = 0; y < t->height; y++) {
        int inside = y >= n->border_top && y < t->height - n->border_bottom;
        for (int x = 0; x < t->width; x++, to += t->stride) {
            if (!inside || x < n->border_left || x >= t->width - n->border_right) {
                memset(to, 0, pixel);
            } else if (t->stride == t->channels) {
                memcpy(to, picture, pixel * (size_t)width);
                to += (int64_t)(width - 1) * t->stride;
                picture += (int64_t)width * t->channels;
                x += width - 1;
            } else {
                memcpy(to, picture, pixel);
                picture += t->channels;
            }
        }
    }
}

static void copy_out(const struct native_engine *engine, const struct native_tensor *t, float *to) {
    const float *from = engine->memory + t->offset;
    for (int64_t p = 0; p < (int64_t)t->height * t->width; p++, from += t->stride, to += t->channels) memcpy(to, from, (size_t)t->channels * sizeof(float));
}

void native_run(struct native_engine *engine, const float *picture, float *logits, float *features, double *seconds) {
    engine->seconds = seconds;
    copy_in(engine, picture);
    atomic_fetch_add_explicit(&engine->picture, 1, memory_order_release);
    if (engine->options.threads > 1) pool_wake(&engine->picture);
    run_steps(engine->workers);
    copy_out(engine, &engine->network.logits, logits);
    if (features && engine->network.features.channels) copy_out(engine, &engine->network.features, features);
}

void native_stream(struct native_engine *engine, int32_t streaming) { engine->options.streaming = streaming; }

static int network_is_sound(const struct native_network *n) {
    int64_t left = (int64_t)n->picture.width - n->border_left - n->border_right;
    int64_t high = (int64_t)n->picture.height - n->border_top - n->border_bottom;
    int borders = n->border_top >= 0 && n->border_left >= 0 && n->border_bottom >= 0 && n->border_right >= 0 && left > 0 && high > 0;
    return n->step_count > 0 && n->step_count <= MOST_STEPS && n->floats <= SIZE_MAX / 8 && (uintptr_t)n->weights % ALIGNMENT == 0 && borders &&
           tensor_is_sound(&n->picture, n->floats) && tensor_is_sound(&n->logits, n->floats) &&
           (n->features.channels == 0 || tensor_is_sound(&n->features, n->floats));
}

static int options_are_sound(const struct native_options *o) {
    return o->threads >= 1 && o->threads <= MOST_THREADS && o->spins >= 0 && o->shared_l2_bytes >= 0 && o->shared_l2_bytes <= 1 << 30;
}

// Zeroed floats, aligned to a line of the cache; malloc gives such blocks back to the system when they are freed.
static float *floats(struct native_engine *engine, size_t count) {
    void *block = 0;
    size_t bytes = (count + ALIGNMENT) * sizeof(float);
    if (posix_memalign(&block, ALIGNMENT, bytes)) return 0;
    memset(block, 0, bytes);
    engine->allocated += bytes;
    return block;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int allocate(struct native_engine *engine) {
    int64_t scratch = 0, shared = 0, zero = 0;
    for (size_t i = 0; i < engine->step_count; i++) {
        const struct native_step *s = engine->steps + i;
        zero = larger(zero, s->input.channels);
        if (s->kind == NATIVE_WINOGRAD) {
            scratch = larger(scratch, winograd_scratch(s, &engine->options));
            shared = larger(shared, winograd_shared(s, &engine->options));
        } else if (s->kind == NATIVE_DIRECT) scratch = larger(scratch, direct_scratch(s, &engine->options));
        else if (s->kind == NATIVE_DEPTHWISE) scratch = larger(scratch, depthwise_scratch(s));
    }
    engine->memory = floats(engine, engine->network.floats);
    engine->zero = floats(engine, (size_t)zero);
    engine->shared = shared ? floats(engine, (size_t)shared) : 0;
    engine->workers = calloc((size_t)engine->options.threads, sizeof *engine->workers);
    if (!engine->memory || !engine->zero || (shared && !engine->shared) || !engine->workers) return NATIVE_NO_MEMORY;
    for (int i = 0; i < engine->options.threads; i++) {
        engine->workers[i].engine = engine;
        engine->workers[i].index = i;
        engine->workers[i].scratch = floats(engine, (size_t)scratch);
        if (!engine->workers[i].scratch) return NATIVE_NO_MEMORY;
    }
    return NATIVE_OK;
}

static int start(struct native_engine *engine) {
    for (engine->started = 1; engine->started < engine->options.threads; engine->started++) {
        struct worker *w = engine->workers + engine->started;
        if (pthread_create(&w->thread, 0, serve, w)) return NATIVE_NO_THREADS;
    }
    return NATIVE_OK;
}

static int check(const struct native_network *network, const struct native_options *options, size_t *bad_step) {
    if (!network_is_sound(network) || !options_are_sound(options)) return NATIVE_BAD_ARGUMENT;
    for (size_t i = 0; i < network->step_count; i++) {
        if (step_is_sound(network->steps + i, network)) continue;
        *bad_step = i;
        return NATIVE_BAD_STEP;
    }
    return NATIVE_OK;
}

int32_t native_create(const struct native_network *network, const struct native_options *options, struct native_engine **engine, size_t *bad_step) {
    *engine = 0;
    int code = check(network, options, bad_step);
    if (code) return code;
    struct native_engine *made = calloc(1, sizeof *made);
    if (!made) return NATIVE_NO_MEMORY;
    size_t bytes = network->step_count * sizeof *network->steps;
    atomic_init(&made->turn, FIRST_TURN);
    atomic_init(&made->picture, FIRST_TURN);
    made->network = *network;
    made->options = *options;
    made->step_count = network->step_count;
    made->weights = network->weights;
    made->weights_bytes = network->weights_bytes;
    made->steps = malloc(bytes);
    code = NATIVE_NO_MEMORY;
    if (made->steps) {
        memcpy(made->steps, network->steps, bytes);
        made->network.steps = made->steps;
        code = allocate(made);
        if (!code) code = start(made);
    }
    if (code) {
        native_destroy(made);
        return code;
    }
    *engine = made;
    return NATIVE_OK;
}

void native_destroy(struct native_engine *engine) {
    if (!engine) return;
    atomic_store_explicit(&engine->stop, 1, memory_order_release);
    atomic_fetch_add_explicit(&engine->picture, 1, memory_order_release);
    pool_wake(&engine->picture);
    for (int i = 1; i < engine->started; i++) pthread_join(engine->workers[i].thread, 0);
    if (engine->workers)
        for (int i = 0; i < engine->options.threads; i++) free(engine->workers[i].scratch);
    free(engine->workers);
    free(engine->memory);
    free(engine->zero);
    free(engine->shared);
    free(engine->steps);
    free(engine);
}
