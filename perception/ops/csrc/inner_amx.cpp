// The inner loops for AMX, which multiplies whole tiles of bf16: 16 x 32 by 32 x 16 numbers in one instruction.
//
// A tile's rows lie evenly spaced in memory, which a rulebook's rows don't: those of 16 pairs are gathered, and their
// sums are spread again, by AVX-512. What is left takes a fifth of the time that products of bf16 pairs do.

#include "pack.h"
#include "sparse.h"

#if defined(BEVFUSE_AMX)
#include <immintrin.h>

namespace bevfuse::sparse {
namespace {

#define TARGET                                                                                                   \
    __attribute__((target("avx2,fma,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,"     \
                          "amx-bf16" BEVFUSE_WHOLE_VECTORS)))
#define INLINE TARGET static inline __attribute__((always_inline))

constexpr int64_t ROWS = 16, WIDTH = 16, VECTORS = 4;
constexpr int64_t DEPTH = 32;   // input channels in a tile
constexpr int64_t BLOCK = 256;  // input channels that are gathered together: 8 KB

struct alignas(64) Configuration {
    uint8_t palette = 1, first_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Configuration) == TILE_STATE);

// Tiles 0 to 3 for sums of `rows` rows, 4 and 5 for what is multiplied, and 6 and 7 for what is left of `cin` channels.
Configuration laid(int64_t cin, int64_t rows) {
    Configuration tiles;
    const int64_t left = cin % DEPTH ? cin % DEPTH : DEPTH;
    for (int i : {0, 1, 2, 3, 4, 6}) tiles.rows[i] = static_cast<uint8_t>(rows);
    tiles.row_bytes[6] = static_cast<uint16_t>(left * sizeof(uint16_t));
    tiles.rows[7] = static_cast<uint8_t>(left / 2);
    return tiles;
}

TARGET void enter(void* before) {
    static const Configuration whole;
    _tile_storeconfig(before);
    _tile_loadconfig(&whole);
}

INLINE void configure(const Configuration& tiles) {
    asm volatile("" : : "r"(&tiles) : "memory");  // GCC takes the intrinsic to read its first eight bytes only
    _tile_loadconfig(&tiles);
}

TARGET void lay(int64_t cin) { configure(laid(cin, ROWS)); }

TARGET void leave(const void* before) { _tile_loadconfig(before); }

// Channels of the first rows, filled up with zeros to whole tiles: (ROWS, BLOCK). Those after them are asked for.
INLINE void gather(const uint16_t* features, const int32_t* sources, int64_t count, int64_t pitch, int64_t channels,
                   uint16_t* to) {
    for (int64_t i = 0; i < (count < ROWS ? count : ROWS); ++i, to += BLOCK) {
        const uint16_t* row = features + sources[i] * pitch;
        const uint16_t* next = features + sources[i + ROWS < count ? i + ROWS : i] * pitch;
        for (int64_t c = 0; c < channels; c += DEPTH) {
            const __mmask32 there = channels - c < DEPTH ? (1u << (channels - c)) - 1 : ~0u;
            _mm512_store_si512(to + c, _mm512_maskz_loadu_epi16(there, row + c));
            __builtin_prefetch(next + c);
        }
    }
}

// sums (ROWS, C vectors) = rows (ROWS, depth) @ weight (depth, C vectors), by pairs of channels.
template <int C>
INLINE void gathered_product(const uint16_t* rows, int64_t depth, const uint16_t* weight, float* sums) {
    constexpr int64_t STEP = C * 64;  // bytes from one pair of channels to the next, and from one row of sums
    _tile_zero(0);
    if constexpr (C > 1) _tile_zero(1);
    if constexpr (C > 2) _tile_zero(2);
    if constexpr (C > 3) _tile_zero(3);
    for (int64_t c = 0; c < depth; c += DEPTH) {
        const uint16_t* part = weight + c * C * WIDTH;
        _tile_loadd(4, rows + c, BLOCK * sizeof(uint16_t));
        _tile_loadd(5, part, STEP);
        _tile_dpbf16ps(0, 4, 5);
        if constexpr (C > 1) {
            _tile_loadd(6, part + 32, STEP);
            _tile_dpbf16ps(1, 4, 6);
        }
        if constexpr (C > 2) {
            _tile_loadd(7, part + 64, STEP);
            _tile_dpbf16ps(2, 4, 7);
        }
        if constexpr (C > 3) {
            _tile_loadd(5, part + 96, STEP);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, sums, STEP);
    if constexpr (C > 1) _tile_stored(1, sums + 16, STEP);
    if constexpr (C > 2) _tile_stored(2, sums + 32, STEP);
    if constexpr (C > 3) _tile_stored(3, sums + 48, STEP);
}

template <int C>
INLINE void panel(const uint16_t* rows, int64_t depth, const uint16_t* weight, const uint16_t* targets, int64_t count,
                  float* sums, int64_t stride) {
    alignas(64) float products[ROWS * C * WIDTH];
    gathered_product<C>(rows, depth, weight, products);
    for (int64_t i = 0; i < count; ++i) {
        float* to = sums + targets[i] * stride;
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
            const __m512 more = _mm512_load_ps(products + (i * C + c) * WIDTH);
            _mm512_store_ps(to + c * WIDTH, _mm512_add_ps(_mm512_load_ps(to + c * WIDTH), more));
        }
    }
}

// products (rows of a tile, C vectors of cout) = rows (*, cin) @ weight (cin filled up, C vectors).
template <int C>
INLINE void dense_panel(const uint16_t* rows, int64_t cin, const uint16_t* weight, float* products, int64_t cout) {
    constexpr int64_t STEP = C * 64;
    _tile_zero(0);
    if constexpr (C > 1) _tile_zero(1);
    if constexpr (C > 2) _tile_zero(2);
    if constexpr (C > 3) _tile_zero(3);
    int64_t c = 0;
    for (; c + DEPTH <= cin; c += DEPTH) {
        const uint16_t* part = weight + c * C * WIDTH;
        _tile_loadd(4, rows + c, cin * sizeof(uint16_t));
        _tile_loadd(5, part, STEP);
        _tile_dpbf16ps(0, 4, 5);
        if constexpr (C > 1) _tile_loadd(5, part + 32, STEP);
        if constexpr (C > 1) _tile_dpbf16ps(1, 4, 5);
        if constexpr (C > 2) _tile_loadd(5, part + 64, STEP);
        if constexpr (C > 2) _tile_dpbf16ps(2, 4, 5);
        if constexpr (C > 3) _tile_loadd(5, part + 96, STEP);
        if constexpr (C > 3) _tile_dpbf16ps(3, 4, 5);
    }
    if (c < cin) {
        const uint16_t* part = weight + c * C * WIDTH;
        _tile_loadd(6, rows + c, cin * sizeof(uint16_t));
        _tile_loadd(7, part, STEP);
        _tile_dpbf16ps(0, 6, 7);
        if constexpr (C > 1) _tile_loadd(7, part + 32, STEP);
        if constexpr (C > 1) _tile_dpbf16ps(1, 6, 7);
        if constexpr (C > 2) _tile_loadd(7, part + 64, STEP);
        if constexpr (C > 2) _tile_dpbf16ps(2, 6, 7);
        if constexpr (C > 3) _tile_loadd(7, part + 96, STEP);
        if constexpr (C > 3) _tile_dpbf16ps(3, 6, 7);
    }
    _tile_stored(0, products, cout * sizeof(float));
    if constexpr (C > 1) _tile_stored(1, products + 16, cout * sizeof(float));
    if constexpr (C > 2) _tile_stored(2, products + 32, cout * sizeof(float));
    if constexpr (C > 3) _tile_stored(3, products + 48, cout * sizeof(float));
}

TARGET void dense_rows(const uint16_t* rows, const uint16_t* weight, int64_t cin, int64_t cout, float* products) {
    const int64_t filled = padded(cin, DEPTH);
    for (int64_t column = 0; column < cout; column += WIDTH * VECTORS) {
        const int64_t vectors = cout - column < WIDTH * VECTORS ? (cout - column) / WIDTH : VECTORS;
        const uint16_t* part = weight + column * filled;
        if (vectors == 1) dense_panel<1>(rows, cin, part, products + column, cout);
        else if (vectors == 2) dense_panel<2>(rows, cin, part, products + column, cout);
        else if (vectors == 3) dense_panel<3>(rows, cin, part, products + column, cout);
        else dense_panel<4>(rows, cin, part, products + column, cout);
    }
}

// Three tiles of rows by one vector of columns, so that none waits for the other. products (3 * ROWS, WIDTH).
TARGET void dense_column(const uint16_t* rows, int64_t cin, const uint16_t* weight, float* products) {
    constexpr int64_t STEP = 64;
    const int64_t next = ROWS * cin, pitch = cin * sizeof(uint16_t);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    int64_t c = 0;
    for (; c + DEPTH <= cin; c += DEPTH) {
        _tile_loadd(5, weight + c * WIDTH, STEP);
        _tile_loadd(4, rows + c, pitch);
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(4, rows + next + c, pitch);
        _tile_dpbf16ps(1, 4, 5);
        _tile_loadd(4, rows + 2 * next + c, pitch);
        _tile_dpbf16ps(2, 4, 5);
    }
    if (c < cin) {
        _tile_loadd(7, weight + c * WIDTH, STEP);
        _tile_loadd(6, rows + c, pitch);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(6, rows + next + c, pitch);
        _tile_dpbf16ps(1, 6, 7);
        _tile_loadd(6, rows + 2 * next + c, pitch);
        _tile_dpbf16ps(2, 6, 7);
    }
    _tile_stored(0, products, STEP);
    _tile_stored(1, products + ROWS * WIDTH, STEP);
    _tile_stored(2, products + 2 * ROWS * WIDTH, STEP);
}

TARGET void product(const uint16_t* rows, int64_t count, const uint16_t* weight, int64_t cin, int64_t cout,
                    float* products) {
    int64_t i = 0;
    for (; cout == WIDTH && i + 3 * ROWS <= count; i += 3 * ROWS) {
        dense_column(rows + i * cin, cin, weight, products + i * cout);
    }
    for (; i + ROWS <= count; i += ROWS) dense_rows(rows + i * cin, weight, cin, cout, products + i * cout);
    if (i == count) return;
    configure(laid(cin, count - i));
    dense_rows(rows + i * cin, weight, cin, cout, products + i * cout);
    lay(cin);
}

TARGET void multiply(const uint16_t* features, const int32_t* sources, const uint16_t* targets, int64_t count,
                     const uint16_t* weight, int64_t cin, int64_t cout, float* sums) {
    alignas(64) uint16_t rows[ROWS * BLOCK];
    const int64_t filled = padded(cin, DEPTH);
    for (int64_t channel = 0; channel < filled; channel += BLOCK) {
        const int64_t depth = filled - channel < BLOCK ? filled - channel : BLOCK;
        const int64_t there = cin - channel < BLOCK ? cin - channel : BLOCK;
        for (int64_t i = 0; i < count; i += ROWS) {
            const int64_t n = count - i < ROWS ? count - i : ROWS;
            gather(features + channel, sources + i, count - i, cin, there, rows);
            for (int64_t column = 0; column < cout; column += WIDTH * VECTORS) {
                const int64_t vectors = cout - column < WIDTH * VECTORS ? (cout - column) / WIDTH : VECTORS;
                const uint16_t* part = weight + column * filled + channel * vectors * WIDTH;
                float* to = sums + column;
                if (vectors == 1) panel<1>(rows, depth, part, targets + i, n, to, cout);
                else if (vectors == 2) panel<2>(rows, depth, part, targets + i, n, to, cout);
                else if (vectors == 3) panel<3>(rows, depth, part, targets + i, n, to, cout);
                else panel<4>(rows, depth, part, targets + i, n, to, cout);
            }
        }
    }
}

}  // namespace

const Kernels& amx_kernels() {
    static const Kernels table = [] {
        Kernels with_tiles = avx512_bf16_kernels();
        with_tiles.tiles = {DEPTH, enter, multiply, lay, product, leave};
        return with_tiles;
    }();
    return table;
}

}  // namespace bevfuse::sparse
#endif
