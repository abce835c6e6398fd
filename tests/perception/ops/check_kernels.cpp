// The kernels without Python, for tools and machines on which it doesn't run: ThreadSanitizer, an emulated processor.
//
// Each is called with one thread and with four, and by two callers at once. Results must be the definition's to
// rounding, and the same to the last bit. With the argument "race" two threads write one number on purpose, which
// ThreadSanitizer must report: else it would report nothing of the kernels either.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "attention.h"
#include "bev.h"
#include "bottleneck.h"
#include "common.h"
#include "pixels.h"
#include "perceptron.h"
#include "sparse.h"
#include "straight.h"
#include "winograd.h"

using namespace bevfuse::sparse;

extern "C" {
const char* bevfuse_isa();
int64_t bevfuse_bev_count(const int64_t*, int64_t, int64_t, const bevfuse::Images*, int64_t, int32_t*, int64_t*,
                          int64_t*);
int bevfuse_bev_sort(const int64_t*, int64_t, int64_t, const bevfuse::Images*, int64_t*, int32_t*, int32_t*);
int bevfuse_bev_pool(const float*, const float*, const int32_t*, const int32_t*, const int32_t*, const int64_t*,
                     int64_t, int64_t, float*, int);
int bevfuse_bev_pool_backward(const float*, const float*, const float*, const int32_t*, const bevfuse::Images*,
                              int64_t, int64_t, int64_t, float*, float*, int);
int bevfuse_voxel_keys(const float*, int64_t, int64_t, const float*, const float*, const int64_t*, int64_t*, int);
int bevfuse_trails(const float*, int64_t, const double*, int64_t, const double*, int64_t, int64_t, int64_t, uint8_t*,
                   int);
int bevfuse_surroundings(const float*, int64_t, const double*, int64_t, int64_t, float*, int64_t*, int);
int bevfuse_sparse_build(const int64_t*, int64_t, const int64_t*, int64_t, int, void**, int64_t*);
int bevfuse_sparse_export(const void*, int64_t*, int32_t*, int64_t*, int32_t*, uint16_t*, int);
int bevfuse_sparse_free(void*);
int bevfuse_sparse_convolve(const void*, const void*, const int64_t*, int64_t, int64_t, int, const Rules*,
                            const Epilogue*, void*, int);
int bevfuse_sparse_weight_gradient(const float*, const float*, int64_t, int64_t, const Rules*, float*, int);
int64_t bevfuse_winograd_padded(int64_t);
int bevfuse_winograd_pack(const void*, int64_t, int64_t, int64_t, int, void*);
int bevfuse_winograd_convolve(const bevfuse::winograd::Maps*, const void*, const void*, int,
                              const bevfuse::winograd::Epilogue*, void*, int);
int64_t bevfuse_rows_packed(int64_t, int64_t, int);
int bevfuse_rows_pack(const void*, int64_t, int64_t, int, int, void*);
int bevfuse_bottleneck(const bevfuse::bottleneck::Shape*, const void*, int, const void*, const float*, const float*,
                       const float*, const void*, const float*, int, void*, int);
int bevfuse_perceptron(const void*, int64_t, int, const bevfuse::perceptron::Layer*, int64_t, const int64_t*, int64_t,
                       float*, int);
int bevfuse_convolve_pixels(const bevfuse::pixels::Shape*, const uint8_t*, int, const void*, const float*, float, float,
                            const float*, const float*, void*, int);
int bevfuse_straightened(const bevfuse::straight::Layout*, const uint8_t*, int64_t, const float*, const float*, int,
                         void*, int);
int bevfuse_window_attention(const bevfuse::attention::Windows*, const void*, const void*, int, void*, int);
}

namespace {

using Floats = std::vector<float>;

void require(bool holds, const char* what) {
    if (holds) return;
    std::printf("%s: not so\n", what);
    std::exit(1);
}

bool same(const Floats& a, const Floats& b) {
    return a.size() == b.size() && !std::memcmp(a.data(), b.data(), a.size() * sizeof(float));
}

bool close(const Floats& a, const Floats& b) {
    for (size_t i = 0; i < a.size(); ++i) {
        if (!(std::abs(a[i] - b[i]) <= 1e-3f * (1 + std::abs(b[i])))) return false;
    }
    return a.size() == b.size();
}

class Random {
  public:
    explicit Random(int seed) : source_(seed) {}
    int64_t below(int64_t end) { return static_cast<int64_t>(source_() % static_cast<uint64_t>(end)); }
    Floats floats(int64_t count) {
        Floats values(count);
        for (float& value : values) value = static_cast<float>(below(2001) - 1000) / 1000;
        return values;
    }

