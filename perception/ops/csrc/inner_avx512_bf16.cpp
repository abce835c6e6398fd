// The inner loops for AVX-512 with products of bf16 pairs, which are added up in float.

#include "sparse.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace bevfuse::sparse {
namespace {

#define TARGET __attribute__((target("avx2,fma,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define WIDTH 16
#define VECTORS 4
#define ROWS(c) ((c) > 2 ? 6 : 8)
#define OWN_NARROWED
typedef uint16_t Halves __attribute__((vector_size(32), aligned(2), may_alias));
TARGET static inline Halves narrowed(__m512 value) { return (Halves)_mm512_cvtneps_pbh(value); }
#include "blocks.h"
#include "attention_kernels.h"
#include "winograd_kernels.h"
#include "rows_kernels.h"
#include "bottleneck_kernels.h"
#include "straight_kernels.h"
#include "pixels_kernels.h"

struct Bf16Pair {
    typedef uint16_t Element;
    static constexpr int CHANNELS = 2;
    INLINE Vector everywhere(const uint16_t* pair) {
        int32_t both;
        __builtin_memcpy(&both, pair, 4);
        return (Vector)_mm512_set1_epi32(both);
    }
    INLINE Vector add(Vector sum, Vector pair, Vector weight) {
        return _mm512_dpbf16_ps(sum, (__m512bh)pair, (__m512bh)weight);
    }
};

TARGET void multiply_bf16(const uint16_t* features, const int32_t* sources, const uint16_t* targets, int64_t count,
                          const uint16_t* weight, int64_t cin, int64_t cout, float* sums) {
    multiply_as<Bf16Pair>(features, sources, targets, count, weight, cin, cout, sums);
}

}  // namespace

const Kernels& avx512_bf16_kernels() {
    static const Kernels table = [] {
        Kernels with_bf16 = avx512_kernels();
        with_bf16.multiply_bf16 = multiply_bf16;
        with_bf16.winograd = WINOGRAD;
        with_bf16.attention = ATTENTION;
        with_bf16.bottleneck = BOTTLENECK;
        with_bf16.rows = ROWS_OF;
        with_bf16.straight = STRAIGHT;
        with_bf16.pixels = PIXELS;
        return with_bf16;
    }();
    return table;
}

}  // namespace bevfuse::sparse
#endif
