// Non-maximum suppression: of boxes that lie on one another the best stays. Rows come best first.
#include <cmath>

#include "common.h"
#include "isa.h"

namespace bevfuse {
namespace {

struct Point {
    double x, y;
};

struct Rectangle {
    Point center, corners[4];  // counter-clockwise
    double area, reach;        // from the centre to a corner
};

Rectangle rectangle_of(const double* box) {
    const double length = box[2], width = box[3], c = std::cos(box[4]), s = std::sin(box[4]);
    Rectangle r{{box[0], box[1]}, {}, length * width, std::hypot(length, width) / 2};
    const double along[4] = {1, -1, -1, 1}, across[4] = {1, 1, -1, -1};
    for (int i = 0; i < 4; ++i) {
        const double a = along[i] * length / 2, b = across[i] * width / 2;
        r.corners[i] = {box[0] + a * c - b * s, box[1] + a * s + b * c};
    }
    return r;
}

// Area of what two rectangles share: one is cut along each side of the other (Sutherland and Hodgman, 1974).
double shared_area(const Rectangle& a, const Rectangle& b) {
    // At most 8 corners, by mathematics; where rounding bends a side, four cuts may make 4 corners 6, 9, 13 and 19.
    Point polygon[19], cut[19];
    int corners = 4;
    for (int i = 0; i < 4; ++i) polygon[i] = a.corners[i];
    for (int side = 0; side < 4 && corners; ++side) {
        const Point from = b.corners[side], to = b.corners[(side + 1) % 4];
        int kept = 0;
        for (int i = 0; i < corners; ++i) {
            const Point p = polygon[i], q = polygon[(i + 1) % corners];
            const double left_p = (to.x - from.x) * (p.y - from.y) - (to.y - from.y) * (p.x - from.x);
            const double left_q = (to.x - from.x) * (q.y - from.y) - (to.y - from.y) * (q.x - from.x);
            if (left_p >= 0) cut[kept++] = p;
            if ((left_p > 0 && left_q < 0) || (left_p < 0 && left_q > 0)) {
                const double t = left_p / (left_p - left_q);
                cut[kept++] = {p.x + t * (q.x - p.x), p.y + t * (q.y - p.y)};
            }
        }
        corners = kept;
        for (int i = 0; i < kept; ++i) polygon[i] = cut[i];
    }
    double twice = 0;
    for (int i = 0; i < corners; ++i) {
        const Point p = polygon[i], q = polygon[(i + 1) % corners];
        twice += (p.x - polygon[0].x) * (q.y - polygon[0].y) - (q.x - polygon[0].x) * (p.y - polygon[0].y);
    }
    return twice > 0 ? twice / 2 : 0;
}

bool overlap_more(const Rectangle& a, const Rectangle& b, double threshold) {
    const double shared = shared_area(a, b), both = a.area + b.area - shared;
    return both > 0 && shared / both > threshold;
}

// Whether the circles around two rectangles overlap; if not, nor do they.
inline bool near(const Rectangle& a, double x, double y, double reach) {
    const double dx = a.center.x - x, dy = a.center.y - y, both = a.reach + reach;
    return dx * dx + dy * dy < both * both;
}

#define ANY_NEAR const Rectangle &a, const double *x, const double *y, const double *reach, int64_t count

// Whether any of `count` rectangles is near; without a branch.
bool any_near_baseline(ANY_NEAR) {
    int64_t any = 0;
    for (int64_t k = 0; k < count; ++k) any |= near(a, x[k], y[k], reach[k]);
    return any != 0;
}

#if defined(__x86_64__)
typedef double Lanes __attribute__((vector_size(32), aligned(8), may_alias));
typedef int64_t Flags __attribute__((vector_size(32)));

// Without FMA, which would round otherwise than near().
__attribute__((target("avx2"))) bool any_near_avx2(ANY_NEAR) {
    Flags flags{};
    int64_t k = 0;
    for (; k + 4 <= count; k += 4) {
        const Lanes dx = a.center.x - *reinterpret_cast<const Lanes*>(x + k);
        const Lanes dy = a.center.y - *reinterpret_cast<const Lanes*>(y + k);
        const Lanes both = a.reach + *reinterpret_cast<const Lanes*>(reach + k);
        flags |= dx * dx + dy * dy < both * both;
    }
    return (flags[0] | flags[1] | flags[2] | flags[3]) || any_near_baseline(a, x + k, y + k, reach + k, count - k);
}
#endif

bool (*best_any_near())(ANY_NEAR) {
#if defined(__x86_64__)
    if (best_isa() >= Isa::avx2) return any_near_avx2;
#endif
    return any_near_baseline;
}

}  // namespace
}  // namespace bevfuse

// centers (N, 2) -> kept: rows, each farther than `radius` from all before it; returns how many, at most `limit`.
BEVFUSE_EXPORT int64_t bevfuse_circle_nms(const float* centers, int64_t count, float radius, int64_t limit,
                                          int64_t* kept) {
    int64_t found = 0;
    for (int64_t i = 0; i < count && found < limit; ++i) {
        bool free = true;
        for (int64_t k = 0; k < found && free; ++k) {
            const float dx = centers[2 * i] - centers[2 * kept[k]], dy = centers[2 * i + 1] - centers[2 * kept[k] + 1];
            const float xx = dx * dx, yy = dy * dy;
            free = !(std::sqrt(xx + yy) <= radius);
        }
        if (free) kept[found++] = i;
    }
    return found;
}

// boxes (N, 5): x, y, length, width, yaw -> kept: rows whose intersection over union with none before exceeds the
// threshold, which is 0 or more; returns how many, at most `limit`. scratch holds N * bevfuse_rectangle_bytes() bytes.
BEVFUSE_EXPORT int64_t bevfuse_rotated_nms(const double* boxes, int64_t count, double threshold, int64_t limit,
                                           void* scratch, int64_t* kept) {
    // Most pairs are far apart: centres and reaches lie close together, to be compared by vectors.
    auto* rectangles = static_cast<bevfuse::Rectangle*>(scratch);
    double *x = reinterpret_cast<double*>(rectangles + count), *y = x + count, *reach = y + count;
    const auto any_near = bevfuse::best_any_near();
    int64_t found = 0;
    for (int64_t i = 0; i < count && found < limit; ++i) {
        const bevfuse::Rectangle own = bevfuse::rectangle_of(boxes + 5 * i);
        bool free = true;
        for (int64_t first = 0; first < found && free; first += 64) {
            const int64_t end = first + 64 < found ? first + 64 : found;
            if (!any_near(own, x + first, y + first, reach + first, end - first)) continue;
            for (int64_t k = first; k < end && free; ++k) {
                free = !(bevfuse::near(own, x[k], y[k], reach[k]) &&
                         bevfuse::overlap_more(own, rectangles[k], threshold));
            }
        }
        if (!free) continue;
        rectangles[found] = own;
        x[found] = own.center.x, y[found] = own.center.y, reach[found] = own.reach;
        kept[found++] = i;
    }
    return found;
}

// What rotated suppression needs for each box.
BEVFUSE_EXPORT int64_t bevfuse_rectangle_bytes() { return sizeof(bevfuse::Rectangle) + 3 * sizeof(double); }
