// The inner loop of attention.h, for the instruction set of the file that includes this behind blocks.h.

// e to the power of each, all at most 0 or not a number, which stays so: two to a whole number, by the exponent's bits,
// and to a rest by its series.
INLINE Vector exponential(Vector x) {
    constexpr float WHOLE = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
    const Vector power = 1.44269504f * (x < -87.0f ? Vector{} - 87.0f : x), whole = power + WHOLE;
    const Vector rest = power - (whole - WHOLE);
    Vector series = Vector{} + 1.5403530e-4f;
    series = series * rest + 1.3333558e-3f;
    series = series * rest + 9.6181291e-3f;
    series = series * rest + 5.5504109e-2f;
    series = series * rest + 2.4022651e-1f;
    series = series * rest + 6.9314718e-1f;
    series = series * rest + 1.0f;
    const Vector value = (Vector)((Bits)series + ((Bits)whole << 23));
    return x < -87.0f ? Vector{} : (x <= 0.0f ? value : x);
}

// Of a vector's numbers, half and half.
template <int COUNT>
struct Lanes {
    typedef float Vector __attribute__((vector_size(COUNT * 4)));
};

struct Larger {
    template <class Type>
    INLINE Type of(Type a, Type b) { return a > b ? a : b; }
};

struct Sum {
    template <class Type>
    INLINE Type of(Type a, Type b) { return a + b; }
};

template <class Join, int COUNT>
INLINE float folded(typename Lanes<COUNT>::Vector x) {
    if constexpr (COUNT == 1) {
        return x[0];
    } else {
        typename Lanes<COUNT / 2>::Vector halves[2];
        __builtin_memcpy(halves, &x, sizeof x);
        return folded<Join, COUNT / 2>(Join::of(halves[0], halves[1]));
    }
}

// sums (count, columns) += rows (count, stride)[:, :depth] @ weight, which is packed by panels.
INLINE void product(const float* rows, int64_t stride, const int32_t* each, const uint16_t* places, int64_t count,
                    const float* weight, int64_t depth, int64_t columns, float* sums) {
    for (int64_t column = 0; column < columns; column += WIDTH * VECTORS) {
        const int64_t left = (columns - column) / WIDTH;
        panel_of<Float, VECTORS>(left < VECTORS ? left : VECTORS, rows, stride, each, places, count,
                                 weight + column * depth, depth, sums + column, columns);
    }
}

// Where a column of a packed matrix begins, and how far apart its elements are.
struct Column {
    int64_t begin, step;
};

INLINE Column column_of(int64_t column, int64_t rows, int64_t columns) {
    constexpr int64_t PANEL = WIDTH * VECTORS;
    const int64_t first = column / PANEL * PANEL;
    return {first * rows + column - first, columns - first < PANEL ? columns - first : PANEL};
}

// The next head's rows, or the next window's: asked for while this one's are computed with, for they lie all over.
template <class Stored>
INLINE void prefetch_next(const attention::Windows& windows, const Stored* qkv, int64_t image, int64_t window,
                          int64_t head, int64_t place) {
    const bool same = head + 1 < windows.heads;
    if (!same && window + 1 == windows.windows) return;
    const int32_t token = windows.there[(window + !same) * windows.area + place];
    if (token < 0) return;
    const int64_t channels = windows.heads * windows.width;
    const Stored* row = qkv + (image * windows.tokens + token) * 3 * channels + (same ? (head + 1) * windows.width : 0);
    for (int i = 0; i < 3; ++i) prefetch(row + i * channels, windows.width * sizeof(Stored));
}

template <class Stored>
TARGET static void attend_as(const attention::Windows& windows, const void* qkv, const void* padding, int64_t image,
                             int64_t window, float* workspace, void* out) {
    const int64_t area = windows.area, width = windows.width, channels = windows.heads * width;
    const int64_t keys = (area + WIDTH - 1) / WIDTH * WIDTH;
    float* q = workspace;                 // (area, width)
    float* v = q + area * width;          // (area, width), packed
    float* sums = v + area * width;       // (area, width)
    float* k = sums + area * width;       // (width, keys), packed
    float* seen = k + width * keys;       // (area, keys)
    float* shares = seen + area * windows.keys;  // (area,)
    int32_t* each = reinterpret_cast<int32_t*>(shares + area);
    uint16_t* places = reinterpret_cast<uint16_t*>(each + area);
    for (int64_t a = 0; a < area; ++a) each[a] = static_cast<int32_t>(a), places[a] = static_cast<uint16_t>(a);
    for (int64_t i = 0; i < width * keys; ++i) k[i] = 0;
    const int32_t* there = windows.there + window * area;
    const float* regions = windows.regions ? windows.regions + window * windows.keys : nullptr;
    const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(width));
    for (int64_t head = 0; head < windows.heads; ++head) {
        for (int64_t a = 0; a < area; ++a) {
            const Stored* row = static_cast<const Stored*>(padding);
            if (there[a] >= 0) {
                row = static_cast<const Stored*>(qkv) + (image * windows.tokens + there[a]) * 3 * channels;
            }
            row += head * width;
            prefetch_next(windows, static_cast<const Stored*>(qkv), image, window, head, a);
            const Column key = column_of(a, width, keys);
            for (int64_t c = 0; c < width; c += WIDTH) {
                const Column value = column_of(c, area, width);
                store(q + a * width + c, load(row + c, WIDTH) * scale, WIDTH);
                store(v + value.begin + a * value.step, load(row + 2 * channels + c, WIDTH), WIDTH);
                float numbers[WIDTH];
                store(numbers, load(row + channels + c, WIDTH), WIDTH);
#pragma GCC unroll 16
                for (int i = 0; i < WIDTH; ++i) k[key.begin + (c + i) * key.step] = numbers[i];
            }
        }
        for (int64_t a = 0; a < area; ++a) {
            const float* bias = windows.bias + (head * area + a) * windows.keys;
            for (int64_t c = 0; c < keys; c += WIDTH) {
                Vector logits = load(bias + c, WIDTH);
                if (regions) {
                    logits += load(regions + c, WIDTH) == regions[a] ? Vector{} : Vector{} + attention::UNSEEN;
                }
                store(seen + a * keys + c, logits, WIDTH);
            }
        }
        product(q, width, each, places, area, k, width, keys, seen);
        for (int64_t i = 0; i < area * width; ++i) sums[i] = 0;
        for (int64_t a = 0; a < area; ++a) {
            float* logits = seen + a * keys;
            Vector most = load(logits, WIDTH), sum{};
            for (int64_t c = WIDTH; c < keys; c += WIDTH) {
                const Vector more = load(logits + c, WIDTH);
                most = most > more ? most : more;
            }
            const float best = folded<Larger, WIDTH>(most);
            for (int64_t c = 0; c < keys; c += WIDTH) {
                const Vector value = exponential(load(logits + c, WIDTH) - best);
                store(logits + c, value, WIDTH);
                sum += value;
            }
            shares[a] = 1.0f / folded<Sum, WIDTH>(sum);
        }
        product(seen, keys, each, places, area, v, area, width, sums);
        for (int64_t a = 0; a < area; ++a) {
            if (there[a] < 0) continue;
            Stored* row = static_cast<Stored*>(out) + (image * windows.tokens + there[a]) * channels + head * width;
            for (int64_t c = 0; c < width; c += WIDTH) store(row + c, load(sums + a * width + c, WIDTH) * shares[a], WIDTH);
        }
    }
}

static constexpr attention::Ways ATTENTION{attend_as<float>, attend_as<uint16_t>};
