// Convolutions of images by pixels.h.

#include "pixels.h"

#include <algorithm>
#include <cstring>

#include "pack.h"
#include "sparse.h"
#include "sparse_threads.h"

namespace bevfuse::pixels {
namespace {

using sparse::padded;
using sparse::Products;
using sparse::TOGETHER;

struct Layer {
    const void* weight;  // packed (out_channels, depth), a row of the kernel after the other
    const float* bias;
    float least, most;  // what sums are cut off to
    const float *scale, *shift;  // (width * 3,)
};

// Memory of a thread: the rows that a row of outputs sees, what its outputs see, and products.
template <class T>
struct Workspace {
    T *lines, *seen;
    float* products;
};

template <class T>
void row_of(const Shape& shape, const Layer& layer, const Products<T>& by, Converted converted, rows::Finished finished,
            const uint8_t* image, int64_t y, const Workspace<T>& own, T* out) {
    const int64_t line = shape.columns() * CHANNELS, part = shape.kernel * CHANNELS, depth = shape.depth();
    const int64_t there = std::min(shape.width, shape.columns() - shape.left) * CHANNELS;
    for (int64_t k = 0; k < shape.kernel; ++k) {
        const int64_t row = y * shape.stride - shape.top + k;
        T* to = own.lines + k * line;
        std::fill_n(to, line, T(0));
        if (row < 0 || row >= shape.height) continue;
        converted(image + row * shape.width * CHANNELS, there, layer.scale, layer.shift, to + shape.left * CHANNELS);
    }
    const int64_t stride = padded(shape.out_channels, sparse::kernels().width);
    for (int64_t x = 0; x < shape.out_width; x += TOGETHER) {
        const int64_t count = std::min(TOGETHER, shape.out_width - x);
        for (int64_t i = 0; i < count; ++i) {
            T* to = own.seen + i * depth;
            for (int64_t k = 0; k < shape.kernel; ++k) {
                std::memcpy(to + k * part, own.lines + k * line + (x + i) * shape.stride * CHANNELS, part * sizeof(T));
            }
            std::fill(to + shape.kernel * part, to + depth, T(0));
        }
        sparse::multiply_rows(by, own.seen, count, static_cast<const T*>(layer.weight), depth, stride, own.products);
        finished(own.products, stride, shape.out_channels, layer.bias, count, nullptr, layer.least, layer.most,
                 out + x * shape.out_channels);
    }
}

template <class T>
int compute(const Shape& shape, const Layer& layer, Converted converted, rows::Finished finished, const uint8_t* images,
            T* out, int threads) {
    const auto by = sparse::products_of<T>();
    const int64_t lines = padded(shape.kernel * shape.columns() * CHANNELS, 32), seen = padded(TOGETHER * shape.depth(), 32);
    const int64_t products = TOGETHER * padded(shape.out_channels, sparse::kernels().width);
    constexpr int64_t ROWS = 16;  // of outputs, that a thread takes at once
    const int64_t pieces = (shape.out_height + ROWS - 1) / ROWS, items = shape.count * pieces;
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, items)));
    const auto own_rows = sparse::buffer<T>(threads * (lines + seen));
    const auto own_products = sparse::buffer<float>(threads * products);
    if (!own_rows || !own_products) return 1;
    sparse::each(threads, items, [&](int64_t item, int thread) {
        const int64_t image = item / pieces, first = item % pieces * ROWS;
        T* own = own_rows.get() + thread * (lines + seen);
        const sparse::Entered tiles(by.tiles);
        by.lay(shape.depth());
        for (int64_t y = first; y < std::min(first + ROWS, shape.out_height); ++y) {
            row_of(shape, layer, by, converted, finished, images + image * shape.height * shape.width * CHANNELS, y,
                   {own, own + lines, own_products.get() + thread * products},
                   out + (image * shape.out_height + y) * shape.out_width * shape.out_channels);
        }
    });
    return 0;
}

}  // namespace
}  // namespace bevfuse::pixels

using namespace bevfuse;
using namespace bevfuse::pixels;

// images of bytes -> float, or bf16 where this processor multiplies it. weight (out_channels, depth), packed by
// bevfuse_rows_pack.
BEVFUSE_EXPORT int bevfuse_convolve_pixels(const Shape* shape, const uint8_t* images, int bf16, const void* weight,
                                           const float* bias, float least, float most, const float* scale,
                                           const float* shift, void* out, int threads) {
    const Layer layer{weight, bias, least, most, scale, shift};
    const auto& kernels = sparse::kernels();
    if (bf16) {
        return compute(*shape, layer, kernels.pixels.to_bf16, kernels.rows.of_bf16, images, static_cast<uint16_t*>(out),
                       threads);
    }
    return compute(*shape, layer, kernels.pixels.to_float, kernels.rows.of_float, images, static_cast<float*>(out), threads);
}
