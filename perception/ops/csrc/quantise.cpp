// Numbers rounded to eight bits, and how large they are.
#include <algorithm>
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

// The bits of a float; a bfloat16 is the upper half of one.
inline uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline uint32_t bits_of(uint16_t x) { return static_cast<uint32_t>(x) << 16; }

inline float number(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// 0 for those of a NaN or an infinity. Asked of the bits, for comparing floats might trap, and such loops aren't
// computed many numbers at once.
inline uint32_t finite(uint32_t bits) { return (bits & 0x7f800000u) == 0x7f800000u ? 0 : bits; }

// A NaN becomes 0.
template <class Number>
inline void quantise(const Number* x, int64_t count, float steps, float zero, uint8_t* out) {
    for (int64_t i = 0; i < count; ++i) {
        const float y = std::nearbyint(number(bits_of(x[i])) * steps) + zero;
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
    float least[LANES] = {}, most[LANES] = {}, squares[LANES] = {};
    int32_t there[LANES] = {};
    const int64_t whole = count / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int64_t lane = 0; lane < LANES; ++lane) {
            const uint32_t bits = finite(bits_of(x[i + lane]));
            const float y = number(bits);
            least[lane] = y < least[lane] ? y : least[lane];
            most[lane] = y > most[lane] ? y : most[lane];
            there[lane] += (bits << 1) != 0;
            squares[lane] += y * y;
        }
    }
    for (int64_t i = whole; i < count; ++i) {
        const uint32_t bits = finite(bits_of(x[i]));
        const float y = number(bits);
        least[0] = std::min(least[0], y);
        most[0] = std::max(most[0], y);
        there[0] += (bits << 1) != 0;
        squares[0] += y * y;
    }
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
