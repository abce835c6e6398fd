// Small networks of matrices, row by row: a few rows pass all layers while they are in the cache.

#include "perceptron.h"

#include <algorithm>
#include <cmath>

#include "pack.h"
#include "sparse.h"
#include "sparse_threads.h"

namespace bevfuse::perceptron {

namespace {

using sparse::padded;
using sparse::Products;
using sparse::TOGETHER;

constexpr int64_t PIECE = 8 * TOGETHER;  // rows that a thread takes at once

struct Network {
    const Layer* layers;
    int64_t count;

    int64_t cin() const { return layers[0].cin; }
    int64_t cout() const { return layers[count - 1].cout; }
    // Of products and of rows between layers.
    int64_t widest() const {
        const int64_t width = sparse::kernels().width;
        int64_t most = 0;
        for (int64_t i = 0; i < count; ++i) most = std::max(most, padded(layers[i].cout, width));
        return most;
    }
};

// At most TOGETHER rows (count, cin) -> (count, cout) in float. `between` is for two times TOGETHER of the widest rows.
template <class T>
void pass(const Network& network, const Products<T>& by, const T* rows, int64_t count, float* products, T* between,
          float* out) {
    const rows::Ways& ways = sparse::kernels().rows;
    const int64_t room = TOGETHER * network.widest();
    for (int64_t i = 0; i < network.count; ++i) {
        const Layer& layer = network.layers[i];
        const int64_t stride = padded(layer.cout, sparse::kernels().width);
        by.lay(layer.cin);
        sparse::multiply_rows(by, rows, count, static_cast<const T*>(layer.weight), layer.cin, stride, products);
        const bool last = i + 1 == network.count;
        T* to = between + i % 2 * room;
        const rows::Finished finished = last || sizeof(T) == sizeof(float) ? ways.of_float : ways.of_bf16;
        finished(products, stride, layer.cout, layer.bias, count, nullptr, layer.relu ? 0 : -INFINITY, INFINITY,
                 last ? static_cast<void*>(out) : to);
        rows = to;
    }
}

// Rows first..last - 1 to outputs, or their highest numbers to one output; zeros of no rows.
template <class T>
void piece(const Network& network, const Products<T>& by, const T* rows, int64_t first, int64_t last, bool highest,
           float* products, T* between, float* passed, float* out) {
    const int64_t cout = network.cout();
    if (highest) std::fill_n(out, cout, first < last ? -INFINITY : 0.0f);
    for (int64_t row = first; row < last; row += TOGETHER) {
        const int64_t count = std::min(TOGETHER, last - row);
        float* to = highest ? passed : out + (row - first) * cout;
        pass(network, by, rows + row * network.cin(), count, products, between, to);
        for (int64_t i = 0; highest && i < count; ++i) {
            for (int64_t c = 0; c < cout; ++c) out[c] = out[c] < to[i * cout + c] ? to[i * cout + c] : out[c];
        }
    }
}

template <class T>
int compute(const Network& network, const T* rows, int64_t count, const int64_t* starts, int64_t segments, float* out,
            int threads) {
    const auto by = sparse::products_of<T>();
    const int64_t pieces = starts ? segments : (count + PIECE - 1) / PIECE;
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, pieces)));
    const int64_t room = TOGETHER * network.widest();
    const auto floats = sparse::buffer<float>(threads * 2 * room);
    const auto between = sparse::buffer<T>(threads * 2 * room);
    if (!floats || !between) return 1;
    sparse::each(threads, pieces, [&](int64_t i, int thread) {
        const int64_t first = starts ? starts[i] : i * PIECE;
        const int64_t last = starts ? starts[i + 1] : std::min(count, first + PIECE);
        float* own = floats.get() + thread * 2 * room;
        const sparse::Entered tiles(by.tiles);
        piece(network, by, rows, first, last, starts != nullptr, own, between.get() + thread * 2 * room, own + room,
              out + (starts ? i : first) * network.cout());
    });
    return 0;
}

}  // namespace
}  // namespace bevfuse::perceptron

using namespace bevfuse;
using namespace bevfuse::perceptron;

// rows (count, cin of the first layer) float, or bf16 where this processor multiplies it, with layers' cin even ->
// (count, cout of the last) float; or with starts (segments + 1), ascending from 0 to count, the highest of each
// segment's: (segments, cout). Weights are packed by bevfuse_rows_pack.
BEVFUSE_EXPORT int bevfuse_perceptron(const void* rows, int64_t count, int bf16, const Layer* layers, int64_t number,
                                      const int64_t* starts, int64_t segments, float* out, int threads) {
    const Network network{layers, number};
    if (bf16) return compute(network, static_cast<const uint16_t*>(rows), count, starts, segments, out, threads);
    return compute(network, static_cast<const float*>(rows), count, starts, segments, out, threads);
}
