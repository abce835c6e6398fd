// Which cell of a map each point of the cameras' frustums falls into.
//
// Cells are cut off, so that one rounding more or less moves a point to the next cell: each step rounds as torch's does,
// one after the other, and none is contracted to a multiplication and addition with a single rounding.

#include <algorithm>

#include "common.h"
#include "isa.h"

#if !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace bevfuse::frustum {

struct Frustums {
    int64_t images, pixels, depths;  // pixels an image, depths a pixel
    const float* pixel;              // (images, pixels, 2), u and v before augmentation
    const float* depth;              // (depths,)
    const float* along;              // (images, 3, 3), by rows: a point is u * depth, v * depth and depth times a column,
    const float* origin;             // (images, 3), from here
    const int64_t* frame;            // (images,), whose map it falls into
    float lower[3], step[3];         // of the map; along z it has one cell
    int64_t size[2];
};

namespace {

// A product, rounded. Clang heeds no pragma where the command line allows contraction; it gets something opaque.
inline __attribute__((always_inline)) float product(float a, float b) {
    float rounded = a * b;
#if defined(__clang__) && defined(__x86_64__)
    asm("" : "+x"(rounded));
#elif defined(__clang__) && defined(__aarch64__)
    asm("" : "+w"(rounded));
#endif
    return rounded;
}

inline __attribute__((always_inline)) void find(const Frustums& f, int64_t image, int64_t pixel, int64_t* cells) {
    const float u = f.pixel[(image * f.pixels + pixel) * 2], v = f.pixel[(image * f.pixels + pixel) * 2 + 1];
    const float* along = f.along + image * 9;
    const float* origin = f.origin + image * 3;
    const float size_x = static_cast<float>(f.size[0]), size_y = static_cast<float>(f.size[1]);
    const int32_t width = static_cast<int32_t>(f.size[1]);
    const int64_t first = f.frame[image] * f.size[0] * f.size[1];
    constexpr int64_t TOGETHER = 64;
    for (int64_t start = 0; start < f.depths; start += TOGETHER) {
        const int64_t count = std::min(TOGETHER, f.depths - start);
        int32_t found[TOGETHER];
        for (int64_t d = 0; d < count; ++d) {
            const float depth = f.depth[start + d], along_u = product(u, depth), along_v = product(v, depth);
            float place[3];
            for (int axis = 0; axis < 3; ++axis) {
                float point = product(along_u, along[axis * 3]);
                point = point + product(along_v, along[axis * 3 + 1]);
                point = point + product(depth, along[axis * 3 + 2]);
                point = point + origin[axis];
                place[axis] = (point - f.lower[axis]) / f.step[axis];
            }
            // Cut off towards zero, what is above -1 is in cell 0; what isn't a number is in none.
            const bool inside = (place[0] > -1.0f) & (place[0] < size_x) & (place[1] > -1.0f) & (place[1] < size_y) &
                                (place[2] > -1.0f) & (place[2] < 1.0f);
            const float x = inside ? place[0] : 0.0f, y = inside ? place[1] : 0.0f;
            const int32_t cell = static_cast<int32_t>(x) * width + static_cast<int32_t>(y);
            found[d] = inside ? cell : -1;
        }
        for (int64_t d = 0; d < count; ++d) cells[start + d] = found[d] < 0 ? -1 : first + found[d];
    }
}

using Find = void (*)(const Frustums& f, int64_t image, int64_t pixel, int64_t* cells);

void find_plainly(const Frustums& f, int64_t image, int64_t pixel, int64_t* cells) { find(f, image, pixel, cells); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void find_avx2(const Frustums& f, int64_t image, int64_t pixel, int64_t* cells) {
    find(f, image, pixel, cells);
}
#endif

Find best() {
#if defined(__x86_64__)
    if (best_isa() >= Isa::avx2) return find_avx2;
#endif
    return find_plainly;
}

}  // namespace
}  // namespace bevfuse::frustum

// cells (images, pixels, depths): the flat cell (frame, x, y) of each point, or -1. A map has less than 2^31 cells.
BEVFUSE_EXPORT int bevfuse_frustum_cells(const bevfuse::frustum::Frustums* frustums, int64_t* cells, int threads) {
    const auto find = bevfuse::frustum::best();
    const auto& f = *frustums;
    bevfuse::share(threads, f.images * f.pixels, 512, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) find(f, i / f.pixels, i % f.pixels, cells + i * f.depths);
    });
    return 0;
}
