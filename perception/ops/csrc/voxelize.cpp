// Points to voxels, in the order in which voxels get their first point.
#include "common.h"

namespace bevfuse {
namespace {

// The finaliser of Steele, Lea and Flood's SplitMix64 (OOPSLA 2014): neighbouring keys go to far places.
inline uint64_t scrambled(uint64_t key) {
    key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9ull;
    key = (key ^ (key >> 27)) * 0x94d049bb133111ebull;
    return key ^ (key >> 31);
}

}  // namespace
}  // namespace bevfuse

// points (N, columns), x, y, z first -> keys (N): each point's linear cell, below 0 for those outside and for NaNs.
BEVFUSE_EXPORT int bevfuse_voxel_keys(const float* points, int64_t count, int64_t columns, const float* lower,
                                      const float* voxel, const int64_t* size, int64_t* keys, int threads) {
    bevfuse::share(threads, count, 16384, [&](int64_t first, int64_t end) {
        for (int64_t i = first; i < end; ++i) {
            int64_t key = 0;
            bool inside = true;
            for (int axis = 0; axis < 3; ++axis) {
                const float place = (points[i * columns + axis] - lower[axis]) / voxel[axis];
                // Compared as a float: what is too large for an integer, and NaN, is not in the grid. What is in it is
                // rounded down by being made an integer; rounding as such is a call of a function on old processors.
                const bool in = place >= 0 && place < static_cast<float>(size[axis]);
                const int64_t cell = in ? static_cast<int64_t>(place) : 0;
                inside = inside && in && cell < size[axis];
                key = key * size[axis] + cell;
            }
            keys[i] = inside ? key : -1;
        }
    });
    return 0;
}

// keys (N) -> voxel_of (N): numbers of voxels in the order of their first points, below 0 for none; and keys_of_voxels
// (N at most). table has a power of two entries, more than voxels there may be, all -1. Only `most` voxels are made;
// returns how many were.
BEVFUSE_EXPORT int64_t bevfuse_number_voxels(const int64_t* keys, int64_t count, int64_t most, int32_t* table,
                                             int64_t entries, int32_t* voxel_of, int64_t* keys_of_voxels) {
    const uint64_t mask = static_cast<uint64_t>(entries) - 1;
    int64_t voxels = 0;
    for (int64_t i = 0; i < count; ++i) {
        if (i + 16 < count && keys[i + 16] >= 0) __builtin_prefetch(table + (bevfuse::scrambled(keys[i + 16]) & mask));
        const int64_t key = keys[i];
        voxel_of[i] = -1;
        if (key < 0) continue;
        uint64_t slot = bevfuse::scrambled(key) & mask;
        while (table[slot] >= 0 && keys_of_voxels[table[slot]] != key) slot = (slot + 1) & mask;
        if (table[slot] < 0) {
            if (voxels == most) continue;
            table[slot] = static_cast<int32_t>(voxels);
            keys_of_voxels[voxels++] = key;
        }
        voxel_of[i] = table[slot];
    }
    return voxels;
}

// The mean of the first `most` points of each voxel, and if there are edges (ascending, of spans of the last column) the
// share of these points in each span -> means (voxels, columns + edges + 1, or columns), counts (voxels); both start as
// zeros. A number at an edge is in the span below it, and what isn't a number in the last.
BEVFUSE_EXPORT int bevfuse_voxel_means(const float* points, int64_t count, int64_t columns, const int32_t* voxel_of,
                                       int64_t voxels, int64_t most, const float* edges, int64_t number, float* means,
                                       int32_t* counts) {
    const int64_t wide = columns + (number > 0 ? number + 1 : 0);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t voxel = voxel_of[i];
        if (voxel < 0 || counts[voxel] >= most) continue;
        ++counts[voxel];
        float* mean = means + voxel * wide;
        for (int64_t c = 0; c < columns; ++c) mean[c] += points[i * columns + c];
        if (number == 0) continue;
        int64_t span = 0;
        for (int64_t e = 0; e < number; ++e) span += !(points[i * columns + columns - 1] <= edges[e]);
        mean[columns + span] += 1;
    }
    for (int64_t v = 0; v < voxels; ++v) {
        const float points_of_voxel = static_cast<float>(counts[v]);
        for (int64_t c = 0; c < wide; ++c) means[v * wide + c] /= points_of_voxel;
    }
    return 0;
}

// points (N, columns), x, y, z first -> those strictly inside the bounds, in their order, to `inside` (N, columns).
// Returns how many they are.
BEVFUSE_EXPORT int64_t bevfuse_points_inside(const float* points, int64_t count, int64_t columns, const float* lower,
                                             const float* upper, float* inside) {
    int64_t found = 0;
    for (int64_t i = 0; i < count; ++i) {
        const float* point = points + i * columns;
        bool in = true;
        for (int axis = 0; axis < 3; ++axis) in = in & (point[axis] > lower[axis]) & (point[axis] < upper[axis]);
        for (int64_t c = 0; c < columns; ++c) inside[found * columns + c] = point[c];  // overwritten if it isn't
        found += in;
    }
    return found;
}
