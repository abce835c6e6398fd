// BEV pooling: a cell's sum over its frustum points, and the way back, a pixel at a time.
//
// Channels are held in registers, 16 floats wide, while all points of a cell (or depths of a pixel) are gone through.
// Each cell and each pixel is one thread's, from its first point to its last: sums don't depend on their number.
#include <algorithm>
#include <cstring>

#include "bev.h"
#include "common.h"
#include "isa.h"

namespace bevfuse {
namespace {

constexpr int LANES = 16;
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

#define ALWAYS_INLINE inline __attribute__((always_inline))

// `BLOCKS` x 16 channels of one cell: the sum of depth[point] * features[row].
template <int BLOCKS>
ALWAYS_INLINE void sum_cell(const float* features, const float* depth, const int32_t* points, const int32_t* rows,
                            int64_t first, int64_t end, int64_t channels, float* out) {
    Lanes sums[BLOCKS] = {};
    for (int64_t k = first; k < end; ++k) {
        const float weight = depth[points[k]];
        const Lanes* row = reinterpret_cast<const Lanes*>(features + rows[k] * channels);
        for (int b = 0; b < BLOCKS; ++b) sums[b] += weight * row[b];
    }
    std::memcpy(out, sums, sizeof(sums));
}

ALWAYS_INLINE void sum_rest(const float* features, const float* depth, const int32_t* points, const int32_t* rows,
                            int64_t first, int64_t end, int64_t channels, int64_t from, float* out) {
    for (int64_t c = from; c < channels; ++c) out[c] = 0;
    for (int64_t k = first; k < end; ++k) {
        const float weight = depth[points[k]];
        const float* row = features + rows[k] * channels;
        for (int64_t c = from; c < channels; ++c) out[c] += weight * row[c];
    }
}

ALWAYS_INLINE void sum_cells(const float* features, const float* depth, const int32_t* points, const int32_t* rows,
                             const int32_t* order, const int64_t* offsets, int64_t i, int64_t end, int64_t channels,
                             float* out) {
    for (; i < end; ++i) {
        const int64_t first = offsets[i], last = offsets[i + 1];
        float* sums = out + order[i] * channels;
        int64_t c = 0;
        for (; c + 5 * LANES <= channels; c += 5 * LANES) {
            sum_cell<5>(features + c, depth, points, rows, first, last, channels, sums + c);
        }
        for (; c + 4 * LANES <= channels; c += 4 * LANES) {
            sum_cell<4>(features + c, depth, points, rows, first, last, channels, sums + c);
        }
        for (; c + LANES <= channels; c += LANES) {
            sum_cell<1>(features + c, depth, points, rows, first, last, channels, sums + c);
        }
        if (c < channels) sum_rest(features, depth, points, rows, first, last, channels, c, sums);
    }
}

ALWAYS_INLINE float total(const Lanes& lanes) {
    float sum = 0;
    for (int i = 0; i < LANES; ++i) sum += lanes[i];
    return sum;
}

// One pixel and `BLOCKS` x 16 channels: its feature's gradient, and what these channels add to its depths' gradients.
template <int BLOCKS>
ALWAYS_INLINE void pixel_back(const float* gradient, const float* features, const float* depth, const int32_t* cells,
                              int64_t depths, int64_t channels, float* of_features, float* of_depth) {
    Lanes own[BLOCKS], sums[BLOCKS] = {};
    std::memcpy(own, features, sizeof(own));
    for (int64_t d = 0; d < depths; ++d) {
        if (cells[d] < 0) continue;
        const Lanes* row = reinterpret_cast<const Lanes*>(gradient + cells[d] * channels);
        if (d + 4 < depths && cells[d + 4] >= 0) {
            for (int b = 0; b < BLOCKS; ++b) __builtin_prefetch(gradient + cells[d + 4] * channels + b * LANES);
        }
        Lanes products = {};
        for (int b = 0; b < BLOCKS; ++b) {
            sums[b] += depth[d] * row[b];
            products += own[b] * row[b];
        }
        of_depth[d] += total(products);
    }
    std::memcpy(of_features, sums, sizeof(sums));
}

ALWAYS_INLINE void pixels_back(const float* gradient, const float* features, const float* depth, const int32_t* cells,
                               const Images& images, int64_t i, int64_t end, int64_t depths, int64_t channels,
                               float* of_features, float* of_depth) {
    for (; i < end; ++i) {
        const int64_t pixel = images.pixel(i);
        const float *f = features + pixel * channels, *w = depth + pixel * depths;
        const int32_t* at = cells + pixel * depths;
        float *gf = of_features + pixel * channels, *gw = of_depth + pixel * depths;
        std::fill_n(gw, depths, 0.0f);
        int64_t c = 0;
        for (; c + 5 * LANES <= channels; c += 5 * LANES) {
            pixel_back<5>(gradient + c, f + c, w, at, depths, channels, gf + c, gw);
        }
        for (; c + 4 * LANES <= channels; c += 4 * LANES) {
            pixel_back<4>(gradient + c, f + c, w, at, depths, channels, gf + c, gw);
        }
        for (; c + LANES <= channels; c += LANES) {
            pixel_back<1>(gradient + c, f + c, w, at, depths, channels, gf + c, gw);
        }
        for (; c < channels; ++c) {
            float sum = 0;
            for (int64_t d = 0; d < depths; ++d) {
                if (at[d] < 0) continue;
                const float g = gradient[at[d] * channels + c];
                sum += w[d] * g;
                gw[d] += f[c] * g;
            }
            gf[c] = sum;
        }
    }
}

#define CELLS_ARGUMENTS                                                                                                \
    const float *features, const float *depth, const int32_t *points, const int32_t *rows, const int32_t *order,       \
        const int64_t *offsets, int64_t first, int64_t end, int64_t channels, float *out
#define PIXELS_ARGUMENTS                                                                                               \
    const float *gradient, const float *features, const float *depth, const int32_t *cells,                            \
        const Images &images, int64_t first, int64_t end, int64_t depths, int64_t channels, float *of_features,        \
        float *of_depth
#define VERSION(name, target)                                                                                          \
    target void cells_##name(CELLS_ARGUMENTS) {                                                                        \
        sum_cells(features, depth, points, rows, order, offsets, first, end, channels, out);                           \
    }                                                                                                                  \
    target void pixels_##name(PIXELS_ARGUMENTS) {                                                                      \
        pixels_back(gradient, features, depth, cells, images, first, end, depths, channels, of_features, of_depth);    \
    }

