// Numbers rounded to eight bits, and how large they are.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "common.h"

// One loop, compiled for each width of registers; the loader takes the best.
#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
#define BEVFUSE_EACH_WIDTH __attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#else
#define BEVFUSE_EACH_WIDTH
#endif

namespace bevfuse {
namespace {

constexpr int64_t PIECE = int64_t{1} << 16, LANES = 32;

inline float number(float x) { return x; }

inline float number(uint16_t bits) {  // bfloat16: the upper half of a float
    const uint32_t whole = static_cast<uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &whole, sizeof x);
    return x;
}

// A NaN becomes 0.
template <class Number>
inline void quantise(const Number* x, int64_t count, float steps, float zero, uint8_t* out) {
    for (int64_t i = 0; i < count; ++i) {
        const float y = std::nearbyint(number(x[i]) * steps) + zero;
        out[i] = static_cast<uint8_t>(static_cast<int>(y > 0 ? (y < 255 ? y : 255.0f) : 0.0f));
    }
}

// What is finite among some numbers: the least and the largest, 0 included, how many aren't 0, and their squares' sum.
struct Extent {
    double least = 0, most = 0, count = 0, squares = 0;
};

// Lane by lane, so that all are looked at at once; within a piece, floats are exact enough.
template <class Number>
inline void extend(const Number* x, int64_t count, Extent& extent) {
    float least[LANES] = {}, most[LANES] = {}, there[LANES] = {}, squares[LANES] = {};
    const int64_t whole = count / LANES * LANES;
    const auto take = [&](float y, int64_t lane) {
        y = std::fabs(y) <= FLT_MAX ? y : 0.0f;
        least[lane] = y < least[lane] ? y : least[lane];
        most[lane] = y > most[lane] ? y : most[lane];
        there[lane] += y != 0 ? 1.0f : 0.0f;
        squares[lane] += y * y;
    };
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int64_t lane = 0; lane < LANES; ++lane) take(number(x[i + lane]), lane);
    }
    for (int64_t i = whole; i < count; ++i) take(number(x[i]), i - whole);
    for (int64_t lane = 0; lane < LANES; ++lane) {
        extent.least = std::min<double>(extent.least, least[lane]);
        extent.most = std::max<double>(extent.most, most[lane]);
        extent.count += there[lane];
        extent.squares += squares[lane];
    }
}

BEVFUSE_EACH_WIDTH void extend_float(const float* x, int64_t count, Extent& extent) { extend(x, count, extent); }

BEVFUSE_EACH_WIDTH void extend_bfloat16(const uint16_t* x, int64_t count, Extent& extent) { extend(x, count, extent); }

// The pieces' extents are added in their order, so that the sum is the same for any number of threads.
template <class Number, class Extend>
int extent_of(const Number* x, int64_t count, double* extent, int threads, const Extend& of_piece) try {
    std::vector<Extent> pieces((count + PIECE - 1) / PIECE);
    share(threads, static_cast<int64_t>(pieces.size()), 1, [&](int64_t first, int64_t end) {
        for (int64_t k = first; k < end; ++k) of_piece(x + k * PIECE, std::min(PIECE, count - k * PIECE), pieces[k]);
    });
    Extent all;
    for (const Extent& piece : pieces) {
        all.least = std::min(all.least, piece.least);
        all.most = std::max(all.most, piece.most);
        all.count += piece.count;
        all.squares += piece.squares;
    }
    std::memcpy(extent, &all, sizeof all);
    return 0;
} catch (const std::bad_alloc&) {
    return 1;
}

BEVFUSE_EACH_WIDTH void quantise_float(const float* x, int64_t count, float steps, float zero, uint8_t* out) {
    quantise(x, count, steps, zero, out);
}

BEVFUSE_EACH_WIDTH void quantise_bfloat16(const uint16_t* x, int64_t count, float steps, float zero, uint8_t* out) {
    quantise(x, count, steps, zero, out);
}

}  // namespace
}  // namespace bevfuse

// x (N) float -> extent (4): of its finite numbers the least and the largest, 0 included, how many aren't 0, and the sum
// of their squares. Returns 1 where there is no memory for its work.
BEVFUSE_EXPORT int bevfuse_extent_float(const float* x, int64_t count, double* extent, int threads) {
    return bevfuse::extent_of(x, count, extent, threads, bevfuse::extend_float);
}

// The same of bfloat16.
BEVFUSE_EXPORT int bevfuse_extent_bfloat16(const uint16_t* x, int64_t count, double* extent, int threads) {
    return bevfuse::extent_of(x, count, extent, threads, bevfuse::extend_bfloat16);
}

// x (N) float -> out (N): x * steps to the nearest whole number, even of two, from `zero` on, within 0 and 255.
BEVFUSE_EXPORT int bevfuse_quantise_float(const float* x, int64_t count, float steps, float zero, uint8_t* out,
                                          int threads) {
    bevfuse::share(threads, count, bevfuse::PIECE, [&](int64_t first, int64_t end) {
        bevfuse::quantise_float(x + first, end - first, steps, zero, out + first);
    });
    return 0;
}

// The same of bfloat16.
BEVFUSE_EXPORT int bevfuse_quantise_bfloat16(const uint16_t* x, int64_t count, float steps, float zero, uint8_t* out,
                                             int threads) {
    bevfuse::share(threads, count, bevfuse::PIECE, [&](int64_t first, int64_t end) {
        bevfuse::quantise_bfloat16(x + first, end - first, steps, zero, out + first);
    });
    return 0;
}
