// BEV pooling: the order in which pixels are gone through.
#pragma once

#include <cstdint>

namespace bevfuse {

// Pixels lie image after image, row by row, and are gone through column by column: those of a column look past the same
// cells, whose numbers are then still in the cache, and a cell is seen from few columns.
struct Images {
    int64_t height, width;

    int64_t pixel(int64_t i) const {
        const int64_t image = i / (height * width), rest = i % (height * width);
        return image * height * width + rest % height * width + rest / height;
    }
};

}  // namespace bevfuse
