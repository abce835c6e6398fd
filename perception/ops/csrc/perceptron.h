// Small networks of matrices: what perceptron.cpp is given.
#pragma once

#include <cstdint>

namespace bevfuse::perceptron {

// One matrix, and zero for what is below it.
struct Layer {
    const void* weight;  // packed (cout, cin)
    const float* bias;
    int64_t cin, cout;
    int32_t relu;
};

}  // namespace bevfuse::perceptron
