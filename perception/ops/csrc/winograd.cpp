// Convolutions of 3 x 3 pixels by winograd.h.

#include "winograd.h"

#include <algorithm>

#include "sparse.h"
#include "pack.h"
#include "sparse_threads.h"

namespace bevfuse::winograd {
namespace {

using sparse::Kernels;

// Tiles taken together: their transformed inputs and sums stay in the second-level cache or come from the third, and
// are a whole number of blocks of the products.
constexpr int64_t TOGETHER = 48;
// Places begin so many bytes further apart than their rows take: at whole pages all of them would be in one cache set.
constexpr int64_t APART = 64;

// transformed (places, out_channels, channels) -> packed.
template <class T>
void pack_all(const T* transformed, int64_t places, int64_t cin, int64_t cout, int64_t together, T* packed) {
    const Kernels& inner = sparse::kernels();
    const int64_t stride = sparse::padded(cout, inner.width);
    for (int64_t k = 0; k < places; ++k) {
        sparse::pack(transformed + k * cout * cin, {cin, 0, 1}, cin, cin, cout, inner.panel, together, packed + k * cin * stride);
    }
}

template <class T, class Multiply>
int convolve(const Maps& maps, const T* inputs, const T* packed, const Way& way, Multiply multiply,
             const Epilogue& epilogue, void* outputs, int threads) {
    const int64_t cin = maps.channels, stride = sparse::padded(maps.out_channels, sparse::kernels().width);
    const int64_t tiles = maps.count * ((maps.out_height + way.down - 1) / way.down) *
                          ((maps.out_width + way.across - 1) / way.across);
    const int64_t blocks = (tiles + TOGETHER - 1) / TOGETHER, places = way.places();
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, blocks)));
    const int64_t pitch = sparse::padded(TOGETHER * cin, APART / sizeof(T)) + APART / sizeof(T);
    const int64_t sums_pitch = TOGETHER * stride + APART / sizeof(float);
    const auto rows = sparse::buffer<T>(threads * places * pitch);
    const auto sums = sparse::buffer<float>(threads * places * sums_pitch);
    const auto zeros = sparse::buffer<T>(cin);
    if (!rows || !sums || !zeros) return 1;
    std::fill_n(zeros.get(), cin, T(0));
    int32_t sources[TOGETHER];
    uint16_t targets[TOGETHER];
    for (int64_t i = 0; i < TOGETHER; ++i) sources[i] = static_cast<int32_t>(i), targets[i] = static_cast<uint16_t>(i);
    sparse::each(threads, blocks, [&](int64_t block, int thread) {
        const int64_t first = block * TOGETHER, count = std::min(TOGETHER, tiles - first);
        T* own_rows = rows.get() + thread * places * pitch;
        float* own_sums = sums.get() + thread * places * sums_pitch;
        way.into(maps, inputs, zeros.get(), first, count, pitch, own_rows);
        for (int64_t k = 0; k < places; ++k) {
            std::fill_n(own_sums + k * sums_pitch, count * stride, 0.0f);
            multiply(own_rows + k * pitch, sources, targets, count, packed + k * cin * stride, cin, stride,
                     own_sums + k * sums_pitch);
        }
        way.back(maps, own_sums, stride, sums_pitch, first, count, epilogue, outputs);
    });
    return 0;
}

}  // namespace
}  // namespace bevfuse::winograd

using namespace bevfuse;
using namespace bevfuse::winograd;

// Elements of `cout` channels packed.
BEVFUSE_EXPORT int64_t bevfuse_winograd_padded(int64_t cout) { return sparse::padded(cout, sparse::kernels().width); }

// transformed (places, cout, cin) -> packed (places, cin * padded cout), which begins at a cache line. bf16: cin even.
BEVFUSE_EXPORT int bevfuse_winograd_pack(const void* transformed, int64_t places, int64_t cin, int64_t cout, int bf16,
                                         void* packed) {
    if (bf16) {
        pack_all(static_cast<const uint16_t*>(transformed), places, cin, cout, 2, static_cast<uint16_t*>(packed));
    } else {
        pack_all(static_cast<const float*>(transformed), places, cin, cout, 1, static_cast<float*>(packed));
    }
    return 0;
}

// inputs (N, H, W, cin) -> outputs (N, H', W', cout), both float, or both bf16 where this processor multiplies it.
BEVFUSE_EXPORT int bevfuse_winograd_convolve(const Maps* maps, const void* inputs, const void* packed, int bf16,
                                             const Epilogue* epilogue, void* outputs, int threads) {
    const Kernels& inner = sparse::kernels();
    if (bf16) {
        return convolve(*maps, static_cast<const uint16_t*>(inputs), static_cast<const uint16_t*>(packed),
                        inner.winograd.of_bf16, inner.multiply_bf16, *epilogue, outputs, threads);
    }
    return convolve(*maps, static_cast<const float*>(inputs), static_cast<const float*>(packed),
                    inner.winograd.of_float, inner.multiply, *epilogue, outputs, threads);
}
