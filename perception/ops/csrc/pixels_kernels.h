// The inner loop of pixels.h, for the instruction set of the file that includes this behind blocks.h.

template <class Stored>
TARGET static void pixels_converted(const uint8_t* bytes, int64_t count, const float* scale, const float* shift,
                                    void* to) {
    typedef uint8_t Bytes __attribute__((vector_size(WIDTH), aligned(1), may_alias));
    int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH) {
        const Vector value = __builtin_convertvector(*reinterpret_cast<const Bytes*>(bytes + i), Vector);
        store(static_cast<Stored*>(to) + i, value * load(scale + i, WIDTH) + load(shift + i, WIDTH), WIDTH);
    }
    if (i == count) return;
    Bytes last{};
    __builtin_memcpy(&last, bytes + i, count - i);
    const Vector value = __builtin_convertvector(last, Vector);
    store(static_cast<Stored*>(to) + i, value * load(scale + i, count - i) + load(shift + i, count - i), count - i);
}

static constexpr pixels::Ways PIXELS{pixels_converted<float>, pixels_converted<uint16_t>};
