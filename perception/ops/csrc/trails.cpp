// How many points lie at each place of each of many ways, by age and height.
#include <algorithm>
#include <cmath>
#include <new>

#include "common.h"
#include "rectangles.h"

namespace bevfuse {
namespace {

struct Layout {
    double span_s, above_m, over_m, cell_m;
    int64_t spans, layers, cells;
};

inline void count_point(const float* point, const double* way, const Layout& layout, uint8_t* trail) {
    const double x = point[0] - way[0], y = point[1] - way[1], c = way[4], s = way[5];
    const double along = x * c + y * s, across = y * c - x * s, above = point[2] - way[2];
    if (!(std::fabs(across) < way[6] && std::fabs(along) < way[7])) return;
    if (!(above > layout.above_m && above < way[3] + layout.over_m)) return;
    // Compared as numbers before they are integers: what is too large for one is nowhere.
    const double span = std::nearbyint(point[4] / layout.span_s), place = std::floor(along / layout.cell_m);
    const double half = static_cast<double>(layout.cells / 2);
    if (!(span >= 0 && span < static_cast<double>(layout.spans))) return;
    if (!(place >= -half && place < static_cast<double>(layout.cells) - half)) return;
    const double layer = std::floor(above / way[3] * static_cast<double>(layout.layers));
    const int64_t inner = layer > 0 ? static_cast<int64_t>(std::fmin(layer, layout.layers - 1)) : 0;
    const int64_t row = static_cast<int64_t>(span) * layout.layers + inner;
    uint8_t& cell = trail[row * layout.cells + static_cast<int64_t>(place) + layout.cells / 2];
    if (cell < 255) ++cell;
}

}  // namespace
}  // namespace bevfuse

// points (N, 5), x, y, z, intensity, age; ways (K, 8), see perception/ops/trails.py; numbers: span_s, above, over, cell
// -> counts (K, spans * layers, cells), which start as zeros and end at 255. A point with a NaN is nowhere. Returns 1
// where there is no memory for its work.
BEVFUSE_EXPORT int bevfuse_trails(const float* points, int64_t count, const double* ways, int64_t number,
                                  const double* numbers, int64_t spans, int64_t layers, int64_t cells, uint8_t* counts,
                                  int threads) try {
    const bevfuse::Layout layout{numbers[0], numbers[1], numbers[2], numbers[3], spans, layers, cells};
    const bevfuse::Rectangles all(number, [&](int64_t w) {
        const double* way = ways + 8 * w;
        return bevfuse::Rectangle{way[0], way[1], way[4], way[5], way[7], way[6], way[2] + layout.above_m};
    });
    // Every thread sees the whole cloud, and counts on its ways.
    bevfuse::share(threads, number, (number + threads - 1) / threads, [&](int64_t first, int64_t end) {
        for (const float* point = points; point < points + 5 * count; point += 5) {
            all.under(point, [&](int64_t w) {
                if (w < first || w >= end) return;
                bevfuse::count_point(point, ways + 8 * w, layout, counts + w * spans * layers * cells);
            });
        }
    });
    return 0;
} catch (const std::bad_alloc&) {
    return 1;
}
