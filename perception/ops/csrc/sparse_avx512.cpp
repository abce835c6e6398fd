// The inner loops for AVX-512.

#include "sparse.h"

#if defined(__x86_64__)
namespace bevfuse::sparse {
namespace {

#define WIDTH 16
#define VECTORS 4
#define ROWS(c) ((c) == 4 ? 6 : 8)  // with four vectors 24 of 32 registers

#define TARGET \
    __attribute__((target("avx2,fma,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")))
#include "sparse_kernels.h"


}  // namespace

const Kernels& avx512_kernels() {
    static const Kernels table{WIDTH, WIDTH * VECTORS, multiply, nullptr, outer, finish, find_pairs};
    return table;
}

}  // namespace bevfuse::sparse
#endif
