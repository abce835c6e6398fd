// Weights as the inner loops want them.
#pragma once

#include <algorithm>
#include <type_traits>

#include "sparse.h"

namespace bevfuse::sparse {

inline int64_t padded(int64_t channels, int64_t width) { return (channels + width - 1) / width * width; }

// How numbers of a type are multiplied.
template <class T>
struct Products {
    Multiply<T> multiply;
    int64_t together;    // input channels, side by side
    int64_t depth;       // input channels are filled up to a multiple of this
    const Tiles* tiles;  // to be entered, or null

    // Before multiply_rows, for rows of so many channels.
    void lay(int64_t cin) const {
        if (tiles) tiles->lay(cin);
    }
};

// The tiles, if there are any, are this thread's as long as it lives.
class Entered {
   public:
    explicit Entered(const Tiles* tiles) : tiles_(tiles) {
        if (tiles_) tiles_->enter(before_);
    }
    ~Entered() {
        if (tiles_) tiles_->leave(before_);
    }
    Entered(const Entered&) = delete;

   private:
    const Tiles* tiles_;
    alignas(64) unsigned char before_[TILE_STATE];
};

template <class T>
Products<T> products_of();

template <>
inline Products<float> products_of<float>() {
    return {kernels().multiply, 1, 1, nullptr};
}

template <>
inline Products<uint16_t> products_of<uint16_t>() {
    const Kernels& inner = kernels();
    if (inner.tiles.multiply) return {inner.tiles.multiply, 2, inner.tiles.depth, &inner.tiles};
    return {inner.multiply_bf16, 2, 2, nullptr};
}

// A weight's place in memory: element (output channel, offset, input channel) is at the sum of index times step.
struct Steps {
    int64_t out, offset, in;
};

// Packs one offset as Kernels wants it, `together` input channels side by side, by panels of so many output channels;
// missing output channels are zero, and so are input channels from cin to `depth`.
template <class T>
void pack(const T* weight, const Steps& steps, int64_t cin, int64_t depth, int64_t cout, int64_t panel,
          int64_t together, T* to) {
    const int64_t stride = padded(cout, kernels().width);
    for (int64_t column = 0; column < stride; column += panel) {
        const int64_t width = std::min(panel, stride - column);
        const int64_t there = std::min(width, cout - column);
        for (int64_t group = 0; group < cin; group += together) {
            for (int64_t c = 0; c < there; ++c) {
                const T* from = weight + (column + c) * steps.out + group * steps.in;
                for (int64_t k = 0; k < together; ++k) to[c * together + k] = from[k * steps.in];
            }
            std::fill(to + there * together, to + width * together, T(0));
            to += width * together;
        }
        std::fill_n(to, (depth - cin) * width, T(0));
        to += (depth - cin) * width;
    }
}

constexpr int64_t TOGETHER = 48;  // rows multiplied at once: a whole number of blocks of the products

// products (count, cout) = rows (count, cin) @ weight, for at most TOGETHER rows that follow each other, and cout padded.
// Tiles are laid for cin.
template <class T>
void multiply_rows(const Products<T>& by, const T* rows, int64_t count, const T* weight, int64_t cin, int64_t cout,
                   float* products) {
    if constexpr (std::is_same_v<T, uint16_t>) {
        if (by.tiles) return by.tiles->product(rows, count, weight, cin, cout, products);
    }
    static constexpr auto SAME = [] {
        struct { int32_t sources[TOGETHER]; uint16_t targets[TOGETHER]; } same{};
        for (int i = 0; i < TOGETHER; ++i) same.sources[i] = i, same.targets[i] = static_cast<uint16_t>(i);
        return same;
    }();
    std::fill_n(products, count * cout, 0.0f);
    by.multiply(rows, SAME.sources, SAME.targets, count, weight, cin, cout, products);
}

// Columns of products that go through later steps together: a tile's, or a panel's.
template <class T>
int64_t group_of() {
    return products_of<T>().tiles ? kernels().width : kernels().panel;
}

}  // namespace bevfuse::sparse
