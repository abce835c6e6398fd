// The inner loops of bottleneck.h, for the instruction set of the file that includes this behind blocks.h and
// rows_kernels.h.

INLINE Vector relu6(Vector value) {
    const Vector least{}, most = bottleneck::MOST - Vector{};
    value = least > value ? least : value;
    return most < value ? most : value;
}

// Calls put(i, n, place) for pixels of a map, n side by side from the i-th on, where place is that of the first vector of
// the first of them in the strip.
template <class Put>
INLINE void each_run(const bottleneck::Shape& shape, int64_t pixel, int64_t count, int64_t row,
                     const bottleneck::Strip& strip, const Put& put) {
    int64_t y = pixel / shape.width, x = pixel % shape.width;
    for (int64_t i = 0, n; i < count; i += n, x = 0, ++y) {
        n = count - i < shape.width - x ? count - i : shape.width - x;
        put(i, n, strip.wide + ((y - row) * strip.columns + shape.left + x) * WIDTH);
    }
}

TARGET static void bottleneck_cleared(const bottleneck::Shape& shape, int64_t channels, int64_t row,
                                      const bottleneck::Strip& strip) {
    const int64_t right = shape.left + shape.width;
    float* to = strip.wide;
    for (int64_t c = 0; c < channels; c += WIDTH) {
        for (int64_t y = row; y < row + strip.rows; ++y, to += strip.columns * WIDTH) {
            const bool inside = y >= 0 && y < shape.height;
            for (int64_t x = 0; x < (inside ? shape.left : strip.columns) * WIDTH; ++x) to[x] = 0;
            for (int64_t x = right * WIDTH; inside && x < strip.columns * WIDTH; ++x) to[x] = 0;
        }
    }
}

TARGET static void bottleneck_widened(const bottleneck::Shape& shape, const float* products, int64_t channels,
                                      const float* bias, int64_t pixel, int64_t count, int64_t row,
                                      const bottleneck::Strip& strip) {
    const int64_t plane = strip.rows * strip.columns * WIDTH;
    each_run(shape, pixel, count, row, strip, [&](int64_t first, int64_t n, float* to) TARGET {
        for (int64_t c = 0; c < channels; c += WIDTH, to += plane) {
            const float* from = products + first * channels + c;
            const Vector start = load(bias + c, WIDTH);
            for (int64_t i = 0; i < n; ++i) {
                const Vector product = *reinterpret_cast<const Aligned*>(from + i * channels);
                reinterpret_cast<Aligned*>(to)[i] = relu6(product + start);
            }
        }
    });
}

template <class Stored>
TARGET static void bottleneck_taken(const bottleneck::Shape& shape, const void* inputs, int64_t channels, int64_t pixel,
                                    int64_t count, int64_t row, const bottleneck::Strip& strip) {
    const int64_t plane = strip.rows * strip.columns * WIDTH;
    each_run(shape, pixel, count, row, strip, [&](int64_t first, int64_t n, float* to) TARGET {
        for (int64_t c = 0; c < channels; c += WIDTH, to += plane) {
            const Stored* from = static_cast<const Stored*>(inputs) + (pixel + first) * shape.inner + c;
            for (int64_t i = 0; i < n; ++i) reinterpret_cast<Aligned*>(to)[i] = load(from + i * shape.inner, WIDTH);
        }
    });
}

// R rows of X outputs each, S pixels apart, of one vector of channels.
template <class Stored, int S, int R, int X>
INLINE void convolved_block(const bottleneck::Shape& shape, const float* from, int64_t row, const float* weight,
                            Vector bias, Stored* to) {
    Vector sum[R][X];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int x = 0; x < X; ++x) sum[r][x] = bias;
    }
    for (int64_t down = 0; down < shape.kernel; ++down, from += row) {
        for (int64_t across = 0; across < shape.kernel; ++across, weight += shape.inner) {
            const Vector factor = *reinterpret_cast<const Unaligned*>(weight);
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
                for (int x = 0; x < X; ++x) {
                    sum[r][x] += factor * *reinterpret_cast<const Aligned*>(from + r * S * row + (x * S + across) * WIDTH);
                }
            }
        }
    }
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int x = 0; x < X; ++x) store(to + (r * shape.out_width + x) * shape.inner, relu6(sum[r][x]), WIDTH);
    }
}

// The outputs from column x on of R rows, by blocks of at most X.
template <class Stored, int S, int R, int X>
INLINE void convolved_rows(const bottleneck::Shape& shape, const float* from, int64_t row, const float* weight,
                           Vector bias, Stored* to, int64_t x = 0) {
    for (; x + X <= shape.out_width; x += X) {
        convolved_block<Stored, S, R, X>(shape, from + x * S * WIDTH, row, weight, bias, to + x * shape.inner);
    }
    if constexpr (X > 1) convolved_rows<Stored, S, R, X / 2>(shape, from, row, weight, bias, to, x);
}

template <class Stored, int S>
INLINE void convolved_by(const bottleneck::Shape& shape, const bottleneck::Strip& strip, int64_t channels, int64_t rows,
                         const float* weight, const float* bias, Stored* out) {
    const int64_t row = strip.columns * WIDTH;
    for (int64_t c = 0; c < channels; c += WIDTH) {
        const float* plane = strip.wide + c / WIDTH * strip.rows * row;
        const Vector start = load(bias + c, WIDTH);
        Stored* to = out + c;
        int64_t y = 0;
        if (shape.out_width < 8) {  // two rows at once: fewer sums than eight would wait for each other
            for (; y + 2 <= rows; y += 2) {
                convolved_rows<Stored, S, 2, 4>(shape, plane + y * S * row, row, weight + c, start,
                                                to + y * shape.out_width * shape.inner);
            }
        }
        for (; y < rows; ++y) {
            convolved_rows<Stored, S, 1, 8>(shape, plane + y * S * row, row, weight + c, start,
                                            to + y * shape.out_width * shape.inner);
        }
    }
}

template <class Stored>
TARGET static void bottleneck_convolved(const bottleneck::Shape& shape, const bottleneck::Strip& strip, int64_t channels,
                                        int64_t rows, const float* weight, const float* bias, void* out) {
    Stored* to = static_cast<Stored*>(out);
    if (shape.stride == 1) convolved_by<Stored, 1>(shape, strip, channels, rows, weight, bias, to);
    else convolved_by<Stored, 2>(shape, strip, channels, rows, weight, bias, to);
}

template <class Stored>
static constexpr bottleneck::Way bottleneck_way() {
    return {bottleneck_taken<Stored>, bottleneck_convolved<Stored>, rows_finished<Stored>};
}

static constexpr bottleneck::Ways BOTTLENECK{bottleneck_cleared, bottleneck_widened, bottleneck_way<float>(),
                                             bottleneck_way<uint16_t>()};
