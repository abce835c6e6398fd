// The inner loops for AVX-512.

#include "sparse.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace bevfuse::sparse {
namespace {

#define WIDTH 16
#define VECTORS 4
#define ROWS(c) ((c) > 2 ? 6 : 8)  // with four vectors 24 of 32 registers; more rows than 6 and their addresses wouldn't fit

#define TARGET \
    __attribute__((target("avx2,fma,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl" BEVFUSE_WHOLE_VECTORS)))
#define OWN_PICK
TARGET void pick(const uint32_t* seen, int32_t* ranks, int64_t first, int64_t count, int64_t depth,
                 const TilePairs& found);
#include "sparse_kernels.h"
#include "attention_kernels.h"
#include "winograd_kernels.h"
#include "rows_kernels.h"
#include "bottleneck_kernels.h"
#include "straight_kernels.h"
#include "pixels_kernels.h"

// As in sparse_kernels.h, 16 voxels at a time. The lists are compressed in registers: to memory is slow on AMD's Zen 4.
TARGET void pick(const uint32_t* seen, int32_t* ranks, int64_t first, int64_t count, int64_t depth,
                 const TilePairs& found) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int64_t bit = 0; bit < depth; ++bit) {
        int32_t* sources = found.sources + bit * found.pitch;
        uint16_t* targets = found.targets + bit * found.pitch;
        int64_t n = found.counts[bit];
        for (int64_t i = 0; i < count; i += 16) {
            const __mmask16 there =
                _mm512_test_epi32_mask(_mm512_loadu_si512(seen + i), _mm512_set1_epi32(int32_t(1u << bit)));
            const __m512i rank = _mm512_loadu_si512(ranks + i);
            const __m512i target = _mm512_add_epi32(lanes, _mm512_set1_epi32(int32_t(first + i)));
            _mm512_storeu_si512(sources + n, _mm512_maskz_compress_epi32(there, rank));
            *reinterpret_cast<Halves*>(targets + n) =
                __builtin_convertvector((Bits)_mm512_maskz_compress_epi32(there, target), Halves);
            _mm512_storeu_si512(ranks + i, _mm512_mask_add_epi32(rank, there, rank, _mm512_set1_epi32(1)));
            n += __builtin_popcount(there);
        }
        found.counts[bit] = static_cast<int32_t>(n);
    }
}

}  // namespace

const Kernels& avx512_kernels() {
    static const Kernels table{WIDTH,      WIDTH * VECTORS, multiply, nullptr,   outer,      finish,
                               find_pairs, WINOGRAD, ATTENTION, BOTTLENECK, ROWS_OF, STRAIGHT, PIXELS};
    return table;
}

}  // namespace bevfuse::sparse
#endif
