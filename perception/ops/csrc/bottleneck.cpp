// Inverted bottlenecks by bottleneck.h.

#include "bottleneck.h"

#include <algorithm>
#include <cmath>

#include "pack.h"
#include "sparse.h"
#include "sparse_threads.h"

namespace bevfuse::bottleneck {
namespace {

using sparse::padded;
using sparse::Products;
using sparse::TOGETHER;

// Of a strip's group of wide channels: in the first-level cache if a group is a tile's, else in the second-level one.
constexpr int64_t TILED_BYTES = 40 << 10, STRIP_BYTES = 256 << 10;

// Everything of a block that stays the same, see bevfuse_bottleneck.
template <class T>
struct Weights {
    const T* widen;  // packed by groups, or null: inputs are as wide as need be
    const float* widen_bias;
    const float *convolve, *convolve_bias;
    const T* narrow;  // packed
    const float* narrow_bias;
    bool shortcut;
};

// Columns of a strip, zeros included.
int64_t columns_of(const Shape& shape) { return std::max(shape.seen(shape.out_width), shape.left + shape.width); }

// Memory of a thread.
template <class T>
struct Workspace {
    float *wide, *products;
    T* convolved;
};

// Rows first..first + rows - 1 of a map's outputs.
template <class T>
void strip_of(const Shape& shape, const Weights<T>& weights, const Products<T>& by, const Ways& ways, const Way& way,
              const T* inputs, int64_t first, int64_t rows, const Workspace<T>& own, T* outputs) {
    const int64_t depth = padded(shape.channels, by.depth), stride = padded(shape.out_channels, sparse::kernels().width);
    const Strip strip{own.wide, shape.seen(rows), columns_of(shape)};
    const int64_t row = first * shape.stride - shape.top;
    const int64_t from = std::max<int64_t>(row, 0), to = std::min(row + strip.rows, shape.height);
    const int64_t last = to * shape.width, group = sparse::group_of<T>();
    if (weights.widen) by.lay(shape.channels);
    for (int64_t channel = 0; channel < shape.inner; channel += group) {
        const int64_t wide = std::min(group, shape.inner - channel);
        ways.cleared(shape, wide, row, strip);
        for (int64_t pixel = from * shape.width; pixel < last; pixel += TOGETHER) {
            const int64_t count = std::min(TOGETHER, last - pixel);
            if (weights.widen) {
                sparse::multiply_rows(by, inputs + pixel * shape.channels, count, weights.widen + channel * depth,
                                      shape.channels, wide, own.products);
                ways.widened(shape, own.products, wide, weights.widen_bias + channel, pixel, count, row, strip);
            } else {
                way.taken(shape, inputs + channel, wide, pixel, count, row, strip);
            }
        }
        way.convolved(shape, strip, wide, rows, weights.convolve + channel, weights.convolve_bias + channel,
                      own.convolved + channel);
    }
    by.lay(shape.inner);
    for (int64_t pixel = 0, end = rows * shape.out_width; pixel < end; pixel += TOGETHER) {
        const int64_t count = std::min(TOGETHER, end - pixel), place = first * shape.out_width + pixel;
        sparse::multiply_rows(by, own.convolved + pixel * shape.inner, count, weights.narrow, shape.inner, stride,
                              own.products);
        way.narrowed(own.products, stride, shape.out_channels, weights.narrow_bias, count,
                     weights.shortcut ? inputs + place * shape.channels : nullptr, -INFINITY, INFINITY,
                     outputs + place * shape.out_channels);
    }
}

// Rows of outputs in a strip, as many as the cache holds what they see of.
int64_t rows_of(const Shape& shape, int64_t group, int64_t bytes) {
    const int64_t row_bytes = std::min(group, shape.inner) * columns_of(shape) * static_cast<int64_t>(sizeof(float));
    const int64_t held = (bytes / row_bytes - shape.kernel) / shape.stride + 1;
    return std::min(std::max<int64_t>(held, 1), shape.out_height);
}

template <class T>
int compute(const Shape& shape, const T* inputs, const Weights<T>& weights, const Way& way, T* outputs, int threads) {
    const auto by = sparse::products_of<T>();
    const int64_t group = sparse::group_of<T>(), rows = rows_of(shape, group, by.tiles ? TILED_BYTES : STRIP_BYTES);
    const int64_t strips = (shape.out_height + rows - 1) / rows, items = shape.count * strips;
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, items)));
    const int64_t wide = padded(std::min(group, shape.inner) * shape.seen(rows) * columns_of(shape), 16);
    const int64_t products = TOGETHER * std::max(group, padded(shape.out_channels, sparse::kernels().width));
    const int64_t convolved = padded(rows * shape.out_width * shape.inner, 32);
    const auto floats = sparse::buffer<float>(threads * (wide + products));
    const auto middle = sparse::buffer<T>(threads * convolved);
    if (!floats || !middle) return 1;
    sparse::each(threads, items, [&](int64_t item, int thread) {
        const int64_t map = item / strips, first = item % strips * rows;
        float* own = floats.get() + thread * (wide + products);
        const sparse::Entered tiles(by.tiles);
        strip_of(shape, weights, by, sparse::kernels().bottleneck, way,
                 inputs + map * shape.height * shape.width * shape.channels, first,
                 std::min(rows, shape.out_height - first), {own, own + wide, middle.get() + thread * convolved},
                 outputs + map * shape.out_height * shape.out_width * shape.out_channels);
    });
    return 0;
}

}  // namespace
}  // namespace bevfuse::bottleneck

using namespace bevfuse;
using namespace bevfuse::bottleneck;

// inputs (N, H, W, channels) -> outputs (N, H', W', out_channels), both float, or both bf16 where this processor
// multiplies it. The matrices are packed by bevfuse_rows_pack, `widen` by groups; it may be null. All else is float.
BEVFUSE_EXPORT int bevfuse_bottleneck(const Shape* shape, const void* inputs, int bf16, const void* widen,
                                      const float* widen_bias, const float* convolve, const float* convolve_bias,
                                      const void* narrow, const float* narrow_bias, int shortcut, void* outputs,
                                      int threads) {
    const Ways& ways = sparse::kernels().bottleneck;
    const bool added = shortcut != 0;
    if (bf16) {
        using T = uint16_t;
        const Weights<T> weights{static_cast<const T*>(widen),  widen_bias,  convolve, convolve_bias,
                                 static_cast<const T*>(narrow), narrow_bias, added};
        return compute(*shape, static_cast<const T*>(inputs), weights, ways.of_bf16, static_cast<T*>(outputs), threads);
    }
    const Weights<float> weights{static_cast<const float*>(widen),  widen_bias,  convolve, convolve_bias,
                                 static_cast<const float*>(narrow), narrow_bias, added};
    return compute(*shape, static_cast<const float*>(inputs), weights, ways.of_float, static_cast<float*>(outputs),
                   threads);
}
