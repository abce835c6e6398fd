// Inverted bottlenecks: what their files share.
//
// Such a block widens a pixel's channels, convolves each of the wide ones on its own, and narrows them again (Sandler et
// al., "MobileNetV2", CVPR 2018). Layer by layer most of the time goes into carrying the wide map, six times as large as
// the narrow one, to memory and back. Here a strip of rows goes through all three while its wide part is in the cache.
#pragma once

#include <cstdint>

#include "rows.h"

namespace bevfuse::bottleneck {

// Maps (count, height, width, channels) in memory. `inner`, the wide channels, are a multiple of 16.
struct Shape {
    int64_t count, height, width, channels;
    int64_t inner;
    int64_t out_height, out_width, out_channels;
    int64_t kernel, stride;  // of the convolution in the middle; the stride is 1 or 2
    int64_t top, left;       // rows and columns of zeros before the first

    // What outputs in so many rows or columns see of the input, zeros included.
    int64_t seen(int64_t outputs) const { return (outputs - 1) * stride + kernel; }
};

constexpr float MOST = 6.0f;  // of the activation, ReLU6

// A strip of a group of wide channels: a plane for each vector of them, (vectors, rows, columns, floats of a vector).
struct Strip {
    float* wide;
    int64_t rows, columns;
};

// All for a group of `channels`, and a strip whose first row is `row` of the map, which may lie above it.

// Zeros at the places outside the map.
using Cleared = void (*)(const Shape& shape, int64_t channels, int64_t row, const Strip& strip);
// Products (count, channels) for pixels from `pixel` of the map on, with the bias added and activated, to their places.
using Widened = void (*)(const Shape& shape, const float* products, int64_t channels, const float* bias, int64_t pixel,
                         int64_t count, int64_t row, const Strip& strip);
// The map's own pixels, (height * width, inner) from the group on, as they are.
using Taken = void (*)(const Shape& shape, const void* inputs, int64_t channels, int64_t pixel, int64_t count,
                       int64_t row, const Strip& strip);
// `rows` rows of outputs, activated: (rows, out_width, inner) from the group on, as is weight (kernel * kernel, inner).
using Convolved = void (*)(const Shape& shape, const Strip& strip, int64_t channels, int64_t rows, const float* weight,
                           const float* bias, void* out);

struct Way {
    Taken taken;
    Convolved convolved;
    rows::Finished narrowed;
};

struct Ways {
    Cleared cleared;
    Widened widened;
    Way of_float, of_bf16;  // by the type of inputs and outputs
};

}  // namespace bevfuse::bottleneck
