// The inner loops that an instruction set needs whole, around those of sparse_blocks.h, which says how to include this.

#include "sparse_blocks.h"

TARGET static void multiply(const float* features, const int32_t* sources, const uint16_t* targets, int64_t count,
                            const float* weight, int64_t cin, int64_t cout, float* sums) {
    multiply_as<Float>(features, sources, targets, count, weight, cin, cout, sums);
}

// sums (R, columns) += left[:, :R]^T @ right.
template <int R, int C>
INLINE void outer_block(const float* left, int64_t rows, const float* right, int64_t count, float* sums) {
    Vector sum[R][C];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[r][c] = reinterpret_cast<const Vector*>(sums)[r * C + c];
    }
    for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) {
                sum[r][c] += left[i * rows + r] * reinterpret_cast<const Vector*>(right)[i * C + c];
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) reinterpret_cast<Vector*>(sums)[r * C + c] = sum[r][c];
    }
}

template <int R, int C>
TARGET static void outer_remaining(int64_t left_rows, const float* left, int64_t rows, const float* right,
                                   int64_t count, float* sums) {
    if constexpr (R > 0) {
        if (left_rows == R) outer_block<R, C>(left, rows, right, count, sums);
        else outer_remaining<R - 1, C>(left_rows, left, rows, right, count, sums);
    }
}

template <int C>
TARGET static void outer_panel(const float* left, const float* right, int64_t count, int64_t rows, float* sums) {
    constexpr int R = ROWS(C);
    int64_t row = 0;
    for (; row + R <= rows; row += R) outer_block<R, C>(left + row, rows, right, count, sums + row * C * WIDTH);
    outer_remaining<R - 1, C>(rows - row, left + row, rows, right, count, sums + row * C * WIDTH);
}

template <int C, class... Rest>
INLINE void outer_panel_of(int64_t vectors, const Rest&... rest) {
    if constexpr (C > 1) {
        if (vectors < C) return outer_panel_of<C - 1>(vectors, rest...);
    }
    outer_panel<C>(rest...);
}

TARGET static void outer(const float* left, const float* right, int64_t count, int64_t rows, int64_t columns,
                         float* sums) {
    outer_panel_of<VECTORS>(columns / WIDTH, left, right, count, rows, sums);
}

INLINE float widened(uint16_t value) {
    const uint32_t bits = static_cast<uint32_t>(value) << 16;
    float result;
    __builtin_memcpy(&result, &bits, 4);
    return result;
}

// To the nearest, ties to even; what isn't a number stays so.
INLINE uint16_t narrowed(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
}

TARGET static void finish(float* sums, int64_t stride, int64_t channels, const Rules& rules, int64_t tile,
                          const Epilogue& epilogue, void* out) {
    const int64_t rows = rules.rows_in(tile);
    for (int64_t i = 0; i < rows; ++i) {
        float* __restrict sum = sums + i * stride;
        const int64_t place = rules.row(tile * rules.tile_rows + i) * channels;
        const float* __restrict scale = epilogue.scale;
        const float* __restrict shift = epilogue.shift;
        if (scale && shift) {
            for (int64_t c = 0; c < channels; ++c) sum[c] = sum[c] * scale[c] + shift[c];
        } else if (scale) {
            for (int64_t c = 0; c < channels; ++c) sum[c] *= scale[c];
        } else if (shift) {
            for (int64_t c = 0; c < channels; ++c) sum[c] += shift[c];
        }
        if (epilogue.residual && epilogue.bf16) {
            const uint16_t* __restrict residual = static_cast<const uint16_t*>(epilogue.residual) + place;
            for (int64_t c = 0; c < channels; ++c) sum[c] += widened(residual[c]);
        } else if (epilogue.residual) {
            const float* __restrict residual = static_cast<const float*>(epilogue.residual) + place;
            for (int64_t c = 0; c < channels; ++c) sum[c] += residual[c];
        }
        if (epilogue.relu) {
            for (int64_t c = 0; c < channels; ++c) sum[c] = sum[c] < 0 ? 0 : sum[c];
        }
        if (epilogue.bf16) {
            uint16_t* __restrict to = static_cast<uint16_t*>(out) + place;
            for (int64_t c = 0; c < channels; ++c) to[c] = narrowed(sum[c]);
        } else {
            float* __restrict to = static_cast<float*>(out) + place;
            for (int64_t c = 0; c < channels; ++c) to[c] = sum[c];
        }
    }
}

// A kernel's voxels along z lie side by side in the index, so that one look finds all of a column.
TARGET static void find_pairs(const Windows& windows, int64_t first, int64_t count, int64_t tile_rows,
                              const TilePairs& found) {
    const VoxelIndex& index = *windows.index;
    const int64_t* size = index.grid().size;
    const int64_t* kernel = windows.kernel;
    for (int64_t i = 0; i < kernel[0] * kernel[1] * kernel[2]; ++i) found.counts[i] = 0;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t row = windows.order ? windows.order[first + i] : first + i;
        const int64_t* place = windows.coordinates + 4 * row;
        int64_t start[3], from[3], to[3];  // the window, and the part of it that is inside the grid
        for (int axis = 0; axis < 3; ++axis) {
            start[axis] = place[axis + 1] * windows.step[axis] - windows.before[axis];
            from[axis] = start[axis] < 0 ? -start[axis] : 0;
            to[axis] = size[axis] - start[axis] < kernel[axis] ? size[axis] - start[axis] : kernel[axis];
        }
        for (int64_t dx = from[0]; dx < to[0]; ++dx) {
            for (int64_t dy = from[1]; dy < to[1]; ++dy) {
                const int64_t offset = (dx * kernel[1] + dy) * kernel[2];
                const int64_t key = index.grid().key(place[0], start[0] + dx, start[1] + dy, start[2]);
                for (int64_t dz = from[2]; dz < to[2]; dz += 32) {
                    int32_t rank = 0;
                    uint64_t there = index.look(key + dz, to[2] - dz < 32 ? to[2] - dz : 32, rank);
                    for (; there; there &= there - 1, ++rank) {
                        const int64_t o = offset + dz + __builtin_ctzll(there);
                        const int64_t slot = o * tile_rows + found.counts[o]++;
                        found.sources[slot] = windows.rows ? windows.rows[rank] : rank;
                        found.targets[slot] = static_cast<uint16_t>(i);
                    }
                }
            }
        }
    }
}
