// Sparse convolution: what its files share.
//
// A rulebook (Graham and van der Maaten, "Submanifold Sparse Convolutional Networks", 2017) lists, for each kernel
// offset, which input voxel feeds which output voxel. Here it is cut into tiles of output voxels that are neighbours in
// space: a tile's sums stay in the cache while all offsets are added to it, no two threads ever write the same row, and
// a sum's order of terms is fixed, whatever the number of threads.
#pragma once

#include <cstdint>

#include "attention.h"
#include "bottleneck.h"
#include "isa.h"
#include "pixels.h"
#include "rows.h"
#include "sparse_index.h"
#include "straight.h"
#include "winograd.h"

namespace bevfuse::sparse {

// A rulebook in Python's memory. Positions count the output voxels in the order of the tiles.
struct Rules {
    int64_t outputs;          // voxels
    int64_t offsets;          // of the kernel
    int64_t tile_rows;        // output voxels a tile; the last tile may have fewer
    const int64_t* starts;    // (tiles * offsets + 1,), where the pairs of a tile's offset begin
    const int32_t* sources;   // (pairs,), rows of the input
    const uint16_t* targets;  // (pairs,), positions within the tile; none twice in one tile's offset
    const int32_t* order;     // (outputs,), row of the output at each position, or null: the same

    int64_t tiles() const { return (outputs + tile_rows - 1) / tile_rows; }
    int64_t rows_in(int64_t tile) const {
        const int64_t left = outputs - tile * tile_rows;
        return left < tile_rows ? left : tile_rows;
    }
    int64_t row(int64_t position) const { return order ? order[position] : position; }
};

// What is done to a sum before it is stored: y = relu(sum * scale + shift + residual), each part where it is given.
struct Epilogue {
    const float* scale;    // (channels,) or null
    const float* shift;    // (channels,) or null
    const void* residual;  // (outputs, channels) of the output's type, or null
    int32_t relu;
    int32_t bf16;  // the output's type: bfloat16, else float
};

// Where a kernel looks for input voxels.
struct Windows {
    const VoxelIndex* index;    // of the input
    const int32_t* rows;        // row of the input at each rank, or null: the same
    const int64_t* coordinates; // (outputs, 4), of the output, by position
    int64_t kernel[3];
    int64_t step[3];            // input voxels an output voxel
    int64_t before[3];          // input voxels from the window's start to output voxel 0
};

// One tile's pairs: a list an offset. Lists begin `pitch` apart, which is ROOM more than a tile has rows: a list is
// written by whole vectors.
struct TilePairs {
    static constexpr int64_t ROOM = 16;
    int64_t pitch;
    int32_t* sources;   // (offsets, pitch)
    uint16_t* targets;  // (offsets, pitch)
    int32_t* counts;    // (offsets,)
};

constexpr int64_t OUTER_PAIRS = 64;  // taken together: their rows fit the first-level cache

constexpr int64_t TILE_STATE = 64;  // bytes that say how tiles of AMX are laid out

// sums[target] += features[source] @ weight, for each pair. features (*, cin), sums (*, cout) with cout padded.
template <class T>
using Multiply = void (*)(const T* features, const int32_t* sources, const uint16_t* targets, int64_t count,
                          const T* weight, int64_t cin, int64_t cout, float* sums);

// Products of bf16 by whole tiles.
struct Tiles {
    int64_t depth;                // weights' input channels are filled up to a multiple of this, with zeros
    void (*enter)(void* before);  // before the first product of a thread; writes TILE_STATE bytes for leave
    Multiply<uint16_t> multiply;  // any cin; null where the processor can't
    // products (count, cout) = rows (count, cin) @ weight, for rows that follow each other, after `lay` for their cin,
    // which stands until the next one: in between `multiply` can't be used.
    void (*lay)(int64_t cin);
    void (*product)(const uint16_t* rows, int64_t count, const uint16_t* weight, int64_t cin, int64_t cout,
                    float* products);
    void (*leave)(const void* before);  // leaves the tiles to others, such as oneDNN, as it found them
};

// The inner loops, compiled once for each instruction set; those of other headers are here as well, for they are
// compiled with them and mostly multiply by the same blocks.
//
// Weights are packed by panels of at most `panel` output channels, a multiple of `width`: panel, input channel, output
// channel. With bf16 two input channels stay together: panel, pair of input channels, output channel, which of the two.
struct Kernels {
    int64_t width;  // floats in a vector
    int64_t panel;

    Multiply<float> multiply;
    Multiply<uint16_t> multiply_bf16;  // cin even; null where the processor can't
    // sums (cin, columns) += the features' rows transposed @ the gradient's, for each pair. features (*, cin), gradient
    // (*, cout) of which a panel's first column is given, and how many of its columns there are; in sums they are
    // padded to whole vectors. `workspace` is for OUTER_PAIRS * (cin + panel) floats.
    void (*outer)(const float* features, const int32_t* sources, const float* gradient, const int32_t* targets,
                  int64_t count, int64_t cin, int64_t cout, int64_t columns, float* workspace, float* sums);
    // One tile's sums (*, stride) to rows of `out` (*, channels).
    void (*finish)(const float* sums, int64_t stride, int64_t channels, const Rules& rules, int64_t tile,
                   const Epilogue& epilogue, void* out);
    // The pairs of the outputs at positions first..first + count - 1.
    void (*find_pairs)(const Windows& windows, int64_t first, int64_t count, const TilePairs& found);
    winograd::Ways winograd;
    attention::Ways attention;
    bottleneck::Ways bottleneck;
    rows::Ways rows;
    straight::Ways straight;
    pixels::Ways pixels;
    Tiles tiles;
};

const Kernels& baseline_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();
#if defined(BEVFUSE_AMX)
const Kernels& amx_kernels();
#endif
#endif

// Those for the best instruction set of this processor.
inline const Kernels& kernels() {
#if defined(__x86_64__)
    switch (best_isa()) {
#if defined(BEVFUSE_AMX)
        case Isa::amx: return amx_kernels();
#endif
        case Isa::avx512_bf16: return avx512_bf16_kernels();
        case Isa::avx512: return avx512_kernels();
        case Isa::avx2: return avx2_kernels();
        default: break;
    }
#endif
    return baseline_kernels();
}

}  // namespace bevfuse::sparse
