// Sparse convolution: what its files share.
//
// A rulebook (Graham and van der Maaten, "Submanifold Sparse Convolutional Networks", 2017) lists, for each kernel
// offset, which input voxel feeds which output voxel. Here it is cut into tiles of output voxels that are neighbours in
// space: a tile's sums stay in the cache while all offsets are added to it, no two threads ever write the same row, and
// a sum's order of terms is fixed, whatever the number of threads.
#pragma once

#include <cstdint>

#include "isa.h"
#include "sparse_index.h"

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
    const int64_t* coordinates; // (outputs, 4), of the output
    const int32_t* order;       // as in Rules
    int64_t kernel[3];
    int64_t step[3];            // input voxels an output voxel
    int64_t before[3];          // input voxels from the window's start to output voxel 0
};

// One tile's pairs, an offset after the other.
struct TilePairs {
    int32_t* sources;   // (offsets, tile_rows)
    uint16_t* targets;  // (offsets, tile_rows)
    int32_t* counts;    // (offsets,)
};

// The inner loops, compiled once for each instruction set.
//
// Weights are packed by panels of at most `panel` output channels, a multiple of `width`: panel, input channel, output
// channel. With bf16 two input channels stay together: panel, pair of input channels, output channel, which of the two.
struct Kernels {
    int64_t width;  // floats in a vector
    int64_t panel;

    // sums[target] += features[source] @ weight, for each pair. features (*, cin), sums (*, cout) with cout padded.
    void (*multiply)(const float* features, const int32_t* sources, const uint16_t* targets, int64_t count,
                     const float* weight, int64_t cin, int64_t cout, float* sums);
    // The same in bf16, cin even; null where the processor can't.
    void (*multiply_bf16)(const uint16_t* features, const int32_t* sources, const uint16_t* targets, int64_t count,
                          const uint16_t* weight, int64_t cin, int64_t cout, float* sums);
    // sums += left^T @ right. left (count, rows), right (count, columns), sums (rows, columns), columns padded and at
    // most a panel.
    void (*outer)(const float* left, const float* right, int64_t count, int64_t rows, int64_t columns, float* sums);
    // One tile's sums (*, stride) to rows of `out` (*, channels).
    void (*finish)(float* sums, int64_t stride, int64_t channels, const Rules& rules, int64_t tile,
                   const Epilogue& epilogue, void* out);
    void (*find_pairs)(const Windows& windows, int64_t first, int64_t count, int64_t tile_rows, const TilePairs& found);
};

const Kernels& baseline_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();
#endif

// Those for the best instruction set of this processor.
inline const Kernels& kernels() {
#if defined(__x86_64__)
    switch (best_isa()) {
        case Isa::avx512_bf16: return avx512_bf16_kernels();
        case Isa::avx512: return avx512_kernels();
        case Isa::avx2: return avx2_kernels();
        default: break;
    }
#endif
    return baseline_kernels();
}

}  // namespace bevfuse::sparse
