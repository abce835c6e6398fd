// Numbers rounded to eight bits, and between what bounds they are.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <mutex>

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

// Takes what is finite into the bounds: lane by lane, so that all are compared at once.
template <class Number>
inline void bound(const Number* x, int64_t count, float* bounds) {
    float least[LANES], most[LANES];
    std::fill(least, least + LANES, bounds[0]);
    std::fill(most, most + LANES, bounds[1]);
    const int64_t whole = count / LANES * LANES;
    const auto take = [&](float y, int64_t lane) {
        least[lane] = y < least[lane] && y >= -FLT_MAX ? y : least[lane];
        most[lane] = y > most[lane] && y <= FLT_MAX ? y : most[lane];
    };
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int64_t lane = 0; lane < LANES; ++lane) take(number(x[i + lane]), lane);
    }
    for (int64_t i = whole; i < count; ++i) take(number(x[i]), i - whole);
    bounds[0] = *std::min_element(least, least + LANES);
    bounds[1] = *std::max_element(most, most + LANES);
}

BEVFUSE_EACH_WIDTH void bound_float(const float* x, int64_t count, float* bounds) { bound(x, count, bounds); }

BEVFUSE_EACH_WIDTH void bound_bfloat16(const uint16_t* x, int64_t count, float* bounds) { bound(x, count, bounds); }

template <class Number, class Bound>
int bounds_of(const Number* x, int64_t count, float* bounds, int threads, const Bound& of_piece) {
    std::mutex one;
    bounds[0] = bounds[1] = 0;
    share(threads, count, PIECE, [&](int64_t first, int64_t end) {
        float mine[2] = {0, 0};
        of_piece(x + first, end - first, mine);
        const std::lock_guard<std::mutex> alone(one);
        bounds[0] = std::min(bounds[0], mine[0]);
        bounds[1] = std::max(bounds[1], mine[1]);
    });
    return 0;
}

BEVFUSE_EACH_WIDTH void quantise_float(const float* x, int64_t count, float steps, float zero, uint8_t* out) {
    quantise(x, count, steps, zero, out);
}

BEVFUSE_EACH_WIDTH void quantise_bfloat16(const uint16_t* x, int64_t count, float steps, float zero, uint8_t* out) {
    quantise(x, count, steps, zero, out);
}

}  // namespace
}  // namespace bevfuse

// x (N) float -> bounds (2): the least and the largest of its finite numbers and 0.
BEVFUSE_EXPORT int bevfuse_bounds_float(const float* x, int64_t count, float* bounds, int threads) {
    return bevfuse::bounds_of(x, count, bounds, threads, bevfuse::bound_float);
}

// The same of bfloat16.
BEVFUSE_EXPORT int bevfuse_bounds_bfloat16(const uint16_t* x, int64_t count, float* bounds, int threads) {
    return bevfuse::bounds_of(x, count, bounds, threads, bevfuse::bound_bfloat16);
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
