// The inner loops for AVX2 with FMA.

#include "sparse.h"

#if defined(__x86_64__)
namespace bevfuse::sparse {
namespace {

#define TARGET __attribute__((target("avx2,fma,bmi,bmi2,popcnt")))
#define WIDTH 8
#define VECTORS 2
#define ROWS(c) 6  // with two vectors 12 of 16 registers
#include "sparse_kernels.h"
#include "attention_kernels.h"
#include "winograd_kernels.h"
#include "rows_kernels.h"
#include "bottleneck_kernels.h"
#include "straight_kernels.h"
#include "pixels_kernels.h"

}  // namespace

const Kernels& avx2_kernels() {
    static const Kernels table{WIDTH,      WIDTH * VECTORS, multiply, nullptr,   outer,      finish,
                               find_pairs, WINOGRAD, ATTENTION, BOTTLENECK, ROWS_OF, STRAIGHT, PIXELS};
    return table;
}

}  // namespace bevfuse::sparse
#endif
