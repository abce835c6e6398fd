// The inner loops of straight.h, for the instruction set of the file that includes this behind blocks.h.

// log(1 + x) for x >= 0, 1e-7 off: with 1 + x = m 2^e, m about 1, it is e log 2 + log m, a polynomial in m - 1 that was
// fitted at Chebyshev's points.
INLINE Vector logarithm_after_one(Vector x) {
    constexpr uint32_t ROOT = 0x3f3504f3;  // the square root of a half
    const Bits bits = (Bits)(x + 1.0f) - ROOT;
    typedef int32_t Signed __attribute__((vector_size(WIDTH * 4)));
    const Vector exponent = __builtin_convertvector((Signed)bits >> 23, Vector);
    const Vector f = (Vector)((bits & 0x007fffff) + ROOT) - 1.0f;
    Vector sum = 0.0927216f - Vector{};
    for (float factor : {-0.1411842f, 0.14676411f, -0.16592857f, 0.19985127f, -0.2500092f, 0.3333341f}) {
        sum = sum * f + factor;
    }
    return exponent * 0.69314718f + (f - f * f * 0.5f + f * f * f * sum);
}

template <class Stored>
TARGET static void straightened(const straight::Layout& layout, const uint8_t* trail, float half, const float* known,
                                float* workspace, void* rows) {
    const int64_t lines = layout.spans * layout.layers, edges = layout.bins + 1;
    float* sums = workspace;  // (lines, cells + 1), counts of all cells before
    float* edge = sums + lines * (layout.cells + 1);
    float* at = edge + edges;
    float* straight = at + edges;  // (lines, bins)
    for (int64_t line = 0; line < lines; ++line) {
        float* sum = sums + line * (layout.cells + 1);
        sum[0] = 0;
        for (int64_t i = 0; i < layout.cells; ++i) sum[i + 1] = sum[i] + trail[line * layout.cells + i];
    }
    const float to_cells = 1 / layout.cell_m, middle = static_cast<float>(layout.cells / 2);
    const float last = static_cast<float>(layout.cells) - 1e-3f;
    for (int64_t i = 0; i < edges; ++i) {
        edge[i] = (2 * static_cast<float>(i) / static_cast<float>(layout.bins) - 1) * half * to_cells + middle;
    }
    Stored* row = static_cast<Stored*>(rows);
    for (int64_t s = 0; s < layout.speeds; ++s, row += layout.pitch) {
        const float shift = layout.speed[s] * layout.span_s * to_cells;
        for (int64_t line = 0; line < lines; ++line) {
            const float* sum = sums + line * (layout.cells + 1);
            const float gone = shift * static_cast<float>(line / layout.layers);
            for (int64_t i = 0; i < edges; ++i) {
                float place = edge[i] - gone;
                place = place > 0 ? place : 0;
                place = place < last ? place : last;
                const int32_t left = static_cast<int32_t>(place);
                const float below = sum[left], above = sum[left + 1];
                at[i] = below + (above - below) * (place - static_cast<float>(left));
            }
            for (int64_t i = 0; i < layout.bins; ++i) {
                const float more = at[i + 1] - at[i];
                straight[line * layout.bins + i] = more > 0 ? more : 0;
            }
        }
        const int64_t width = layout.width();
        for (int64_t i = 0; i < width; i += WIDTH) {
            store(row + i, logarithm_after_one(load(straight + i, width - i)), width - i);
        }
        for (int64_t i = 0; i < layout.known; i += WIDTH) {
            store(row + width + i, load(known + i, layout.known - i), layout.known - i);
        }
        store(row + width + layout.known, layout.sizes[s] - Vector{}, 1);
        for (int64_t i = width + layout.known + 1; i < layout.pitch; ++i) row[i] = 0;
    }
}

static constexpr straight::Ways STRAIGHT{straightened<float>, straightened<uint16_t>};
