// The arithmetic of sparse convolution: forward, and the gradient of the weight. The gradient of the input is a forward
// convolution by the transposed rulebook.

#include <algorithm>

#include "sparse.h"
#include "pack.h"
#include "sparse_threads.h"

namespace bevfuse::sparse {
namespace {

template <class T>
int convolve(const T* features, const T* weight, const Steps& steps, int64_t cin, int64_t cout,
             const Products<T>& products, const Rules& rules, const Epilogue& epilogue, void* out, int threads) {
    const Kernels& inner = kernels();
    const int64_t stride = padded(cout, inner.width), depth = padded(cin, products.depth);
    const int64_t offsets = rules.offsets, tiles = rules.tiles();
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, tiles)));
    const Buffer<T> packed = buffer<T>(offsets * depth * stride);
    const Buffer<float> workspace = buffer<float>(threads * rules.tile_rows * stride);
    if (!packed || !workspace) return 1;
    each(threads, offsets, [&](int64_t o, int) {
        pack(weight + o * steps.offset, steps, cin, depth, cout, inner.panel, products.together,
             packed.get() + o * depth * stride);
    });
    each(threads, tiles, [&](int64_t tile, int thread) {
        float* sums = workspace.get() + thread * rules.tile_rows * stride;
        const Entered tiles(products.tiles);
        std::fill_n(sums, rules.rows_in(tile) * stride, 0.0f);
        for (int64_t o = 0; o < offsets; ++o) {
            const int64_t begin = rules.starts[tile * offsets + o], end = rules.starts[tile * offsets + o + 1];
            products.multiply(features, rules.sources + begin, rules.targets + begin, end - begin,
                              packed.get() + o * depth * stride, cin, stride, sums);
        }
        inner.finish(sums, stride, cout, rules, tile, epilogue, out);
    });
    return 0;
}

// The gradient of the weight is a sum over the tiles. So that it doesn't depend on the number of threads, which may
// each take a part of it, the parts are fixed: as many as these floats hold, within limits.
int64_t parts_of(const Rules& rules, int64_t floats) {
    const int64_t held = (int64_t{1} << 20) / std::max<int64_t>(floats, 1);
    return std::max<int64_t>(1, std::min(rules.tiles(), std::min<int64_t>(16, std::max<int64_t>(4, held))));
}

// Tiles first..last - 1 of the gradient, for one panel of output channels: sums (offsets, cin, columns padded).
void weight_gradient(const float* features, const float* gradient, int64_t cin, int64_t cout, const Rules& rules,
                     int64_t first, int64_t last, int64_t columns, const Kernels& inner, int32_t* targets,
                     float* workspace, float* sums) {
    const int64_t each = cin * padded(columns, inner.width);
    std::fill_n(sums, rules.offsets * each, 0.0f);
    for (int64_t tile = first; tile < last; ++tile) {
        for (int64_t o = 0; o < rules.offsets; ++o) {
            const int64_t begin = rules.starts[tile * rules.offsets + o];
            const int64_t n = rules.starts[tile * rules.offsets + o + 1] - begin;
            for (int64_t i = 0; i < n; ++i) {
                targets[i] = static_cast<int32_t>(rules.row(tile * rules.tile_rows + rules.targets[begin + i]));
            }
            inner.outer(features, rules.sources + begin, gradient, targets, n, cin, cout, columns, workspace,
                        sums + o * each);
        }
    }
}

}  // namespace
}  // namespace bevfuse::sparse

using namespace bevfuse::sparse;

// Whether this processor multiplies bf16.
BEVFUSE_EXPORT int bevfuse_sparse_has_bf16() { return kernels().multiply_bf16 != nullptr; }

// features (*, cin), weight by steps (output channel, offset, input channel), out (outputs, cout).
// bf16: features and weight are bfloat16, cin even, and this processor multiplies it.
BEVFUSE_EXPORT int bevfuse_sparse_convolve(const void* features, const void* weight, const int64_t* steps, int64_t cin,
                                           int64_t cout, int bf16, const Rules* rules, const Epilogue* epilogue,
                                           void* out, int threads) {
    const Steps by{steps[0], steps[1], steps[2]};
    if (bf16) {
        return convolve(static_cast<const uint16_t*>(features), static_cast<const uint16_t*>(weight), by, cin, cout,
                        products_of<uint16_t>(), *rules, *epilogue, out, threads);
    }
    return convolve(static_cast<const float*>(features), static_cast<const float*>(weight), by, cin, cout,
                    products_of<float>(), *rules, *epilogue, out, threads);
}

// features (*, cin), gradient (outputs, cout) of the output -> out (cout, offsets, cin), the gradient of the weight.
BEVFUSE_EXPORT int bevfuse_sparse_weight_gradient(const float* features, const float* gradient, int64_t cin,
                                                  int64_t cout, const Rules* rules, float* out, int threads) {
    const Kernels& inner = kernels();
    const int64_t offsets = rules->offsets, tiles = rules->tiles(), stride = padded(cout, inner.width);
    const int64_t panels = (cout + inner.panel - 1) / inner.panel;
    const int64_t parts = parts_of(*rules, offsets * cin * stride), items = parts * panels;
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, items)));
    const int64_t room = padded(OUTER_PAIRS * cin, 16) + OUTER_PAIRS * inner.panel;
    const Buffer<float> sums = buffer<float>(parts * offsets * cin * stride);
    const Buffer<float> workspace = buffer<float>(threads * room);
    const Buffer<int32_t> targets = buffer<int32_t>(threads * rules->tile_rows);
    if (!sums || !workspace || !targets) return 1;
    // Of a part, panel after panel: offset, input channel, output channel of the panel.
    each(threads, items, [&](int64_t item, int thread) {
        const int64_t part = item / panels, column = item % panels * inner.panel;
        weight_gradient(features, gradient + column, cin, cout, *rules, part * tiles / parts,
                        (part + 1) * tiles / parts, std::min(inner.panel, cout - column), inner,
                        targets.get() + thread * rules->tile_rows, workspace.get() + thread * room,
                        sums.get() + (part * stride + column) * offsets * cin);
    });
    each(threads, offsets, [&](int64_t o, int) {
        for (int64_t column = 0; column < cout; column += inner.panel) {
            const int64_t there = std::min(inner.panel, cout - column), width = padded(there, inner.width);
            float* total = sums.get() + column * offsets * cin + o * cin * width;
            for (int64_t part = 1; part < parts; ++part) {
                const float* more = total + part * stride * offsets * cin;
                for (int64_t i = 0; i < cin * width; ++i) total[i] += more[i];
            }
            for (int64_t c = 0; c < there; ++c) {
                float* to = out + ((column + c) * offsets + o) * cin;
                for (int64_t i = 0; i < cin; ++i) to[i] = total[i * width + c];
            }
        }
    });
    return 0;
}
