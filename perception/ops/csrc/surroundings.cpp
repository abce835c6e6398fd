// The points around each of many boxes, in the boxes' own axes.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <vector>

#include "common.h"
#include "rectangles.h"

namespace bevfuse {
namespace {

constexpr double OLDEST_S = 1e3;  // ages beyond are not believed, or a box's reach would have no end

// Numbers of a box, in the order of perception/ops/surroundings.py.
struct Box {
    double x, y, z, cosine, sine, vx, vy, half_length, half_width, half_height, bottom;
};

struct Ages {
    double youngest, oldest;
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

// Where a box's points were at such ages: the box, and how far it came meanwhile, along its length and across.
inline Rectangle reach_of(const Box& box, const Ages& ages) {
    const double middle = (ages.youngest + ages.oldest) / 2, half = (ages.oldest - ages.youngest) / 2;
    return {box.x - box.vx * middle,
            box.y - box.vy * middle,
            box.cosine,
            box.sine,
            box.half_length + half * std::fabs(box.vx * box.cosine + box.vy * box.sine),
            box.half_width + half * std::fabs(box.vy * box.cosine - box.vx * box.sine),
            box.z + box.bottom};
}

// Those points, or as many as `most` of them, in the box's axes.
inline int64_t draw(const float* points, const std::vector<int64_t>& rows, const Box& box, int64_t most, float* seen) {
    const int64_t there = static_cast<int64_t>(rows.size()), count = std::min(there, most);
    for (int64_t i = 0; i < count; ++i) place(points + 5 * rows[i * there / count], box, seen + 5 * i);
    return count;
}

inline Ages ages_of(const float* points, int64_t count) {
    float youngest = 0, oldest = 0;  // GCC 12 for aarch64 fails to vectorise this in double
    for (int64_t i = 0; i < count; ++i) {
        const float age = points[5 * i + 4];
        youngest = age < youngest ? age : youngest;  // what isn't a number is neither
        oldest = age > oldest ? age : oldest;
    }
    return {std::fmax(youngest, -OLDEST_S), std::fmin(oldest, OLDEST_S)};
}

}  // namespace
}  // namespace bevfuse

// points (N, 5), x, y, z, intensity, age; boxes (K, 11), see perception/ops/surroundings.py -> seen (K, most, 5), which
// start as zeros, and counts (K). Of more points than `most`, those evenly spread over their order. A point with a NaN
// is nowhere. Returns 1 where there is no memory for its work.
BEVFUSE_EXPORT int bevfuse_surroundings(const float* points, int64_t count, const double* boxes, int64_t number,
                                        int64_t most, float* seen, int64_t* counts, int threads) try {
    const auto* all = reinterpret_cast<const bevfuse::Box*>(boxes);
    const bevfuse::Ages ages = bevfuse::ages_of(points, count);
    const bevfuse::Rectangles reached(number, [&](int64_t k) { return bevfuse::reach_of(all[k], ages); });
    std::atomic<bool> no_memory{false};  // an exception must not leave a thread
    // Every thread sees the whole cloud, and looks for points of its boxes.
    bevfuse::share(threads, number, (number + threads - 1) / threads, [&](int64_t first, int64_t end) {
        try {
            std::vector<std::vector<int64_t>> inside(end - first);
            float local[5];
            for (int64_t row = 0; row < count; ++row) {
                const float* point = points + 5 * row;
                reached.under(point, [&](int64_t k) {
                    if (k >= first && k < end && bevfuse::place(point, all[k], local)) inside[k - first].push_back(row);
                });
            }
            for (int64_t k = first; k < end; ++k) {
                counts[k] = bevfuse::draw(points, inside[k - first], all[k], most, seen + k * most * 5);
            }
        } catch (const std::bad_alloc&) {
            no_memory = true;
        }
    });
    return no_memory ? 1 : 0;
} catch (const std::bad_alloc&) {
    return 1;
}
