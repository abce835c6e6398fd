// Over which of many rectangles a point may be, without asking each: the ground is cut into squares, and each knows the
// rectangles that reach into it, and from which height on. Most of a cloud's points lie in squares that none does, or
// on the road.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace bevfuse {

struct Rectangle {
    double x, y, cosine, sine;       // its middle [m] and the direction of its length
    double half_length, half_width;  // [m]
    double bottom;                   // points must be higher [m]
};

class Rectangles {
   public:
    template <class Each>
    Rectangles(int64_t count, const Each& each) : starts_(SIDE * SIDE + 1), lowest_(SIDE * SIDE, INFINITY) {
        for (int64_t i = 0; i < count; ++i) {
            const Rectangle one = each(i);
            const float bottom = std::nextafter(static_cast<float>(one.bottom), -INFINITY);
            reached(one, [&](int64_t square) {
                ++starts_[square + 1];
                lowest_[square] = std::fmin(lowest_[square], bottom);
            });
        }
        for (int64_t k = 0; k < SIDE * SIDE; ++k) starts_[k + 1] += starts_[k];
        rows_.resize(starts_.back());
        std::vector<int32_t> next(starts_.begin(), starts_.end() - 1);
        for (int64_t i = 0; i < count; ++i) {
            reached(each(i), [&](int64_t square) { rows_[next[square]++] = static_cast<int32_t>(i); });
        }
    }

    // Calls look(i), ascending, for all rectangles that a point (x, y, z) is over, and for some that are near.
    template <class Look>
    void under(const float* point, const Look& look) const {
        const int64_t square = number(point[0]) * SIDE + number(point[1]);
        if (!(point[2] > lowest_[square])) return;
        for (int32_t k = starts_[square]; k < starts_[square + 1]; ++k) look(rows_[k]);
    }

   private:
    static constexpr int64_t SIDE = 64;     // squares along each axis,
    static constexpr float SQUARE_M = 2.0;  // of this size, around the origin; what is beyond belongs to those at the edge

    static int64_t number(float place) {
        const float square = place / SQUARE_M + SIDE / 2;
        if (!(square > 0)) return 0;  // NaN too has one
        return square < SIDE ? static_cast<int64_t>(square) : SIDE - 1;
    }

    template <class Reached>
    static void reached(const Rectangle& one, const Reached& reached) {
        constexpr double CORNER_M = SQUARE_M * 0.7072, ROUNDED = 1e-3;
        const double c = std::fabs(one.cosine), s = std::fabs(one.sine);
        const double reach_x = c * one.half_length + s * one.half_width + ROUNDED;
        const double reach_y = s * one.half_length + c * one.half_width + ROUNDED;
        const int64_t left = below(one.x - reach_x), right = above(one.x + reach_x);
        const int64_t low = below(one.y - reach_y), high = above(one.y + reach_y);
        for (int64_t column = left; column <= right; ++column) {
            for (int64_t row = low; row <= high; ++row) {
                const double x = (column - SIDE / 2 + 0.5) * SQUARE_M - one.x, y = (row - SIDE / 2 + 0.5) * SQUARE_M - one.y;
                const double along = std::fabs(x * one.cosine + y * one.sine);
                const double across = std::fabs(y * one.cosine - x * one.sine);
                const bool inner = column > 0 && column < SIDE - 1 && row > 0 && row < SIDE - 1;
                const bool far = along > one.half_length + CORNER_M || across > one.half_width + CORNER_M;
                if (!(inner && far)) reached(column * SIDE + row);
            }
        }
    }

    // Squares of a place that floats may have rounded; of one that isn't a number all.
    static int64_t below(double place) { return std::isnan(place) ? 0 : number(static_cast<float>(place) - 1e-3f); }
    static int64_t above(double place) { return std::isnan(place) ? SIDE - 1 : number(static_cast<float>(place) + 1e-3f); }

    std::vector<int32_t> starts_, rows_;
    std::vector<float> lowest_;
};

}  // namespace bevfuse
