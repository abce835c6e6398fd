// Numbers rounded to eight bits, and how large they are.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "common.h"

// Loops are compiled for each width of registers, and the loader takes the best; GCC knows these names from 12 on.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define BEVFUSE_EACH_WIDTH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
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

// What is finite among a piece's numbers, each LANES-th by itself, so that all are looked at at once: the least and the
// largest, 0 included, how many aren't 0, and their squares' sum. Within a piece, floats are exact enough.
struct Lanes {
    float least[LANES], most[LANES], squares[LANES];
    int32_t there[LANES];
};

struct Extent {
    double least = 0, most = 0, count = 0, squares = 0;

    void add(const Lanes& lanes) {
        for (int64_t lane = 0; lane < LANES; ++lane) {
            least = std::min<double>(least, lanes.least[lane]);
            most = std::max<double>(most, lanes.most[lane]);
            count += lanes.there[lane];
            squares += lanes.squares[lane];
        }
    }
};

template <class Number>
inline void take(const Number* x, int64_t count, float* least, float* most, float* squares, int32_t* there) {
    for (int64_t lane = 0; lane < count; ++lane) {
        const uint32_t bits = finite(bits_of(x[lane]));
        const float y = number(bits);
        least[lane] = y < least[lane] ? y : least[lane];
        most[lane] = y > most[lane] ? y : most[lane];
        there[lane] += (bits << 1) != 0;
        squares[lane] += y * y;
    }
}

template <class Number>
inline void extend(const Number* x, int64_t count, Lanes& lanes) {
    const int64_t whole = count / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        take(x + i, LANES, lanes.least, lanes.most, lanes.squares, lanes.there);
    }
    take(x + whole, count - whole, lanes.least, lanes.most, lanes.squares, lanes.there);
}

BEVFUSE_EACH_WIDTH void extend_float(const float* x, int64_t count, Lanes& lanes) { extend(x, count, lanes); }

BEVFUSE_EACH_WIDTH void extend_bfloat16(const uint16_t* x, int64_t count, Lanes& lanes) { extend(x, count, lanes); }

// The pieces are added in their order, so that the sum is the same for any number of threads.
template <class Number, class Extend>
int extent_of(const Number* x, int64_t count, double* extent, int threads, const Extend& of_piece) try {
    std::vector<Lanes> pieces((count + PIECE - 1) / PIECE, Lanes{});
    share(threads, static_cast<int64_t>(pieces.size()), 1, [&](int64_t first, int64_t end) {
        for (int64_t k = first; k < end; ++k) of_piece(x + k * PIECE, std::min(PIECE, count - k * PIECE), pieces[k]);
    });
    Extent all;
    for (const Lanes& piece : pieces) all.add(piece);
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
