// Non-maximum suppression: of boxes that lie on one another the best stays. Rows come best first.
#include <cmath>

#include "common.h"

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
    Point polygon[16], cut[16];
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
    const double dx = a.center.x - b.center.x, dy = a.center.y - b.center.y, reach = a.reach + b.reach;
    if (dx * dx + dy * dy >= reach * reach) return 0 > threshold;
    const double shared = shared_area(a, b), both = a.area + b.area - shared;
    return both > 0 && shared / both > threshold;
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
// threshold; returns how many, at most `limit`. scratch holds N * bevfuse_rectangle_bytes() bytes.
BEVFUSE_EXPORT int64_t bevfuse_rotated_nms(const double* boxes, int64_t count, double threshold, int64_t limit,
                                           void* scratch, int64_t* kept) {
    auto* rectangles = static_cast<bevfuse::Rectangle*>(scratch);
    int64_t found = 0;
    for (int64_t i = 0; i < count && found < limit; ++i) {
        rectangles[found] = bevfuse::rectangle_of(boxes + 5 * i);
        bool free = true;
        for (int64_t k = 0; k < found && free; ++k) {
            free = !bevfuse::overlap_more(rectangles[found], rectangles[k], threshold);
        }
        if (free) kept[found++] = i;
    }
    return found;
}

BEVFUSE_EXPORT int64_t bevfuse_rectangle_bytes() { return sizeof(bevfuse::Rectangle); }
