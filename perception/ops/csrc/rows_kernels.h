// The inner loop of rows.h, for the instruction set of the file that includes this behind blocks.h.

template <class Stored>
TARGET static void rows_finished(const float* products, int64_t stride, int64_t channels, const float* bias,
                                 int64_t count, const void* residual, float least, float most, void* out) {
    const Vector lowest = least - Vector{}, highest = most - Vector{};
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t c = 0; c < channels; c += WIDTH) {
            const int64_t left = channels - c;
            Vector sum = *reinterpret_cast<const Aligned*>(products + i * stride + c) + load(bias + c, left);
            if (residual) sum += load(static_cast<const Stored*>(residual) + i * channels + c, left);
            sum = lowest > sum ? lowest : sum;
            sum = highest < sum ? highest : sum;
            store(static_cast<Stored*>(out) + i * channels + c, sum, left);
        }
    }
}

static constexpr rows::Ways ROWS_OF{rows_finished<float>, rows_finished<uint16_t>};
