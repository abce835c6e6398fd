// The points around each of many boxes, in the boxes' own axes.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <vector>

#include "common.h"
#include "squares.h"

namespace bevfuse {
namespace {

constexpr double OLDEST_S = 1e3;  // ages beyond are not believed, or a box's reach would have no end

// Numbers of a box, in the order of perception/ops/surroundings.py.
struct Box {
    double x, y, z, cosine, sine, vx, vy, half_length, half_width, half_height, bottom;
};

// A point in a box's axes, moved on as the box has since; whether it is inside.
inline bool place(const float* point, const Box& box, float* local) {
    const double age = point[4];
    const double x = point[0] + box.vx * age - box.x, y = point[1] + box.vy * age - box.y, z = point[2] - box.z;
    const double along = x * box.cosine + y * box.sine, across = y * box.cosine - x * box.sine;
    if (!(std::fabs(along) < box.half_length && std::fabs(across) < box.half_width)) return false;
    if (!(std::fabs(z) < box.half_height && z > box.bottom)) return false;
    local[0] = static_cast<float>(along);
    local[1] = static_cast<float>(across);
    local[2] = static_cast<float>(z);
    local[3] = point[3];
    local[4] = point[4];
    return true;
}

// Rows of the points inside, ascending.
inline void find(const float* points, const Squares& squares, const Box& box, double age, std::vector<int64_t>& rows) {
    const double reach = std::hypot(box.half_length, box.half_width) + age * std::hypot(box.vx, box.vy);
    float local[5];
    rows.clear();
    squares.around(box.x, box.y, reach, reach, [&](int64_t row) {
        if (place(points + 5 * row, box, local)) rows.push_back(row);
    });
    std::sort(rows.begin(), rows.end());
}

// Those points, or as many as `most` of them, in the box's axes.
inline int64_t draw(const float* points, const std::vector<int64_t>& rows, const Box& box, int64_t most, float* seen) {
    const int64_t there = static_cast<int64_t>(rows.size()), count = std::min(there, most);
    for (int64_t i = 0; i < count; ++i) place(points + 5 * rows[i * there / count], box, seen + 5 * i);
    return count;
}

inline double oldest(const float* points, int64_t count) {
    float age = 0;  // GCC 12 for aarch64 fails to vectorise this in double
    for (int64_t i = 0; i < count; ++i) age = std::fmax(age, std::fabs(points[5 * i + 4]));
    return std::fmin(static_cast<double>(age), OLDEST_S);
}

}  // namespace
}  // namespace bevfuse

// points (N, 5), x, y, z, intensity, age; boxes (K, 11), see perception/ops/surroundings.py -> seen (K, most, 5), which
// start as zeros, and counts (K). Of more points than `most`, those evenly spread over their order. A point with a NaN
// is nowhere. Returns 1 where there is no memory for its work.
BEVFUSE_EXPORT int bevfuse_surroundings(const float* points, int64_t count, const double* boxes, int64_t number,
                                        int64_t most, float* seen, int64_t* counts, int threads) try {
    const bevfuse::Squares squares(points, count);
    const double age = bevfuse::oldest(points, count);
    std::atomic<bool> no_memory{false};  // an exception must not leave a thread
    bevfuse::share(threads, number, 1, [&](int64_t first, int64_t end) {
        try {
            std::vector<int64_t> inside;
            for (int64_t k = first; k < end; ++k) {
                const auto& box = reinterpret_cast<const bevfuse::Box*>(boxes)[k];
                bevfuse::find(points, squares, box, age, inside);
                counts[k] = bevfuse::draw(points, inside, box, most, seen + k * most * 5);
            }
        } catch (const std::bad_alloc&) {
            no_memory = true;
        }
    });
    return no_memory ? 1 : 0;
} catch (const std::bad_alloc&) {
    return 1;
}
