// The inner loops for any processor: SSE2 on x86-64, NEON on aarch64.

#include "sparse.h"

namespace bevfuse::sparse {
namespace {

#define TARGET
#define WIDTH 4
#if defined(__aarch64__)
#define VECTORS 4  // 32 registers
#define ROWS(c) ((c) == 4 ? 6 : 8)
#else
#define VECTORS 2  // 16 registers
#define ROWS(c) 4
#endif
#include "sparse_kernels.h"
#include "attention_kernels.h"
#include "winograd_kernels.h"
#include "rows_kernels.h"
#include "bottleneck_kernels.h"
#include "straight_kernels.h"
#include "pixels_kernels.h"

}  // namespace

const Kernels& baseline_kernels() {
    static const Kernels table{WIDTH,      WIDTH * VECTORS, multiply, nullptr,   outer,      finish,
                               find_pairs, WINOGRAD, ATTENTION, BOTTLENECK, ROWS_OF, STRAIGHT, PIXELS};
    return table;
}

}  // namespace bevfuse::sparse
