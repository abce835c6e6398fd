// Attention within windows of a map: what its files share.
#pragma once

#include <cstdint>

namespace bevfuse::attention {

// Maps of tokens, and the windows in each, all of one size. A token's row holds q, k and v, each head by head.
struct Windows {
    int64_t images, tokens, windows;  // of an image the last two
    int64_t area;                     // places in a window
    int64_t heads, width;             // numbers of a head, a multiple of 16
    const int32_t* there;             // (windows, area), the token at each place, or -1: padding
    int64_t keys;                     // as many, filled up to a multiple of 16
    const float* regions;             // (windows, keys) or null; places see those of the same number only
    const float* bias;                // (heads, area, keys), what is added to logits: -1e30 where they are filled up
};

constexpr float UNSEEN = -100.0f;  // added to logits of other regions

// One window: qkv (images, tokens, 3 * heads * width), padding (3 * heads * width,), out (images, tokens, heads * width).
using Attend = void (*)(const Windows& windows, const void* qkv, const void* padding, int64_t image, int64_t window,
                        float* workspace, void* out);

// Floats of a workspace, which begins at a cache line.
inline int64_t workspace_of(const Windows& windows) {
    const int64_t rows = windows.area * windows.width;
    return 3 * rows + windows.keys * (windows.width + windows.area) + windows.area * 3;
}

struct Ways {
    Attend of_float, of_bf16;  // by the type of qkv, padding and out
};

}  // namespace bevfuse::attention
