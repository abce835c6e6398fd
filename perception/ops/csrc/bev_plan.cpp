// The frustum points by their cells: a counting sort. Cells come in the order in which a scan over the pixels meets them.
#include "bev.h"
#include "common.h"

using bevfuse::Images;

// cells (pixels, depths), below 0 for none, at least one depth -> order (count), the cells as they are met, those without
// a point last; offsets (count + 1), where the points of each of them will start; next (count), the same by cell. Returns
// how many points there are in all, or -1 if one's cell isn't below `count`.
BEVFUSE_EXPORT int64_t bevfuse_bev_count(const int64_t* cells, int64_t pixels, int64_t depths, const Images* images,
                                         int64_t count, int32_t* order, int64_t* offsets, int64_t* next) {
    for (int64_t cell = 0; cell < count; ++cell) next[cell] = 0;
    int64_t met = 0;
    for (int64_t i = 0; i < pixels; ++i) {
        const int64_t* at = cells + images->pixel(i) * depths;
        for (int64_t d = 0; d < depths; ++d) {
            if (at[d] >= count) return -1;
            if (at[d] >= 0 && next[at[d]]++ == 0) order[met++] = static_cast<int32_t>(at[d]);
        }
    }
    for (int64_t cell = 0; met < count; ++cell) {
        if (next[cell] == 0) order[met++] = static_cast<int32_t>(cell);
    }
    offsets[0] = 0;
    for (int64_t i = 0; i < count; ++i) {
        offsets[i + 1] = offsets[i] + next[order[i]];
        next[order[i]] = offsets[i];
    }
    return offsets[count];
}

// cells as above; next, where each cell's points start, is changed -> points, indices into (pixels, depths), and rows,
// their pixels, both as many as were counted.
BEVFUSE_EXPORT int bevfuse_bev_sort(const int64_t* cells, int64_t pixels, int64_t depths, const Images* images,
                                    int64_t* next, int32_t* points, int32_t* rows) {
    for (int64_t i = 0; i < pixels; ++i) {
        const int64_t pixel = images->pixel(i), first = pixel * depths;
        for (int64_t k = first; k < first + depths; ++k) {
            if (cells[k] < 0) continue;
            const int64_t place = next[cells[k]]++;
            points[place] = static_cast<int32_t>(k);
            rows[place] = static_cast<int32_t>(pixel);
        }
    }
    return 0;
}
