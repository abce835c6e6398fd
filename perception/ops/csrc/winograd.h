// Convolutions of 3 x 3 pixels by fewer products: what their files share.
//
// Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016): a tile of
// m x n outputs is what m + 2 x n + 2 products of transformed inputs and weights are transformed to, where it took
// 9 m n. Of each of those places a matrix product over channels is left, which the inner loops of sparse convolution do.
#pragma once

#include <cstdint>

namespace bevfuse::winograd {

// Maps (N, height, width, channels) in memory, and the tiles of outputs that they are cut into: all of the first map's,
// row by row, then the next one's.
struct Maps {
    int64_t count, height, width, channels;       // of the inputs
    int64_t out_height, out_width, out_channels;  // of the outputs
    int64_t top, left;                            // rows and columns of zeros around the inputs
};

struct Epilogue {
    const float* bias;  // (out_channels,) or null
    float least, most;  // what sums are cut off to
};

// Both for `tiles` tiles from the first on. A place's rows follow each other, places begin `pitch` elements apart.
// `zeros` is a row of `channels` of them.
using Into = void (*)(const Maps& maps, const void* inputs, const void* zeros, int64_t first, int64_t tiles,
                      int64_t pitch, void* rows);
using Back = void (*)(const Maps& maps, const float* sums, int64_t stride, int64_t pitch, int64_t first, int64_t tiles,
                      const Epilogue& epilogue, void* outputs);

// One way to cut and transform.
struct Way {
    int64_t down, across;  // outputs a tile
    Into into;             // inputs to transformed rows, of the same type
    Back back;             // sums to outputs

    int64_t places() const { return (down + 2) * (across + 2); }
};

struct Ways {
    Way of_float, of_bf16;
};

}  // namespace bevfuse::winograd
