// The engine's insides, as the kernels see them.
#ifndef ENGINE_H
#define ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "native.h"
#include "vector.h"

// A thread of the engine; the first is whoever calls native_run.
struct worker {
    struct native_engine *engine;
    int index;
    float *scratch;
    pthread_t thread;
};

struct native_engine {
    struct native_step *steps;
    size_t step_count, allocated;
    float *memory;  // activations
    float *zero;    // what lies beyond a picture's edge
    float *shared;  // transformed input that all threads see; null where each has its own
    const char *weights;
    size_t weights_bytes;
    struct native_network network;
    struct native_options options;
    struct worker *workers;
    int started;
    double *seconds;
    atomic_uint arrived, turn, picture, stop;
};

INLINE const float *input_of(const struct worker *w, const struct native_tensor *t) { return w->engine->memory + t->offset; }
INLINE float *output_of(const struct worker *w, const struct native_tensor *t) { return w->engine->memory + t->offset; }
INLINE const float *other_of(const struct worker *w, const struct native_step *s) {
    return s->is_constant ? (const float *)w->engine->weights + s->other.offset : input_of(w, &s->other);
}
INLINE const void *weights_of(const struct worker *w, int64_t offset) { return w->engine->weights + offset; }

// Rows of a tensor in memory: `data` is where row `first` begins.
struct view {
    float *data;
    int first;
};
INLINE struct view whole(const struct worker *w, const struct native_tensor *t) { return (struct view){w->engine->memory + t->offset, 0}; }

// The part of `all` that belongs to thread `index` of `of`.
INLINE void share(int64_t all, int index, int of, int *from, int *to) {
    *from = (int)(all * index / of);
    *to = (int)(all * (index + 1) / of);
}

// Wait for the other threads. Each of them has to call it.
void barrier(struct native_engine *engine);

// One function a kind: how it is run by a thread, and how many floats of scratch it needs for that.
void run_winograd(struct worker *w, const struct native_step *s);
void run_direct(struct worker *w, const struct native_step *s);
void run_depthwise(struct worker *w, const struct native_step *s);
void run_connected(struct worker *w, const struct native_step *s);
void run_max_pool(struct worker *w, const struct native_step *s);
void run_average_pool(struct worker *w, const struct native_step *s);
void run_global_average(struct worker *w, const struct native_step *s);
void run_elementwise(struct worker *w, const struct native_step *s);
int64_t winograd_scratch(const struct native_step *s, const struct native_options *options);
int64_t winograd_shared(const struct native_step *s, const struct native_options *options);
int64_t direct_scratch(const struct native_step *s, const struct native_options *options);
int64_t depthwise_scratch(const struct native_step *s);

// Whether every number of a step is within what the kernels can take and the memory that there is.
int step_is_sound(const struct native_step *s, const struct native_network *network);
int tensor_is_sound(const struct native_tensor *t, size_t floats);

// VL weights in FP32.
INLINE vf weights_at(const void *weights, int64_t index, int type) {
    return type == NATIVE_FP16 ? widen((const half *)weights + index) : load((const float *)weights + index);
}

#endif
