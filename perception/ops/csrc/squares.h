// Points sorted into squares of the ground, so that whoever looks for those around a place needn't see all of them.
#pragma once

#include <cstdint>
#include <vector>

namespace bevfuse {

struct Squares {
    static constexpr int64_t SIDE = 48;      // squares along each axis,
    static constexpr double SQUARE_M = 3.0;  // of this size, around the origin; what is beyond belongs to those at the edge

    std::vector<int64_t> starts, rows;

    // points (N, 5), x and y first
    Squares(const float* points, int64_t count) : starts(SIDE * SIDE + 1), rows(count) {
        std::vector<int32_t> of(count);
        for (int64_t i = 0; i < count; ++i) {
            of[i] = static_cast<int32_t>(number(points[5 * i]) * SIDE + number(points[5 * i + 1]));
            ++starts[of[i] + 1];
        }
        for (int64_t k = 0; k < SIDE * SIDE; ++k) starts[k + 1] += starts[k];
        std::vector<int64_t> next(starts.begin(), starts.end() - 1);
        for (int64_t i = 0; i < count; ++i) rows[next[of[i]]++] = i;
    }

    // Calls `look(row)` for all points within `reach_x` and `reach_y` of a place, and for some beyond.
    template <typename Look>
    void around(double x, double y, double reach_x, double reach_y, Look look) const {
        const int64_t low = number(y - reach_y), high = number(y + reach_y), right = number(x + reach_x);
        for (int64_t column = number(x - reach_x); low <= high && column <= right; ++column) {
            const int64_t until = starts[column * SIDE + high + 1];
            for (int64_t k = starts[column * SIDE + low]; k < until; ++k) look(rows[k]);
        }
    }

   private:
    static int64_t number(double place) {
        const double square = place / SQUARE_M + SIDE / 2;
        if (!(square > 0)) return 0;  // NaN too has one
        return square < SIDE ? static_cast<int64_t>(square) : SIDE - 1;
    }
};

}  // namespace bevfuse
