// Vectors and the products of matrices that all inner loops share, included once for each instruction set by a file
// that defines
//   TARGET   the attribute that allows its instructions
//   WIDTH    floats in a vector
//   VECTORS  vectors of output channels in a panel
//   ROWS(c)  pairs taken together while c vectors of sums each stay in registers
// inside a namespace of its own. Vectors are those of GCC and Clang, so that one text serves all.
//
// The products are register blocked as in dense matrix products (Goto and van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication", TOMS 2008): a block of the weight stays in the first-level cache while all pairs of an offset
// pass by; rows are read where they lie, since a row is long enough to be read in whole cache lines.

#define INLINE TARGET static inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(WIDTH * 4)));
typedef float Aligned __attribute__((vector_size(WIDTH * 4), may_alias));
typedef float Unaligned __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));

INLINE void prefetch(const void* row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(row) + i);
}

typedef uint32_t Bits __attribute__((vector_size(WIDTH * 4)));
typedef uint16_t Halves __attribute__((vector_size(WIDTH * 2), aligned(2), may_alias));

INLINE Vector widened(Halves value) { return (Vector)(__builtin_convertvector(value, Bits) << 16); }

#if !defined(OWN_NARROWED)
// To the nearest, ties to even; what isn't a number stays so.
INLINE Halves narrowed(Vector value) {
    const Bits bits = (Bits)value;
    const Bits rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return __builtin_convertvector((Bits)(value == value ? rounded : Bits{} + 0x7fc0), Halves);
}
#endif

// The first `left` of a row's values, fewer than a vector, and zeros; and storing so many.
#if WIDTH == 16  // AVX-512 has masks for that
INLINE __mmask16 first_of(int64_t left) { return static_cast<__mmask16>((1u << left) - 1); }

INLINE Vector load_part(const float* from, int64_t left) { return _mm512_maskz_loadu_ps(first_of(left), from); }

INLINE Vector load_part(const uint16_t* from, int64_t left) {
    return widened((Halves)_mm256_maskz_loadu_epi16(first_of(left), from));
}

INLINE void store_part(float* to, Vector value, int64_t left) { _mm512_mask_storeu_ps(to, first_of(left), value); }

INLINE void store_part(uint16_t* to, Vector value, int64_t left) {
    _mm256_mask_storeu_epi16(to, first_of(left), (__m256i)narrowed(value));
}
#else
INLINE Vector load_part(const float* from, int64_t left) {
    Vector value{};
    __builtin_memcpy(&value, from, left * sizeof(float));
    return value;
}

INLINE Vector load_part(const uint16_t* from, int64_t left) {
    Halves value{};
    __builtin_memcpy(&value, from, left * sizeof(uint16_t));
    return widened(value);
}

INLINE void store_part(float* to, Vector value, int64_t left) { __builtin_memcpy(to, &value, left * sizeof(float)); }

INLINE void store_part(uint16_t* to, Vector value, int64_t left) {
    const Halves halves = narrowed(value);
    __builtin_memcpy(to, &halves, left * sizeof(uint16_t));
}
#endif

// The first `left` of a row's values, at most a vector.
INLINE Vector load(const float* from, int64_t left) {
    return left >= WIDTH ? *reinterpret_cast<const Unaligned*>(from) : load_part(from, left);
}

INLINE Vector load(const uint16_t* from, int64_t left) {
    return left >= WIDTH ? widened(*reinterpret_cast<const Halves*>(from)) : load_part(from, left);
}

INLINE void store(float* to, Vector value, int64_t left) {
    if (left >= WIDTH) *reinterpret_cast<Unaligned*>(to) = value;
    else store_part(to, value, left);
}

INLINE void store(uint16_t* to, Vector value, int64_t left) {
    if (left >= WIDTH) *reinterpret_cast<Halves*>(to) = narrowed(value);
    else store_part(to, value, left);
}

// What one step of a product takes from a row of the input: a channel in float, a pair of channels in bf16.
struct Float {
    typedef float Element;
    static constexpr int CHANNELS = 1;
    INLINE Vector everywhere(const float* element) { return *element - Vector{}; }
    INLINE Vector add(Vector sum, Vector element, Vector weight) { return sum + element * weight; }
};