VERSION(baseline, )
#if defined(__x86_64__)
VERSION(avx2, __attribute__((target("avx2,fma"))))
VERSION(avx512, __attribute__((target("avx2,fma,avx512f,avx512dq,avx512vl" BEVFUSE_WHOLE_VECTORS))))
#endif

using Cells = void (*)(CELLS_ARGUMENTS);
using Pixels = void (*)(PIXELS_ARGUMENTS);

Cells best_cells() {
#if defined(__x86_64__)
    if (best_isa() >= Isa::avx512) return cells_avx512;
    if (best_isa() == Isa::avx2) return cells_avx2;
#endif
    return cells_baseline;
}

Pixels best_pixels() {
#if defined(__x86_64__)
    if (best_isa() >= Isa::avx512) return pixels_avx512;
    if (best_isa() == Isa::avx2) return pixels_avx2;
#endif
    return pixels_baseline;
}

}  // namespace
}  // namespace bevfuse

// features (P, channels), depth (P * D), points (K) into depth and rows (K) into features, by cell; order (cells), which
// cell comes when, and offsets (cells + 1), where its points start -> out (cells, channels), every element written.
BEVFUSE_EXPORT int bevfuse_bev_pool(const float* features, const float* depth, const int32_t* points,
                                    const int32_t* rows, const int32_t* order, const int64_t* offsets, int64_t cells,
                                    int64_t channels, float* out, int threads) {
    const auto run = bevfuse::best_cells();
    bevfuse::expect_whole(out, cells * channels * static_cast<int64_t>(sizeof(float)));
    bevfuse::share(threads, cells, 512, [&](int64_t first, int64_t end) {
        run(features, depth, points, rows, order, offsets, first, end, channels, out);
    });
    return 0;
}

// gradient (cells, channels) of the pooled map, cells (P, depths) of the frustum points, below 0 for none -> the
// gradients of features (P, channels) and depth (P, depths), every element written.
BEVFUSE_EXPORT int bevfuse_bev_pool_backward(const float* gradient, const float* features, const float* depth,
                                             const int32_t* cells, const bevfuse::Images* images, int64_t pixels,
                                             int64_t depths, int64_t channels, float* of_features, float* of_depth,
                                             int threads) {
    const auto run = bevfuse::best_pixels();
    bevfuse::expect_whole(of_features, pixels * channels * static_cast<int64_t>(sizeof(float)));
    bevfuse::expect_whole(of_depth, pixels * depths * static_cast<int64_t>(sizeof(float)));
    bevfuse::share(threads, pixels, 64, [&](int64_t first, int64_t end) {
        run(gradient, features, depth, cells, *images, first, end, depths, channels, of_features, of_depth);
    });
    return 0;
}
