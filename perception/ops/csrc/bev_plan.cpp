// The frustum points by their cells, in the order they come: a counting sort.
#include "common.h"

// cells (points), below 0 for none -> offsets (count + 1), where each cell's points will start. Returns how many points
// there are in all, or -1 if one's cell isn't below `count`.
BEVFUSE_EXPORT int64_t bevfuse_bev_count(const int64_t* cells, int64_t points, int64_t count, int64_t* offsets) {
    for (int64_t cell = 0; cell <= count; ++cell) offsets[cell] = 0;
    for (int64_t i = 0; i < points; ++i) {
        if (cells[i] >= count) return -1;
        if (cells[i] >= 0) ++offsets[cells[i] + 1];
    }
    for (int64_t cell = 0; cell < count; ++cell) offsets[cell + 1] += offsets[cell];
    return offsets[count];
}

// cells (pixels, depths) as above; next (count), where each cell's points start, is changed -> points, indices into
// (pixels, depths), and rows, their pixels, both as many as were counted.
BEVFUSE_EXPORT int bevfuse_bev_sort(const int64_t* cells, int64_t pixels, int64_t depths, int64_t* next,
                                    int32_t* points, int32_t* rows) {
    for (int64_t pixel = 0, i = 0; pixel < pixels; ++pixel) {
        for (const int64_t end = i + depths; i < end; ++i) {
            if (cells[i] < 0) continue;
            const int64_t place = next[cells[i]]++;
            points[place] = static_cast<int32_t>(i);
            rows[place] = static_cast<int32_t>(pixel);
        }
    }
    return 0;
}
