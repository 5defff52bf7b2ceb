// The engine's interface: a network as a list of steps on tensors in one block of memory.
//
// Python makes the steps from a checked plan (edge_agent/inference/native). `native_create` checks every number in
// them again, so that a mistake there ends in an error and never in memory that is not ours.
#ifndef NATIVE_H
#define NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define NATIVE_ABI 1

#define NATIVE_EXPORT __attribute__((visibility("default")))

enum native_kind {
    NATIVE_WINOGRAD,   // 3x3 convolution of stride 1, as F(4x4, 3x3)
    NATIVE_DIRECT,     // any convolution, as a matrix product on the picture itself
    NATIVE_DEPTHWISE,  // a filter for each channel
    NATIVE_CONNECTED,  // fully connected
    NATIVE_MAX_POOL,
    NATIVE_AVERAGE_POOL,
    NATIVE_GLOBAL_AVERAGE,
    NATIVE_ADD,
    NATIVE_MULTIPLY,
    NATIVE_APPLY,  // bounds and function alone; without either, a copy
    NATIVE_KINDS
};

// What is done to a result once it is within its bounds.
enum native_function { NATIVE_IDENTITY, NATIVE_HARDSWISH, NATIVE_SIGMOID, NATIVE_SILU, NATIVE_FUNCTIONS };

// What the second operand of a step is.
enum native_operand {
    NATIVE_NONE,
    NATIVE_SAME,         // a tensor of the result's shape: a convolution adds it before the bounds (the residual)
    NATIVE_PER_CHANNEL,  // one value a channel
    NATIVE_SINGLE,       // one value
    NATIVE_OPERANDS
};

enum native_weights { NATIVE_FP32, NATIVE_FP16 };

enum native_code { NATIVE_OK, NATIVE_BAD_STEP, NATIVE_BAD_ARGUMENT, NATIVE_NO_MEMORY, NATIVE_NO_THREADS };

// Float32 values of a picture, NHWC with N = 1. `stride` is the distance from one pixel to the next in floats, at least
// `channels`; `offset` is where the first value lies in the block, in floats.
struct native_tensor {
    int64_t offset;
    int32_t height, width, channels, stride;
};

// One operation. `weights` and `bias` are bytes into the packed weights, laid out as packing.py says. `other` is the
// second operand; where it is constant it lies in the packed weights, and its offset counts from there. `scale` has a
// value a channel of the input of a 1x1 convolution, which is multiplied by it; without channels there is none.
struct native_step {
    int32_t kind, function, operand, weights_type;
    int32_t kernel_height, kernel_width, stride_y, stride_x, dilation_y, dilation_x, top, left, groups;
    float low, high;
    int32_t is_constant;
    struct native_tensor input, output, other, scale;
    int64_t weights, bias;
};

struct native_network {
    const struct native_step *steps;
    size_t step_count;
    size_t floats;  // size of the block of memory for activations
    const void *weights;
    size_t weights_bytes;
    struct native_tensor picture, logits, features;  // features without channels: there are none
    int32_t border_top, border_left, border_bottom, border_right;  // zeros around the caller's picture
};

struct native_options {
    int32_t threads;        // with the thread that calls native_run
    int32_t spins;          // how often a thread looks before it sleeps; 0 where there are fewer cores than threads
    int64_t shared_l2_bytes;  // the size of the one L2 that all threads' cores share; 0: each has its own
    int32_t streaming;      // weights' pages are given back after each step
    int32_t reserved;
};

struct native_engine;

NATIVE_EXPORT int32_t native_abi(void);
NATIVE_EXPORT const char *native_version(void);  // changes with the sources
NATIVE_EXPORT int32_t native_lanes(void);  // output channels that are packed side by side
NATIVE_EXPORT size_t native_step_bytes(void);
// Check, allocate, start the threads. On NATIVE_BAD_STEP, `bad_step` is its place. The steps are copied; the weights are not.
NATIVE_EXPORT int32_t native_create(const struct native_network *network, const struct native_options *options,
                                    struct native_engine **engine, size_t *bad_step);
// One picture: dense NHWC without its border. `features` may be null. `seconds`, one a step, may be null.
NATIVE_EXPORT void native_run(struct native_engine *engine, const float *picture, float *logits, float *features,
                              double *seconds);
// From the next picture on, give weights' pages back after each step, or keep them.
NATIVE_EXPORT void native_stream(struct native_engine *engine, int32_t streaming);
NATIVE_EXPORT size_t native_bytes(const struct native_engine *engine);  // of memory that the engine has allocated
NATIVE_EXPORT void native_destroy(struct native_engine *engine);

#endif
