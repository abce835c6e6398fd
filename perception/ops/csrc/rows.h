// Rows of numbers that follow each other, through matrices: what kernels for small networks share.
#pragma once

#include <cstdint>

namespace bevfuse::rows {

// Products (count, stride) with the bias, and the residual if there is one, cut off to least..most -> (count, channels).
using Finished = void (*)(const float* products, int64_t stride, int64_t channels, const float* bias, int64_t count,
                          const void* residual, float least, float most, void* out);

// By the type of residual and out.
struct Ways {
    Finished of_float, of_bf16;
};

}  // namespace bevfuse::rows
