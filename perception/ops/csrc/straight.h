// Trails straightened for each speed that could be: what its files share. See perception/ops/trails.py.
#pragma once

#include <cstdint>

namespace bevfuse::straight {

struct Layout {
    int64_t spans, layers, cells, bins;
    float span_s, cell_m;
    int64_t speeds;        // that could be
    const float* speed;    // (speeds,) [m/s]
    int64_t known;         // numbers of a way that its rows end with,
    const float* sizes;    // (speeds,) and one of the speed
    int64_t pitch;         // of a row, which zeros fill up

    int64_t width() const { return spans * layers * bins; }
    // Floats of a workspace.
    int64_t room() const { return spans * layers * (cells + 1) + 2 * (bins + 1) + width() + 64; }
};

// One trail (spans * layers, cells) with `half` [m] from the box's middle to the outer bins' ends -> (speeds, pitch).
using Straightened = void (*)(const Layout& layout, const uint8_t* trail, float half, const float* known,
                              float* workspace, void* rows);

struct Ways {
    Straightened of_float, of_bf16;  // by the type of the rows
};

}  // namespace bevfuse::straight