  private:
    std::mt19937_64 source_;
};

constexpr bevfuse::Images IMAGES{7, 20};
constexpr int64_t PIXELS = 5 * 7 * 20, DEPTHS = 30, CELLS = 3000, CHANNELS = 83;

// Pooled map and gradients, by the kernels.
Floats pooled(const Floats& features, const Floats& depth, const Floats& gradient, const std::vector<int64_t>& cells,
              int threads) {
    std::vector<int64_t> offsets(CELLS + 1), next(CELLS);
    std::vector<int32_t> order(CELLS);
    const int64_t inside = bevfuse_bev_count(cells.data(), PIXELS, DEPTHS, &IMAGES, CELLS, order.data(),
                                             offsets.data(), next.data());
    std::vector<int32_t> points(inside), rows(inside), flat(cells.begin(), cells.end());
    bevfuse_bev_sort(cells.data(), PIXELS, DEPTHS, &IMAGES, next.data(), points.data(), rows.data());
    Floats out((CELLS + PIXELS) * CHANNELS + PIXELS * DEPTHS);
    float *of_features = out.data() + CELLS * CHANNELS, *of_depth = of_features + PIXELS * CHANNELS;
    bevfuse_bev_pool(features.data(), depth.data(), points.data(), rows.data(), order.data(), offsets.data(),
                     CELLS, CHANNELS, out.data(), threads);
    bevfuse_bev_pool_backward(gradient.data(), features.data(), depth.data(), flat.data(), &IMAGES, PIXELS, DEPTHS,
                              CHANNELS, of_features, of_depth, threads);
    return out;
}

// The same by the definition.
Floats pooled_plainly(const Floats& features, const Floats& depth, const Floats& gradient,
                      const std::vector<int64_t>& cells) {
    Floats out((CELLS + PIXELS) * CHANNELS + PIXELS * DEPTHS);
    float *of_features = out.data() + CELLS * CHANNELS, *of_depth = of_features + PIXELS * CHANNELS;
    for (int64_t i = 0; i < PIXELS * DEPTHS; ++i) {
        const int64_t pixel = i / DEPTHS;
        for (int64_t c = 0; c < CHANNELS && cells[i] >= 0; ++c) {
            const float feature = features[pixel * CHANNELS + c], g = gradient[cells[i] * CHANNELS + c];
            out[cells[i] * CHANNELS + c] += depth[i] * feature;
            of_features[pixel * CHANNELS + c] += depth[i] * g;
            of_depth[i] += feature * g;
        }
    }
    return out;
}

void check_pooling(int seed) {
    Random random(seed);
    const Floats features = random.floats(PIXELS * CHANNELS), depth = random.floats(PIXELS * DEPTHS);
    const Floats gradient = random.floats(CELLS * CHANNELS);
    std::vector<int64_t> cells(PIXELS * DEPTHS);
    for (int64_t& cell : cells) cell = random.below(CELLS + 500) - 500;
    const Floats one = pooled(features, depth, gradient, cells, 1);
    require(close(one, pooled_plainly(features, depth, gradient, cells)), "pooling is the sum of its points");
    require(same(one, pooled(features, depth, gradient, cells, 4)), "pooling is the same with four threads");
}

void check_voxel_keys(int seed) {
    constexpr int64_t COUNT = 60000, COLUMNS = 5;
    const Floats points = Random(seed).floats(COUNT * COLUMNS);
    const float lower[3] = {-.5f, -.5f, -.5f}, voxel[3] = {.125f, .25f, .5f};
    const int64_t size[3] = {8, 4, 2};
    std::vector<int64_t> one(COUNT), four(COUNT);
    bevfuse_voxel_keys(points.data(), COUNT, COLUMNS, lower, voxel, size, one.data(), 1);
    bevfuse_voxel_keys(points.data(), COUNT, COLUMNS, lower, voxel, size, four.data(), 4);
    require(one == four, "keys are the same with four threads");
    for (int64_t i = 0; i < COUNT; ++i) {
        int64_t key = 0;
        for (int axis = 0; axis < 3; ++axis) {
            const int64_t cell = std::floor((points[i * COLUMNS + axis] - lower[axis]) / voxel[axis]);
            key = key < 0 || cell < 0 || cell >= size[axis] ? -1 : key * size[axis] + cell;
        }
        require(one[i] == key, "keys are the points' cells");
    }
}

void check_trails(int seed) {
    constexpr int64_t COUNT = 20000, WAYS = 12, SPANS = 4, LAYERS = 2, CELLS = 20;
    const Floats points = Random(seed).floats(COUNT * 5);
    const double numbers[4] = {.25, -1, .5, .1};
    std::vector<double> ways;
    for (int64_t w = 0; w < WAYS; ++w) {
        const double angle = .5 * static_cast<double>(w);
        ways.insert(ways.end(), {.1, -.1, -1, 2, std::cos(angle), std::sin(angle), .3, .9});
    }
    std::vector<uint8_t> one(WAYS * SPANS * LAYERS * CELLS), four(one.size());
    bevfuse_trails(points.data(), COUNT, ways.data(), WAYS, numbers, SPANS, LAYERS, CELLS, one.data(), 1);
    bevfuse_trails(points.data(), COUNT, ways.data(), WAYS, numbers, SPANS, LAYERS, CELLS, four.data(), 4);
    require(one == four, "trails are the same with four threads");
    int64_t found = 0;
    for (const uint8_t count : one) found += count;
    require(found > WAYS, "trails hold points");
}

void check_surroundings(int seed) {
    constexpr int64_t COUNT = 20000, BOXES = 12, MOST = 40;
    const Floats points = Random(seed).floats(COUNT * 5);
    std::vector<double> boxes;
    for (int64_t k = 0; k < BOXES; ++k) {
        const double angle = .5 * static_cast<double>(k);
        boxes.insert(boxes.end(), {.1, -.1, 0, std::cos(angle), std::sin(angle), .1, 0, .4, .3, .05 * k, -.5});
    }
    Floats one(BOXES * MOST * 5), four(one.size());
    std::vector<int64_t> counts(BOXES), others(BOXES);
    bevfuse_surroundings(points.data(), COUNT, boxes.data(), BOXES, MOST, one.data(), counts.data(), 1);
    bevfuse_surroundings(points.data(), COUNT, boxes.data(), BOXES, MOST, four.data(), others.data(), 4);
    require(same(one, four) && counts == others, "surroundings are the same with four threads");
    require(!counts[0] && counts[BOXES - 1] == MOST, "surroundings hold points");
}

struct Book {
    int64_t outputs;
    std::vector<int64_t> coordinates, starts;
    std::vector<int32_t> sources, order;
    std::vector<uint16_t> targets;
    Rules rules;
};

constexpr int64_t SIDE = 14, TILE = 64, OFFSETS = 27, CIN = 18, COUT = 37;

void build(const std::vector<int64_t>& coordinates, int64_t stride, bool submanifold, int threads, Book& book) {
    const int64_t shape[14] = {2, SIDE, SIDE, SIDE, 3, 3, 3, stride, stride, stride, 1, 1, 1, submanifold};
    const int64_t count = static_cast<int64_t>(coordinates.size()) / 4;
    void* made = nullptr;
    int64_t found[4];
    bevfuse_sparse_build(coordinates.data(), count, shape, TILE, threads, &made, found);
    require(made && !found[3], "there is a rulebook");
    book.outputs = found[0];
    book.coordinates.resize(4 * found[0]);
    book.starts.resize((found[0] + TILE - 1) / TILE * OFFSETS + 1);
    book.sources.resize(found[1]);
    book.targets.resize(found[1]);
    book.order.resize(found[2] ? found[0] : 0);
    if (submanifold) book.coordinates = coordinates;
    bevfuse_sparse_export(made, submanifold ? nullptr : book.coordinates.data(), found[2] ? book.order.data() : nullptr,
                          book.starts.data(), book.sources.data(), book.targets.data(), threads);
    bevfuse_sparse_free(made);
    book.rules = {found[0], OFFSETS, TILE, book.starts.data(), book.sources.data(), book.targets.data(),
                  found[2] ? book.order.data() : nullptr};
}

// Convolution (outputs, COUT), then the gradient of the weight (COUT, OFFSETS, CIN) where the output's is the output.
Floats convolved(const Book& book, const Floats& features, const Floats& weight, int threads) {
    const int64_t steps[3] = {OFFSETS * CIN, CIN, 1};
    const Epilogue none{};
    Floats out(book.outputs * COUT), of_weight(weight.size());
    bevfuse_sparse_convolve(features.data(), weight.data(), steps, CIN, COUT, 0, &book.rules, &none, out.data(),
                            threads);
    bevfuse_sparse_weight_gradient(features.data(), out.data(), CIN, COUT, &book.rules, of_weight.data(), threads);
    out.insert(out.end(), of_weight.begin(), of_weight.end());
    return out;
}

// The same by the definition, from the coordinates alone.
Floats convolved_plainly(const Book& book, const std::vector<int64_t>& coordinates, int64_t stride,
                         const Floats& features, const Floats& weight) {
    std::vector<int64_t> row(2 * SIDE * SIDE * SIDE, -1);
    const auto cell = [](int64_t frame, int64_t x, int64_t y, int64_t z) {
        return ((frame * SIDE + x) * SIDE + y) * SIDE + z;
    };
    for (size_t i = 0; i < coordinates.size() / 4; ++i) {
        const int64_t* at = coordinates.data() + 4 * i;
        row[cell(at[0], at[1], at[2], at[3])] = static_cast<int64_t>(i);
    }
    Floats sums(book.outputs * COUT), of_weight(weight.size());
    const auto visit = [&](const auto& body) {
        for (int64_t i = 0; i < book.outputs * OFFSETS; ++i) {
            const int64_t *at = book.coordinates.data() + i / OFFSETS * 4, o = i % OFFSETS;
            const int64_t x = at[1] * stride + o / 9 - 1, y = at[2] * stride + o / 3 % 3 - 1;
            const int64_t z = at[3] * stride + o % 3 - 1;
            const bool inside = std::min({x, y, z}) >= 0 && std::max({x, y, z}) < SIDE;
            const int64_t source = inside ? row[cell(at[0], x, y, z)] : -1;
            for (int64_t j = 0; source >= 0 && j < COUT * CIN; ++j) body(i / OFFSETS, source, j / CIN, j % CIN, o);
        }
    };
    visit([&](int64_t output, int64_t source, int64_t out, int64_t in, int64_t o) {
        sums[output * COUT + out] += features[source * CIN + in] * weight[(out * OFFSETS + o) * CIN + in];
    });
    visit([&](int64_t output, int64_t source, int64_t out, int64_t in, int64_t o) {
        of_weight[(out * OFFSETS + o) * CIN + in] += features[source * CIN + in] * sums[output * COUT + out];
    });
    sums.insert(sums.end(), of_weight.begin(), of_weight.end());
    return sums;
}

void check_convolution(int seed, int64_t stride, bool submanifold) {
    Random random(seed);
    std::vector<int64_t> coordinates;
    for (int64_t i = 2 * SIDE * SIDE * SIDE - 1; i >= 0; --i) {  // unsorted
        if (random.below(4)) continue;
        const int64_t place[4] = {i / (SIDE * SIDE * SIDE), i / (SIDE * SIDE) % SIDE, i / SIDE % SIDE, i % SIDE};
        coordinates.insert(coordinates.end(), place, place + 4);
    }
    const Floats features = random.floats(static_cast<int64_t>(coordinates.size()) / 4 * CIN);
    const Floats weight = random.floats(COUT * OFFSETS * CIN);
    Book one, four;
    build(coordinates, stride, submanifold, 1, one);
    build(coordinates, stride, submanifold, 4, four);
    require(one.sources == four.sources && one.targets == four.targets && one.starts == four.starts,
            "a rulebook is the same with four threads");
    const Floats found = convolved(one, features, weight, 1);
    require(close(found, convolved_plainly(one, coordinates, stride, features, weight)),
            "a convolution is the sum of its products");
    require(same(found, convolved(four, features, weight, 4)), "a convolution is the same with four threads");
}

// A tile's place (row, column) of the transformed weight, of all three taps: polynomials at five points and infinity.
double transformed(const float* taps, int row, int column) {
    const double root = std::sqrt(2.0), points[5] = {0, 1 / root, -1 / root, root, -root};
    const auto along = [&](const double* values, int place) {
        if (place == 5) return values[2];
        double rest = 1;
        for (int k = 0; k < 5; ++k) rest *= k == place ? 1 : points[place] - points[k];
        return (values[0] + points[place] * (values[1] + points[place] * values[2])) / rest;
    };
    double rows[3];
    for (int y = 0; y < 3; ++y) {
        const double values[3] = {taps[y * 3], taps[y * 3 + 1], taps[y * 3 + 2]};
        rows[y] = along(values, column);
    }
    return along(rows, row);
}

void check_winograd(int seed) {
    constexpr int64_t HEIGHT = 21, WIDTH = 34, IN = 19, OUT = 37, PLACES = 36;
    Random random(seed);
    const Floats map = random.floats(HEIGHT * WIDTH * IN), weight = random.floats(OUT * IN * 9);
    const Floats bias = random.floats(OUT);
    Floats places(PLACES * OUT * IN), plain(HEIGHT * WIDTH * OUT), one(plain.size()), four(plain.size());
    for (int64_t i = 0; i < OUT * IN; ++i) {
        for (int k = 0; k < PLACES; ++k) {
            places[k * OUT * IN + i] = static_cast<float>(transformed(weight.data() + i * 9, k / 6, k % 6));
        }
    }
    const int64_t packed = PLACES * IN * bevfuse_winograd_padded(OUT) * static_cast<int64_t>(sizeof(float));
    float* filters = static_cast<float*>(std::aligned_alloc(64, (packed + 63) / 64 * 64));
    bevfuse_winograd_pack(places.data(), PLACES, IN, OUT, 0, filters);
    const bevfuse::winograd::Maps maps{1, HEIGHT, WIDTH, IN, HEIGHT, WIDTH, OUT, 1, 1};
    const bevfuse::winograd::Epilogue epilogue{bias.data(), 0, INFINITY};
    bevfuse_winograd_convolve(&maps, map.data(), filters, 0, &epilogue, one.data(), 1);
    bevfuse_winograd_convolve(&maps, map.data(), filters, 0, &epilogue, four.data(), 4);
    std::free(filters);
    for (int64_t i = 0; i < HEIGHT * WIDTH * OUT; ++i) {
        const int64_t y = i / OUT / WIDTH, x = i / OUT % WIDTH, out = i % OUT;
        double sum = bias[out];
        for (int64_t k = 0; k < 9 * IN; ++k) {
            const int64_t row = y + k / IN / 3 - 1, column = x + k / IN % 3 - 1;
            if (row < 0 || row >= HEIGHT || column < 0 || column >= WIDTH) continue;
            sum += map[(row * WIDTH + column) * IN + k % IN] * weight[(out * IN + k % IN) * 9 + k / IN];
        }
        plain[i] = static_cast<float>(sum > 0 ? sum : 0);
    }
    require(close(one, plain), "a convolution by tiles is the sum of its products");
    require(same(one, four), "a convolution by tiles is the same with four threads");
}

void check_attention(int seed) {
    constexpr int64_t TOKENS = 60, COUNT = 7, AREA = 9, HEADS = 2, HEAD = 16, KEYS = 16, ROW = 3 * HEADS * HEAD;
    Random random(seed);
    const Floats qkv = random.floats(TOKENS * ROW), padding = random.floats(ROW);
    Floats bias(HEADS * AREA * KEYS, -1e30f), regions(COUNT * KEYS);
    std::vector<int32_t> there(COUNT * AREA, -1);
    for (int64_t i = 0; i < HEADS * AREA; ++i) {
        for (int64_t k = 0; k < AREA; ++k) bias[i * KEYS + k] = static_cast<float>(random.below(100)) / 50;
    }
    for (int32_t i = 0; i < TOKENS; ++i) there[i] = i;
    for (float& region : regions) region = static_cast<float>(random.below(2));
    const bevfuse::attention::Windows windows{1, TOKENS, COUNT, AREA, HEADS, HEAD, there.data(), KEYS, regions.data(),
                                              bias.data()};
    Floats one(TOKENS * HEADS * HEAD), four(one.size()), plain(one.size());
    bevfuse_window_attention(&windows, qkv.data(), padding.data(), 0, one.data(), 1);
    bevfuse_window_attention(&windows, qkv.data(), padding.data(), 0, four.data(), 4);
    const auto row = [&](int64_t place) {
        return there[place] < 0 ? padding.data() : qkv.data() + there[place] * ROW;
    };
    for (int64_t i = 0; i < TOKENS * HEADS; ++i) {
        const int64_t place = i / HEADS, head = i % HEADS, first = place / AREA * AREA;
        double shares[AREA], total = 0;
        for (int64_t k = 0; k < AREA; ++k) {
            double logit = bias[(head * AREA + place - first) * KEYS + k];
            const float* region = regions.data() + place / AREA * KEYS;
            if (region[place - first] != region[k]) logit += bevfuse::attention::UNSEEN;
            for (int64_t c = head * HEAD; c < (head + 1) * HEAD; ++c) {
                logit += row(place)[c] * row(first + k)[HEADS * HEAD + c] / std::sqrt(double(HEAD));
            }
            total += shares[k] = std::exp(logit);
        }
        for (int64_t c = 0; c < HEAD; ++c) {
            double sum = 0;
            for (int64_t k = 0; k < AREA; ++k) sum += shares[k] * row(first + k)[(2 * HEADS + head) * HEAD + c];
            plain[i * HEAD + c] = static_cast<float>(sum / total);
        }
    }
    require(close(one, plain), "a token sees its window");
    require(same(one, four), "a token sees the same with four threads");
}

// A matrix (cout, cin) in the order of the inner loops.
struct Packed {
    Packed(const Floats& weight, int64_t cin, int64_t cout, bool grouped) {
        const int64_t bytes = bevfuse_rows_packed(cin, cout, 0) * static_cast<int64_t>(sizeof(float));
        to = static_cast<float*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
        bevfuse_rows_pack(weight.data(), cin, cout, 0, grouped, to);
    }
    ~Packed() { std::free(to); }
    float* to;
};

void check_bottleneck(int seed) {
    constexpr int64_t HEIGHT = 70, WIDTH = 133, IN = 6, WIDE = 32, OUT = 5;
    Random random(seed);
    const Floats map = random.floats(HEIGHT * WIDTH * IN), widen = random.floats(WIDE * IN);
    const Floats taps = random.floats(9 * WIDE), narrow = random.floats(OUT * WIDE);
    const Floats biases[] = {random.floats(WIDE), random.floats(WIDE), random.floats(OUT)};
    const Packed first(widen, IN, WIDE, true), last(narrow, WIDE, OUT, false);
    const bevfuse::bottleneck::Shape shape{1, HEIGHT, WIDTH, IN, WIDE, HEIGHT, WIDTH, OUT, 3, 1, 1, 1};
    Floats plain(HEIGHT * WIDTH * OUT), one(plain.size()), four(plain.size());
    for (Floats* out : {&one, &four}) {
        bevfuse_bottleneck(&shape, map.data(), 0, first.to, biases[0].data(), taps.data(), biases[1].data(), last.to,
                           biases[2].data(), 0, out->data(), out == &one ? 1 : 4);
    }
    const auto relu6 = [](double value) { return std::fmin(std::fmax(value, 0), 6); };
    Floats wide(HEIGHT * WIDTH * WIDE);
    for (int64_t i = 0; i < HEIGHT * WIDTH * WIDE; ++i) {
        double sum = biases[0][i % WIDE];
        for (int64_t k = 0; k < IN; ++k) sum += map[i / WIDE * IN + k] * widen[i % WIDE * IN + k];
        wide[i] = static_cast<float>(relu6(sum));
    }
    for (int64_t i = 0; i < HEIGHT * WIDTH; ++i) {
        double sums[OUT];
        for (int64_t out = 0; out < OUT; ++out) sums[out] = biases[2][out];
        for (int64_t c = 0; c < WIDE; ++c) {
            double sum = biases[1][c];
            for (int64_t k = 0; k < 9; ++k) {
                const int64_t row = i / WIDTH + k / 3 - 1, column = i % WIDTH + k % 3 - 1;
                if (row < 0 || row >= HEIGHT || column < 0 || column >= WIDTH) continue;
                sum += wide[(row * WIDTH + column) * WIDE + c] * taps[k * WIDE + c];
            }
            for (int64_t out = 0; out < OUT; ++out) sums[out] += relu6(sum) * narrow[out * WIDE + c];
        }
        for (int64_t out = 0; out < OUT; ++out) plain[i * OUT + out] = static_cast<float>(sums[out]);
    }
    require(close(one, plain), "a bottleneck is its layers one after the other");
    require(same(one, four), "a bottleneck is the same with four threads");
}

void check_perceptron(int seed) {
    constexpr int64_t ROWS = 700, IN = 6, MIDDLE = 20, OUT = 3;
    Random random(seed);
    const Floats rows = random.floats(ROWS * IN), first = random.floats(MIDDLE * IN), last = random.floats(OUT * MIDDLE);
    const Floats biases[] = {random.floats(MIDDLE), random.floats(OUT)};
    const Packed packed[] = {Packed(first, IN, MIDDLE, false), Packed(last, MIDDLE, OUT, false)};
    const bevfuse::perceptron::Layer layers[] = {{packed[0].to, biases[0].data(), IN, MIDDLE, 1},
                                                 {packed[1].to, biases[1].data(), MIDDLE, OUT, 0}};
    const int64_t starts[] = {0, 300, 300, 301, ROWS};
    Floats plain(ROWS * OUT), one(plain.size()), four(plain.size()), highest(4 * OUT), same_highest(4 * OUT), most(4 * OUT);
    bevfuse_perceptron(rows.data(), ROWS, 0, layers, 2, nullptr, ROWS, one.data(), 1);
    bevfuse_perceptron(rows.data(), ROWS, 0, layers, 2, nullptr, ROWS, four.data(), 4);
    bevfuse_perceptron(rows.data(), ROWS, 0, layers, 2, starts, 4, highest.data(), 1);
    bevfuse_perceptron(rows.data(), ROWS, 0, layers, 2, starts, 4, same_highest.data(), 4);
    for (int64_t i = 0; i < ROWS; ++i) {
        for (int64_t out = 0; out < OUT; ++out) {
            double sum = biases[1][out];
            for (int64_t c = 0; c < MIDDLE; ++c) {
                double inner = biases[0][c];
                for (int64_t k = 0; k < IN; ++k) inner += rows[i * IN + k] * first[c * IN + k];
                sum += std::fmax(inner, 0) * last[out * MIDDLE + c];
            }
            plain[i * OUT + out] = static_cast<float>(sum);
        }
    }
    for (int64_t group = 0; group < 4; ++group) {
        for (int64_t out = 0; out < OUT; ++out) {
            float& value = most[group * OUT + out];
            value = starts[group] < starts[group + 1] ? -INFINITY : 0;
            for (int64_t i = starts[group]; i < starts[group + 1]; ++i) value = std::fmax(value, one[i * OUT + out]);
        }
    }
    require(close(one, plain), "a perceptron is its layers one after the other");
    require(same(one, four) && same(highest, same_highest), "a perceptron is the same with four threads");
    require(same(highest, most), "the highest of a group are found");
}

void check_pixels(int seed) {
    constexpr int64_t HEIGHT = 41, WIDTH = 67, OUT = 5, DEPTH = 28, DOWN = 21, ACROSS = 34;
    Random random(seed);
    std::vector<uint8_t> image(HEIGHT * WIDTH * 3);
    for (uint8_t& byte : image) byte = static_cast<uint8_t>(random.below(256));
    Floats weight = random.floats(OUT * DEPTH), scale(WIDTH * 3), shift(WIDTH * 3);
    for (int64_t i = 0; i < OUT; ++i) weight[i * DEPTH + DEPTH - 1] = 0;
    for (int64_t i = 0; i < WIDTH * 3; ++i) scale[i] = 0.01f * static_cast<float>(1 + i % 3), shift[i] = -1;
    const Floats bias = random.floats(OUT);
    const Packed packed(weight, DEPTH, OUT, false);
    const bevfuse::pixels::Shape shape{1, HEIGHT, WIDTH, DOWN, ACROSS, OUT, 3, 2, 1, 1};
    Floats plain(DOWN * ACROSS * OUT), one(plain.size()), four(plain.size());
    for (Floats* out : {&one, &four}) {
        bevfuse_convolve_pixels(&shape, image.data(), 0, packed.to, bias.data(), 0, 6, scale.data(), shift.data(),
                                out->data(), out == &one ? 1 : 4);
    }
    for (int64_t i = 0; i < DOWN * ACROSS * OUT; ++i) {
        const int64_t out = i % OUT, y = i / OUT / ACROSS, x = i / OUT % ACROSS;
        double sum = bias[out];
        for (int64_t k = 0; k < 27; ++k) {
            const int64_t row = y * 2 - 1 + k / 9, column = x * 2 - 1 + k % 9 / 3;
            if (row < 0 || row >= HEIGHT || column < 0 || column >= WIDTH) continue;
            const double value = image[(row * WIDTH + column) * 3 + k % 3] * scale[k % 3] + shift[k % 3];
            sum += value * weight[out * DEPTH + k];
        }
        plain[i] = static_cast<float>(std::fmin(std::fmax(sum, 0), 6));
    }
    require(close(one, plain), "bytes are convolved as numbers are");
    require(same(one, four), "bytes are convolved the same with four threads");
}

void check_straightened(int seed) {
    constexpr int64_t COUNT = 9, SPANS = 4, CELLS = 40, BINS = 6, SPEEDS = 3, KNOWN = 2, PITCH = SPANS * BINS + 4;
    Random random(seed);
    std::vector<uint8_t> trails(COUNT * SPANS * CELLS);
    for (uint8_t& count : trails) count = static_cast<uint8_t>(random.below(9));
    const Floats speed{-3, 0, 5}, sizes{0.3f, 0, 0.5f}, known = random.floats(COUNT * KNOWN), halves(COUNT, 2);
    const bevfuse::straight::Layout layout{SPANS, 1,      CELLS, BINS,         0.05f, 0.25f,
                                           SPEEDS, speed.data(), KNOWN, sizes.data(), PITCH};
    Floats plain(COUNT * SPEEDS * PITCH), one(plain.size()), four(plain.size());
    bevfuse_straightened(&layout, trails.data(), COUNT, halves.data(), known.data(), 0, one.data(), 1);
    bevfuse_straightened(&layout, trails.data(), COUNT, halves.data(), known.data(), 0, four.data(), 4);
    for (int64_t i = 0; i < COUNT * SPEEDS; ++i) {
        float* row = plain.data() + i * PITCH;
        const int64_t way = i / SPEEDS, s = i % SPEEDS;
        for (int64_t span = 0; span < SPANS; ++span) {
            const uint8_t* cells = trails.data() + (way * SPANS + span) * CELLS;
            const auto before = [&](int64_t edge) {  // points before a bin's edge, where it was
                const double place = (edge * 4.0 / BINS - 2 - speed[s] * 0.05 * span) / 0.25 + CELLS / 2;
                double sum = 0;
                for (int64_t c = 0; c < CELLS; ++c) sum += cells[c] * std::fmin(std::fmax(place - c, 0), 1);
                return sum;
            };
            for (int64_t bin = 0; bin < BINS; ++bin) {
                row[span * BINS + bin] = static_cast<float>(std::log1p(before(bin + 1) - before(bin)));
            }
        }
        for (int64_t k = 0; k < KNOWN; ++k) row[SPANS * BINS + k] = known[way * KNOWN + k];
        row[SPANS * BINS + KNOWN] = sizes[s];
    }
    require(close(one, plain), "a trail straightened has its points where they were");
    require(same(one, four), "trails are straightened the same with four threads");
}

void check_all(int seed) {
    check_perceptron(seed);
    check_pixels(seed);
    check_straightened(seed);
    check_bottleneck(seed);
    check_winograd(seed);
    check_attention(seed);
    check_pooling(seed);
    check_voxel_keys(seed);
    check_trails(seed);
    check_surroundings(seed);
    check_convolution(seed, 1, true);
    check_convolution(seed, 2, false);
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 1 && !std::strcmp(arguments[1], "race")) {
        volatile int64_t sum = 0;
        bevfuse::share(4, 100000, 1, [&](int64_t first, int64_t) { sum = sum + first; });
        return 0;
    }
    std::thread other(check_all, 1);
    check_all(2);
    other.join();
    std::printf("the kernels (%s) hold\n", bevfuse_isa());
    return 0;
}
