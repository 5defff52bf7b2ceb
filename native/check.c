// Checks every number of a step before a pointer is made from it: C trusts nothing that Python did not compute.
#include "engine.h"

#define MOST_SIDE (1 << 20)             // pixels, channels, windows: far below what an int holds
#define MOST_ELEMENTS ((int64_t)1 << 28)  // of a tensor or of weights: no product of two of them overflows

static int in_range(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

// The elements of a shape, or -1 where they are too many.
static int64_t product(const int64_t *factors, int count) {
    int64_t all = 1;
    for (int i = 0; i < count; i++) {
        if (factors[i] < 1 || factors[i] > MOST_ELEMENTS / all) return -1;
        all *= factors[i];
    }
    return all;
}

int tensor_is_sound(const struct native_tensor *t, size_t floats) {
    if (!in_range(t->height, 1, MOST_SIDE) || !in_range(t->width, 1, MOST_SIDE)) return 0;
    if (!in_range(t->channels, 1, MOST_SIDE) || !in_range(t->stride, t->channels, MOST_SIDE)) return 0;
    int64_t all = product((int64_t[]){t->height, t->width, t->stride}, 3);
    if (all < 0) return 0;
    // The last pixel ends with its channels.
    int64_t used = all - t->stride + t->channels;
    return t->offset >= 0 && (uint64_t)used <= floats && (uint64_t)t->offset <= floats - (uint64_t)used;
}

static int same_shape(const struct native_tensor *a, const struct native_tensor *b) {
    return a->height == b->height && a->width == b->width && a->channels == b->channels;
}

// Whether what is written meets what is read: a thread may write what another still has to read.
static int overlaps(const struct native_tensor *out, const struct native_tensor *in) {
    int64_t out_end = out->offset + ((int64_t)out->height * out->width - 1) * out->stride + out->channels;
    int64_t in_end = in->offset + ((int64_t)in->height * in->width - 1) * in->stride + in->channels;
    if (out_end <= in->offset || in_end <= out->offset) return 0;
    // Channels of one concatenation lie between each other's.
    if (out->stride != in->stride) return 1;
    int64_t apart = (in->offset - out->offset) % out->stride;
    if (apart < 0) apart += out->stride;
    return apart < out->channels || apart + in->channels > out->stride;
}

static int operand_is_sound(const struct native_step *s, const struct native_network *network) {
    if (s->operand == NATIVE_NONE) return 1;
    size_t floats = s->is_constant ? network->weights_bytes / sizeof(float) : network->floats;
    if (!tensor_is_sound(&s->other, floats) || (!s->is_constant && overlaps(&s->output, &s->other))) return 0;
    switch (s->operand) {
    case NATIVE_SAME: return same_shape(&s->other, &s->output);
    case NATIVE_PER_CHANNEL: return s->other.height == 1 && s->other.width == 1 && s->other.channels == s->input.channels;
    default: return s->other.height == 1 && s->other.width == 1 && s->other.channels == 1;
    }
}

static int scale_is_sound(const struct native_step *s, size_t floats) {
    if (s->scale.channels == 0) return 1;
    return s->kind == NATIVE_DIRECT && s->kernel_height == 1 && s->kernel_width == 1 && s->groups == 1 && tensor_is_sound(&s->scale, floats) &&
           s->scale.height == 1 && s->scale.width == 1 && s->scale.channels == s->input.channels && !overlaps(&s->output, &s->scale);
}

static int within(int64_t offset, int64_t bytes, size_t all) {
    return offset >= 0 && offset % 64 == 0 && bytes >= 0 && (uint64_t)bytes <= all && (uint64_t)offset <= all - (uint64_t)bytes;
}

static int weights_are_sound(const struct native_step *s, int64_t elements, int64_t biases, size_t bytes) {
    if (elements < 0 || !in_range(s->weights_type, NATIVE_FP32, NATIVE_FP16)) return 0;
    return within(s->weights, elements * (s->weights_type == NATIVE_FP16 ? 2 : 4), bytes) && within(s->bias, biases * 4, bytes);
}

// The windows of a result lie in the padded input as far as the picture reaches: at least one element of each is read.
static int axis_is_sound(int input, int output, int kernel, int stride, int dilation, int before) {
    if (!in_range(kernel, 1, MOST_SIDE) || !in_range(stride, 1, MOST_SIDE) || !in_range(dilation, 1, MOST_SIDE)) return 0;
    int64_t extent = (int64_t)(kernel - 1) * dilation + 1, last = (int64_t)(output - 1) * stride - before;
    return in_range(extent, 1, MOST_SIDE) && in_range(before, 0, extent - 1) && last < input && last + extent < 2 * (int64_t)MOST_SIDE;
}

static int window_is_sound(const struct native_step *s) {
    return axis_is_sound(s->input.height, s->output.height, s->kernel_height, s->stride_y, s->dilation_y, s->top) &&
           axis_is_sound(s->input.width, s->output.width, s->kernel_width, s->stride_x, s->dilation_x, s->left);
}

static int convolution_is_sound(const struct native_step *s, size_t bytes) {
    int64_t groups = s->groups;
    if (!window_is_sound(s) || !in_range(groups, 1, s->input.channels)) return 0;
    if (s->input.channels % groups || s->output.channels % groups) return 0;
    int64_t outputs = round_up((int)(s->output.channels / groups), NR) * groups, taps[] = {s->kernel_height, s->kernel_width};
    int64_t window = product(taps, 2);
    if (window < 0) return 0;
    if (s->kind == NATIVE_DEPTHWISE) {
        int64_t padded = round_up(s->input.channels, NR);
        return groups == s->input.channels && groups == s->output.channels && s->operand == NATIVE_NONE &&
               weights_are_sound(s, product((int64_t[]){window, padded}, 2), padded, bytes);
    }
    int64_t elements = product((int64_t[]){outputs, window, s->input.channels / groups}, 3);
    if (!weights_are_sound(s, elements, outputs, bytes)) return 0;
    if (s->operand != NATIVE_NONE && s->operand != NATIVE_SAME) return 0;
    return s->kind == NATIVE_DIRECT || (groups == 1 && s->kernel_height == 3 && s->kernel_width == 3 && s->stride_y == 1 && s->stride_x == 1 &&
                                        s->dilation_y == 1 && s->dilation_x == 1);
}

static int connected_is_sound(const struct native_step *s, size_t bytes) {
    int64_t outputs = round_up(s->output.channels, NR);
    int64_t elements = product((int64_t[]){outputs, s->input.height, s->input.width, s->input.channels}, 4);
    return s->output.height == 1 && s->output.width == 1 && s->operand == NATIVE_NONE && weights_are_sound(s, elements, outputs, bytes);
}

int step_is_sound(const struct native_step *s, const struct native_network *network) {
    size_t floats = network->floats;
    if (!tensor_is_sound(&s->input, floats) || !tensor_is_sound(&s->output, floats) || overlaps(&s->output, &s->input)) return 0;
    if (!in_range(s->function, 0, NATIVE_FUNCTIONS - 1) || !in_range(s->operand, 0, NATIVE_OPERANDS - 1)) return 0;
    if (!(s->low <= s->high) || !operand_is_sound(s, network) || !scale_is_sound(s, floats)) return 0;
    switch (s->kind) {
    case NATIVE_WINOGRAD:
    case NATIVE_DIRECT:
    case NATIVE_DEPTHWISE: return convolution_is_sound(s, network->weights_bytes);
    case NATIVE_CONNECTED: return connected_is_sound(s, network->weights_bytes);
    case NATIVE_MAX_POOL:
    case NATIVE_AVERAGE_POOL:
        return window_is_sound(s) && s->dilation_y == 1 && s->dilation_x == 1 && s->input.channels == s->output.channels && s->operand == NATIVE_NONE;
    case NATIVE_GLOBAL_AVERAGE:
        return s->output.height == 1 && s->output.width == 1 && s->input.channels == s->output.channels && s->operand == NATIVE_NONE;
    case NATIVE_ADD:
    case NATIVE_MULTIPLY: return same_shape(&s->input, &s->output) && s->operand != NATIVE_NONE;
    case NATIVE_APPLY: return same_shape(&s->input, &s->output) && s->operand == NATIVE_NONE;
    default: return 0;
    }
}
