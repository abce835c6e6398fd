// Convolutions of images as they are decoded: what their files share.
//
// The first layer of a network sees three channels, which its products can't fill, after all pixels were made numbers
// about zero. Here a row of pixels becomes such numbers right before what an output sees of it is laid side by side.
#pragma once

#include <cstdint>

#include "rows.h"

namespace bevfuse::pixels {

constexpr int64_t CHANNELS = 3;

// Images (count, height, width, 3) of bytes -> maps (count, out_height, out_width, out_channels).
struct Shape {
    int64_t count, height, width, out_height, out_width, out_channels;
    int64_t kernel, stride;
    int64_t top, left;  // rows and columns of zeros before the first

    int64_t columns() const { return (out_width - 1) * stride + kernel; }  // that outputs see, zeros included
    int64_t depth() const { return (kernel * kernel * CHANNELS + 1) / 2 * 2; }  // of a row of what an output sees
};

// A row of `count` bytes, each times its channel's scale and plus its shift, (count,) both.
using Converted = void (*)(const uint8_t* bytes, int64_t count, const float* scale, const float* shift, void* to);

struct Ways {
    Converted to_float, to_bf16;
};

}  // namespace bevfuse::pixels