// sums[r] += rows[r][:depth] @ weight (depth, C vectors), r < R.
template <class Type, int R, int C>
INLINE void block(const typename Type::Element* const* rows, const typename Type::Element* weight, int64_t depth,
                  float* const* sums) {
    Vector sum[R][C];
    const typename Type::Element* row[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
        row[r] = rows[r];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[r][c] = reinterpret_cast<const Aligned*>(sums[r])[c];
    }
    for (int64_t k = 0; k < depth; ++k) {
        Vector column[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) column[c] = reinterpret_cast<const Aligned*>(weight)[k * C + c];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const Vector element = Type::everywhere(row[r] + k * Type::CHANNELS);
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) sum[r][c] = Type::add(sum[r][c], element, column[c]);
        }
    }
    asm volatile("" : : "r"(sums) : "memory");  // else GCC keeps the places of the sums in vector registers meanwhile
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) reinterpret_cast<Aligned*>(sums[r])[c] = sum[r][c];
    }
}

template <class Type, int R, int C>
TARGET static void remaining(int64_t count, const typename Type::Element* const* rows,
                             const typename Type::Element* weight, int64_t depth, float* const* sums) {
    if constexpr (R > 0) {
        if (count == R) block<Type, R, C>(rows, weight, depth, sums);
        else remaining<Type, R - 1, C>(count, rows, weight, depth, sums);
    }
}

// One panel of C vectors of output channels. `depth` steps of the input channels, rows `stride` elements apart.
template <class Type, int C>
TARGET static void panel(const typename Type::Element* features, int64_t stride, const int32_t* sources,
                         const uint16_t* targets, int64_t count, const typename Type::Element* weight, int64_t depth,
                         float* sums, int64_t sums_stride) {
    constexpr int R = ROWS(C);
    const typename Type::Element* rows[R];
    float* places[R];
    const int64_t bytes = depth * Type::CHANNELS * sizeof(typename Type::Element);
    int64_t i = 0;
    for (; i + R <= count; i += R) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            rows[r] = features + sources[i + r] * stride;
            places[r] = sums + targets[i + r] * sums_stride;
        }
        if (i + 2 * R <= count) {
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) prefetch(features + sources[i + R + r] * stride, bytes);
        }
        asm volatile("" : : "r"(places) : "memory");
        block<Type, R, C>(rows, weight, depth, places);
    }
    for (int64_t r = i; r < count; ++r) {
        rows[r - i] = features + sources[r] * stride;
        places[r - i] = sums + targets[r] * sums_stride;
    }
    remaining<Type, R - 1, C>(count - i, rows, weight, depth, places);
}

// The same with as many vectors as are left, at most C.
template <class Type, int C, class... Rest>
INLINE void panel_of(int64_t vectors, const Rest&... rest) {
    if constexpr (C > 1) {
        if (vectors < C) return panel_of<Type, C - 1>(vectors, rest...);
    }
    panel<Type, C>(rest...);
}

template <class Type>
INLINE void multiply_as(const typename Type::Element* features, const int32_t* sources, const uint16_t* targets,
                        int64_t count, const typename Type::Element* weight, int64_t cin, int64_t cout, float* sums) {
    constexpr int64_t BLOCK = 4096 / (WIDTH * VECTORS);  // steps: 16 KB of weights, half a first-level cache
    const int64_t steps = cin / Type::CHANNELS;
    for (int64_t column = 0; column < cout; column += WIDTH * VECTORS) {
        const int64_t left = (cout - column) / WIDTH, vectors = left < VECTORS ? left : VECTORS;
        for (int64_t step = 0; step < steps; step += BLOCK) {
            const int64_t depth = steps - step < BLOCK ? steps - step : BLOCK;
            const auto* part = weight + column * cin + step * Type::CHANNELS * vectors * WIDTH;
            panel_of<Type, VECTORS>(vectors, features + step * Type::CHANNELS, cin, sources, targets, count, part,
                                    depth, sums + column, cout);
        }
    }
}
