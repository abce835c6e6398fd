// The inner loops that an instruction set needs whole, around those of blocks.h, which says how to include this.

#include "blocks.h"

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
        for (int c = 0; c < C; ++c) sum[r][c] = reinterpret_cast<const Aligned*>(sums)[r * C + c];
    }
    for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) {
                sum[r][c] += left[i * rows + r] * reinterpret_cast<const Aligned*>(right)[i * C + c];
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) reinterpret_cast<Aligned*>(sums)[r * C + c] = sum[r][c];
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

// Rows of `channels` values, padded with zeros to `stride`, one after the other.
INLINE void gather(const float* from, const int32_t* rows, int64_t count, int64_t pitch, int64_t channels,
                   int64_t stride, float* to) {
    constexpr int64_t AHEAD = 8;
    for (int64_t i = 0; i < count; ++i, to += stride) {
        const float* row = from + rows[i] * pitch;
        if (i + AHEAD < count) prefetch(from + rows[i + AHEAD] * pitch, channels * sizeof(float));
        for (int64_t c = 0; c < channels; c += WIDTH) store(to + c, load(row + c, channels - c), stride - c);
    }
}

TARGET static void outer(const float* features, const int32_t* sources, const float* gradient, const int32_t* targets,
                         int64_t count, int64_t cin, int64_t cout, int64_t columns, float* workspace, float* sums) {
    const int64_t vectors = (columns + WIDTH - 1) / WIDTH;
    float* left = workspace;
    float* right = workspace + (OUTER_PAIRS * cin + 15) / 16 * 16;
    for (int64_t i = 0; i < count; i += OUTER_PAIRS) {
        const int64_t n = count - i < OUTER_PAIRS ? count - i : OUTER_PAIRS;
        gather(features, sources + i, n, cin, cin, cin, left);
        gather(gradient, targets + i, n, cout, columns, vectors * WIDTH, right);
        outer_panel_of<VECTORS>(vectors, left, right, n, cin, sums);
    }
}

template <class Stored>
INLINE void finish_as(const float* sums, int64_t stride, int64_t channels, const Rules& rules, int64_t tile,
                      const Epilogue& epilogue, const Stored* residual, Stored* out) {
    constexpr int64_t AHEAD = 8;
    const int64_t rows = rules.rows_in(tile), first = tile * rules.tile_rows;
    for (int64_t i = 0; i < rows; ++i) {
        const int64_t place = rules.row(first + i) * channels;
        if (rules.order && i + AHEAD < rows) {
            const int64_t next = rules.row(first + i + AHEAD) * channels;
            if (residual) prefetch(residual + next, channels * sizeof(Stored));
            prefetch(out + next, channels * sizeof(Stored));
        }
        for (int64_t c = 0; c < channels; c += WIDTH) {
            const int64_t left = channels - c;
            Vector sum = *reinterpret_cast<const Aligned*>(sums + i * stride + c);
            if (epilogue.scale) sum *= load(epilogue.scale + c, left);
            if (epilogue.shift) sum += load(epilogue.shift + c, left);
            if (residual) sum += load(residual + place + c, left);
            if (epilogue.relu) sum = sum < 0 ? Vector{} : sum;
            store(out + place + c, sum, left);
        }
    }
}

TARGET static void finish(const float* sums, int64_t stride, int64_t channels, const Rules& rules, int64_t tile,
                          const Epilogue& epilogue, void* out) {
    if (epilogue.bf16) {
        finish_as(sums, stride, channels, rules, tile, epilogue, static_cast<const uint16_t*>(epilogue.residual),
                  static_cast<uint16_t*>(out));
    } else {
        finish_as(sums, stride, channels, rules, tile, epilogue, static_cast<const float*>(epilogue.residual),
                  static_cast<float*>(out));
    }
}

// The part of an output voxel's window that is looked at together; it may be outside the grid along x and y.
struct Window {
    int64_t x, y, key;  // where it starts
    uint32_t mask;      // a bit a voxel along z that is inside the grid and in the window
    int32_t skipped;    // voxels along z below the grid, in front of the mask
};

