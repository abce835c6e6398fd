// Rows of numbers that follow each other, through matrices: what kernels for small networks share.
#pragma once

#include <cstdint>

namespace bevfuse::rows {

// Products (count, stride) with the bias, and the residual if there is one, without what is below zero if `relu`
// -> (count, channels).
using Finished = void (*)(const float* products, int64_t stride, int64_t channels, const float* bias, int64_t count,
                          const void* residual, bool relu, void* out);

// By the type of residual and out.
struct Ways {
    Finished of_float, of_bf16;
};

}  // namespace bevfuse::rows
