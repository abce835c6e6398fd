// The transforms of winograd.h, for the instruction set of the file that includes this behind blocks.h.
//
// Polynomials are evaluated at 0, +-1/sqrt(2), +-sqrt(2) and infinity for four outputs, at 0, +-1 and infinity for two:
// where points lie evenly about 1, less is rounded off (Barabasz et al., "Error Analysis and Improving the Accuracy of
// Winograd Convolution for Deep Neural Networks", TOMS 2020). perception/ops/winograd.py has the same as matrices.

// Vectors apart by `Step` are one line of a tile.
struct Two {
    static constexpr int OUTPUTS = 2, PLACES = 4;
    template <int STEP>
    INLINE void into(Vector* d) {
        const Vector d0 = d[0], d1 = d[STEP], d2 = d[2 * STEP], d3 = d[3 * STEP];
        d[0] = d2 - d0;
        d[STEP] = d2 + d1;
        d[2 * STEP] = d2 - d1;
        d[3 * STEP] = d3 - d1;
    }
    template <int STEP>
    INLINE void back(Vector* m) {
        const Vector m1 = m[STEP], m2 = m[2 * STEP];
        m[0] = m[0] + (m1 + m2);
        m[STEP] = (m1 - m2) + m[3 * STEP];
    }
};

struct Four {
    static constexpr int OUTPUTS = 4, PLACES = 6;
    static constexpr float ROOT = 1.41421356237f;
    template <int STEP>
    INLINE void into(Vector* d) {
        const Vector d0 = d[0], d1 = d[STEP], d2 = d[2 * STEP], d3 = d[3 * STEP], d4 = d[4 * STEP], d5 = d[5 * STEP];
        const Vector near = d4 - 2.0f * d2, near_odd = (ROOT / 2) * (d3 - 2.0f * d1);
        const Vector far = d4 - 0.5f * d2, far_odd = ROOT * (d3 - 0.5f * d1);
        d[0] = (d4 + d0) - 2.5f * d2;
        d[STEP] = near + near_odd;
        d[2 * STEP] = near - near_odd;
        d[3 * STEP] = far + far_odd;
        d[4 * STEP] = far - far_odd;
        d[5 * STEP] = (d5 + d1) - 2.5f * d3;
    }
    template <int STEP>
    INLINE void back(Vector* m) {
        const Vector near = m[STEP] + m[2 * STEP], near_odd = (ROOT / 2) * (m[STEP] - m[2 * STEP]);
        const Vector far = m[3 * STEP] + m[4 * STEP], far_odd = ROOT * (m[3 * STEP] - m[4 * STEP]);
        m[0] = m[0] + (near + far);
        m[STEP] = near_odd + far_odd;
        m[2 * STEP] = 0.5f * near + 2.0f * far;
        m[3 * STEP] = (0.5f * near_odd + 2.0f * far_odd) + m[5 * STEP];
    }
};

// Where a tile is.
struct Place {
    int64_t map, row, column;  // of its first output
};

template <class Down, class Across>
INLINE Place place_of(const winograd::Maps& maps, int64_t tile) {
    const int64_t across = (maps.out_width + Across::OUTPUTS - 1) / Across::OUTPUTS;
    const int64_t down = (maps.out_height + Down::OUTPUTS - 1) / Down::OUTPUTS;
    return {tile / (across * down), tile / across % down * Down::OUTPUTS, tile % across * Across::OUTPUTS};
}

template <class Stored, class Down, class Across>
TARGET static void winograd_into(const winograd::Maps& maps, const void* inputs, const void* zeros, int64_t first,
                                 int64_t tiles, int64_t pitch, void* rows) {
    constexpr int H = Down::PLACES, W = Across::PLACES;
    const Stored* from[H * W];
    for (int64_t i = 0; i < tiles; ++i) {
        const Place at = place_of<Down, Across>(maps, first + i);
        for (int y = 0; y < H; ++y) {
            for (int x = 0; x < W; ++x) {
                const int64_t row = at.row - maps.top + y, column = at.column - maps.left + x;
                const bool inside = row >= 0 && row < maps.height && column >= 0 && column < maps.width;
                const int64_t pixel = (at.map * maps.height + row) * maps.width + column;
                from[y * W + x] = inside ? static_cast<const Stored*>(inputs) + pixel * maps.channels
                                         : static_cast<const Stored*>(zeros);
            }
        }
        Stored* to = static_cast<Stored*>(rows) + i * maps.channels;
        for (int64_t c = 0; c < maps.channels; c += WIDTH) {
            const int64_t left = maps.channels - c;
            Vector d[H * W];
#pragma GCC unroll 36
            for (int k = 0; k < H * W; ++k) d[k] = load(from[k] + c, left);
#pragma GCC unroll 6
            for (int x = 0; x < W; ++x) Down::template into<W>(d + x);
#pragma GCC unroll 6
            for (int y = 0; y < H; ++y) Across::template into<1>(d + y * W);
#pragma GCC unroll 36
            for (int k = 0; k < H * W; ++k) store(to + k * pitch + c, d[k], left);
        }
    }
}

template <class Stored, class Down, class Across>
TARGET static void winograd_back(const winograd::Maps& maps, const float* sums, int64_t stride, int64_t pitch,
                                 int64_t first, int64_t tiles, const winograd::Epilogue& epilogue, void* outputs) {
    constexpr int H = Down::PLACES, W = Across::PLACES;
    const Vector least = epilogue.least - Vector{}, most = epilogue.most - Vector{};
    for (int64_t i = 0; i < tiles; ++i) {
        const Place at = place_of<Down, Across>(maps, first + i);
        const int64_t rows = maps.out_height - at.row, columns = maps.out_width - at.column;
        Stored* to = static_cast<Stored*>(outputs) +
                     ((at.map * maps.out_height + at.row) * maps.out_width + at.column) * maps.out_channels;
        for (int64_t c = 0; c < maps.out_channels; c += WIDTH) {
            const int64_t left = maps.out_channels - c;
            const Vector bias = epilogue.bias ? load(epilogue.bias + c, left) : Vector{};
            Vector m[H * W];
#pragma GCC unroll 36
            for (int k = 0; k < H * W; ++k) m[k] = *reinterpret_cast<const Aligned*>(sums + k * pitch + i * stride + c);
#pragma GCC unroll 6
            for (int x = 0; x < W; ++x) Down::template back<W>(m + x);
#pragma GCC unroll 6
            for (int y = 0; y < Down::OUTPUTS; ++y) Across::template back<1>(m + y * W);
            for (int y = 0; y < Down::OUTPUTS && y < rows; ++y) {
                for (int x = 0; x < Across::OUTPUTS && x < columns; ++x) {
                    Vector sum = m[y * W + x] + bias;
                    sum = sum < least ? least : sum;
                    sum = sum > most ? most : sum;
                    store(to + (y * maps.out_width + x) * maps.out_channels + c, sum, left);
                }
            }
        }
    }
}

template <class Stored, class Down, class Across>
static constexpr winograd::Way way() {
    return {Down::OUTPUTS, Across::OUTPUTS, winograd_into<Stored, Down, Across>, winograd_back<Stored, Down, Across>};
}

static constexpr winograd::Ways WINOGRAD{way<float, Four, Four>(), way<uint16_t, Four, Two>()};