// For each window, which voxels of one of its columns are there, and the rank of the first that is.
template <bool DENSE>
TARGET static void look(const VoxelIndex::View<DENSE> index, const int64_t* size, const Window* windows, int64_t count,
                        int64_t dx, int64_t dy, int depth, uint32_t* seen, int32_t* ranks) {
    const uint64_t size_x = size[0], size_y = size[1];
    const int64_t ahead = (dx * size[1] + dy) * size[2];
    for (int64_t i = 0; i < count; ++i) {
        const Window& window = windows[i];
        uint32_t found = 0;
        int32_t rank = 0;
        if (static_cast<uint64_t>(window.x + dx) < size_x && static_cast<uint64_t>(window.y + dy) < size_y &&
            window.mask) {
            found = (static_cast<uint32_t>(index.look(window.key + ahead, depth, rank)) & window.mask)
                    << window.skipped;
        }
        seen[i] = found;
        ranks[i] = rank;
    }
}

#if !defined(OWN_PICK)
// The pairs of tile rows first..first + count - 1 for the offsets along a column. Without a branch: nobody could
// predict which voxels are there.
TARGET static void pick(const uint32_t* seen, int32_t* ranks, int64_t first, int64_t count, int64_t depth,
                        const TilePairs& found) {
    for (int64_t bit = 0; bit < depth; ++bit) {
        int32_t* __restrict sources = found.sources + bit * found.pitch;
        uint16_t* __restrict targets = found.targets + bit * found.pitch;
        int64_t n = found.counts[bit];
        for (int64_t i = 0; i < count; ++i) {
            const int32_t there = static_cast<int32_t>(seen[i] >> bit & 1);
            sources[n] = ranks[i];
            targets[n] = static_cast<uint16_t>(first + i);
            ranks[i] += there;
            n += there;
        }
        found.counts[bit] = static_cast<int32_t>(n);
    }
}
#endif

// The voxels of a column of the kernel lie side by side in the index, so that one look finds them all.
TARGET static void find_pairs(const Windows& windows, int64_t first, int64_t count, const TilePairs& found) {
    constexpr int64_t CHUNK = 256, DEEPEST = 32;
    const int64_t* kernel = windows.kernel;
    const int64_t* size = windows.index->grid().size;
    const int64_t offsets = kernel[0] * kernel[1] * kernel[2];
    for (int64_t i = 0; i < offsets; ++i) found.counts[i] = 0;
    Window at[CHUNK];
    uint32_t seen[CHUNK] = {};
    int32_t ranks[CHUNK] = {};
    for (int64_t done = 0; done < count; done += CHUNK) {
        const int64_t n = count - done < CHUNK ? count - done : CHUNK;
        for (int64_t i = n; i < CHUNK; ++i) seen[i] = 0;  // where pick() takes whole vectors
        for (int64_t dz = 0; dz < kernel[2]; dz += DEEPEST) {
            const int64_t depth = kernel[2] - dz < DEEPEST ? kernel[2] - dz : DEEPEST;
            for (int64_t i = 0; i < n; ++i) {
                const int64_t* place = windows.coordinates + 4 * (first + done + i);
                int64_t start[3];
                for (int axis = 0; axis < 3; ++axis) {
                    start[axis] = place[axis + 1] * windows.step[axis] - windows.before[axis];
                }
                const int64_t z = start[2] + dz, from = z < 0 ? -z : 0, to = size[2] - z < depth ? size[2] - z : depth;
                const uint32_t mask = from < to ? static_cast<uint32_t>((uint64_t{1} << (to - from)) - 1) : 0;
                at[i] = {start[0], start[1], windows.index->grid().key(place[0], start[0], start[1], z + from), mask,
                         mask ? static_cast<int32_t>(from) : 0};
            }
            for (int64_t dx = 0; dx < kernel[0]; ++dx) {
                for (int64_t dy = 0; dy < kernel[1]; ++dy) {
                    const int deep = static_cast<int>(depth);
                    if (windows.index->dense()) {
                        look(windows.index->view<true>(), size, at, n, dx, dy, deep, seen, ranks);
                    } else {
                        look(windows.index->view<false>(), size, at, n, dx, dy, deep, seen, ranks);
                    }
                    const int64_t offset = (dx * kernel[1] + dy) * kernel[2] + dz;
                    pick(seen, ranks, done, n, depth,
                         {found.pitch, found.sources + offset * found.pitch, found.targets + offset * found.pitch,
                          found.counts + offset});
                }
            }
        }
    }
    if (!windows.rows) return;
    for (int64_t o = 0; o < offsets; ++o) {
        int32_t* sources = found.sources + o * found.pitch;
        for (int64_t i = 0; i < found.counts[o]; ++i) sources[i] = windows.rows[sources[i]];
    }
}
