// Building rulebooks.

#include <atomic>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "sparse.h"
#include "sparse_threads.h"

namespace bevfuse::sparse {
namespace {

constexpr int64_t MOST = std::numeric_limits<int32_t>::max();

// Division rounded down, as in Python; by shifting where the divisor allows, which it mostly does.
class Divisor {
  public:
    explicit Divisor(int64_t value) : value_(value), shift_((value & (value - 1)) ? -1 : __builtin_ctzll(value)) {}
    int64_t divide(int64_t a) const { return shift_ >= 0 ? a >> shift_ : a / value_ - (a % value_ < 0); }

  private:
    int64_t value_;
    int shift_;
};

struct Geometry {
    Grid grid;
    int64_t kernel[3], stride[3], padding[3];
    bool submanifold;
};

// What the pairs of one tile came to, in one thread's store.
struct TilePlace {
    int32_t thread;
    size_t begin;
};

struct Store {
    std::vector<int32_t> sources;
    std::vector<uint16_t> targets;
};

struct Rulebook {
    int64_t outputs = 0;
    std::vector<int64_t> coordinates;  // (outputs, 4), of a strided convolution
    std::vector<int32_t> order;        // of a submanifold convolution whose voxels come unsorted
    std::vector<int64_t> starts;       // (tiles * offsets + 1,)
    std::vector<TilePlace> places;     // (tiles,)
    std::vector<Store> stores;         // one a thread
};

enum Fault { NONE = 0, OUTSIDE = 1, TWICE = 2 };  // of a voxel
enum Status { OK = 0, NO_MEMORY = 1 };

// Fills the index and the row of each rank (empty: the same); on failure `culprit` is the row that doesn't fit.
Fault fill(VoxelIndex& index, const int64_t* coordinates, int64_t count, std::vector<int32_t>& rows,
            int64_t& culprit) {
    const Grid& grid = index.grid();
    std::vector<int64_t> keys(count);
    bool sorted = true;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t* place = coordinates + 4 * i;
        bool inside = place[0] >= 0 && place[0] < grid.batch;
        for (int axis = 0; axis < 3; ++axis) inside &= place[axis + 1] >= 0 && place[axis + 1] < grid.size[axis];
        if (!inside) {
            culprit = i;
            return OUTSIDE;
        }
        keys[i] = grid.key(place[0], place[1], place[2], place[3]);
        sorted &= i == 0 || keys[i - 1] < keys[i];
        index.announce(keys[i]);
    }
    index.settle();
    for (int64_t i = 0; i < count; ++i) {
        if (!index.add(keys[i])) {
            culprit = i;
            return TWICE;
        }
    }
    index.rank();
    if (sorted) return NONE;
    rows.resize(count);
    for (int64_t i = 0; i < count; ++i) rows[index.rank_of(keys[i])] = static_cast<int32_t>(i);
    return NONE;
}

// Calls body(key, count) for each run along z of the output voxels that see an input voxel.
template <class Body>
void reached(const Geometry& geometry, const Grid& out, const int64_t* coordinates, int64_t count, const Body& body) {
    const Divisor stride[3] = {Divisor(geometry.stride[0]), Divisor(geometry.stride[1]), Divisor(geometry.stride[2])};
    for (int64_t i = 0; i < count; ++i) {
        const int64_t* place = coordinates + 4 * i;
        int64_t first[3], last[3];
        for (int axis = 0; axis < 3; ++axis) {
            const int64_t padded = place[axis + 1] + geometry.padding[axis];
            first[axis] = std::max<int64_t>(0, stride[axis].divide(padded - geometry.kernel[axis]) + 1);
            last[axis] = std::min(out.size[axis] - 1, stride[axis].divide(padded));
        }
        if (first[2] > last[2]) continue;
        for (int64_t x = first[0]; x <= last[0]; ++x) {
            for (int64_t y = first[1]; y <= last[1]; ++y) {
                body(out.key(place[0], x, y, first[2]), last[2] - first[2] + 1);
            }
        }
    }
}

// The output voxels of a strided convolution: all that see an input voxel, sorted.
void activate(const Geometry& geometry, const int64_t* coordinates, int64_t count, Rulebook& book) {
    Grid out{geometry.grid.batch, {}};
    for (int axis = 0; axis < 3; ++axis) {
        const int64_t room = geometry.grid.size[axis] + 2 * geometry.padding[axis] - geometry.kernel[axis];
        out.size[axis] = room < 0 ? 0 : room / geometry.stride[axis] + 1;
        if (out.size[axis] == 0) return;
    }
    VoxelIndex index(out);
    reached(geometry, out, coordinates, count, [&](int64_t key, int64_t n) { index.announce(key, n); });
    index.settle();
    reached(geometry, out, coordinates, count, [&](int64_t key, int64_t n) { index.add(key, n); });
    book.outputs = index.rank();
    if (book.outputs > MOST) throw std::bad_alloc();
    book.coordinates.resize(4 * book.outputs);
    index.coordinates(book.coordinates.data());
}

void find_all(const Windows& windows, int64_t tile_rows, int threads, Rulebook& book) {
    const int64_t offsets = windows.kernel[0] * windows.kernel[1] * windows.kernel[2];
    const int64_t tiles = (book.outputs + tile_rows - 1) / tile_rows;
    book.starts.assign(tiles * offsets + 1, 0);
    book.places.resize(tiles);
    book.stores.resize(threads);
    const int64_t pitch = tile_rows + TilePairs::ROOM;
    struct Workspace {
        std::vector<int32_t> sources, counts;
        std::vector<uint16_t> targets;
    };
    std::vector<Workspace> workspaces(threads);
    for (Workspace& mine : workspaces) {
        mine.sources.resize(offsets * pitch);
        mine.targets.resize(offsets * pitch);
        mine.counts.resize(offsets);
    }
    std::atomic<bool> failed{false};
    const Kernels& inner = kernels();
    each(threads, tiles, [&](int64_t tile, int thread) {
        if (failed) return;
        Workspace& mine = workspaces[thread];
        Store& store = book.stores[thread];
        const TilePairs found{pitch, mine.sources.data(), mine.targets.data(), mine.counts.data()};
        const int64_t first = tile * tile_rows;
        inner.find_pairs(windows, first, std::min(tile_rows, book.outputs - first), found);
        book.places[tile] = {thread, store.sources.size()};
        try {
            for (int64_t o = 0; o < offsets; ++o) {
                const int32_t n = found.counts[o];
                const int32_t* sources = found.sources + o * pitch;
                const uint16_t* targets = found.targets + o * pitch;
                store.sources.insert(store.sources.end(), sources, sources + n);
                store.targets.insert(store.targets.end(), targets, targets + n);
                book.starts[tile * offsets + o + 1] = n;
            }
        } catch (const std::bad_alloc&) {
            failed = true;
        }
    });
    if (failed) throw std::bad_alloc();
    for (int64_t i = 0; i < tiles * offsets; ++i) book.starts[i + 1] += book.starts[i];
}

Fault build(const Geometry& geometry, const int64_t* coordinates, int64_t count, int64_t tile_rows, int threads,
             Rulebook& book, int64_t& culprit) {
    VoxelIndex index(geometry.grid);
    std::vector<int32_t> rows;
    std::vector<int64_t> sorted;
    const Fault fault = fill(index, coordinates, count, rows, culprit);
    if (fault != NONE) return fault;
    Windows windows{&index, rows.empty() ? nullptr : rows.data(), coordinates, {}, {}, {}};
    for (int axis = 0; axis < 3; ++axis) {
        windows.kernel[axis] = geometry.kernel[axis];
        windows.step[axis] = geometry.submanifold ? 1 : geometry.stride[axis];
        windows.before[axis] = geometry.submanifold ? geometry.kernel[axis] / 2 : geometry.padding[axis];
    }
    if (geometry.submanifold) {
        book.outputs = count;
        if (!rows.empty()) {
            sorted.resize(4 * count);
            index.coordinates(sorted.data());
            windows.coordinates = sorted.data();
            book.order = rows;
        }
    } else {
        activate(geometry, coordinates, count, book);
        windows.coordinates = book.coordinates.data();
    }
    find_all(windows, tile_rows, threads, book);
    return NONE;
}

}  // namespace
}  // namespace bevfuse::sparse

using namespace bevfuse::sparse;

// coordinates (count, 4): frame, x, y, z. shape: batch, size, kernel, stride, padding (1 + 4 * 3), submanifold.
// `book` is to be given to bevfuse_sparse_free; found: outputs, pairs, whether they come in an order of their own, 0.
// If a voxel is outside the grid or there a second time there is no book: found[0] is its row, found[3] the fault.
BEVFUSE_EXPORT int bevfuse_sparse_build(const int64_t* coordinates, int64_t count, const int64_t* shape,
                                        int64_t tile_rows, int threads, void** book, int64_t* found) {
    Geometry geometry{};
    geometry.grid.batch = shape[0];
    for (int axis = 0; axis < 3; ++axis) {
        geometry.grid.size[axis] = shape[1 + axis];
        geometry.kernel[axis] = shape[4 + axis];
        geometry.stride[axis] = shape[7 + axis];
        geometry.padding[axis] = shape[10 + axis];
    }
    geometry.submanifold = shape[13] != 0;
    try {
        std::unique_ptr<Rulebook> made(new Rulebook);
        found[3] = build(geometry, coordinates, count, tile_rows, threads, *made, found[0]);
        if (found[3] != NONE) return OK;
        found[0] = made->outputs;
        found[1] = made->starts.back();
        found[2] = !made->order.empty();
        *book = made.release();
        return OK;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    } catch (const std::length_error&) {
        return NO_MEMORY;
    }
}

// Copies a rulebook to arrays of the sizes that bevfuse_sparse_build found; coordinates or order may be null.
BEVFUSE_EXPORT int bevfuse_sparse_export(const void* book, int64_t* coordinates, int32_t* order, int64_t* starts,
                                         int32_t* sources, uint16_t* targets, int threads) {
    const Rulebook& from = *static_cast<const Rulebook*>(book);
    if (coordinates) std::copy(from.coordinates.begin(), from.coordinates.end(), coordinates);
    if (order) std::copy(from.order.begin(), from.order.end(), order);
    std::copy(from.starts.begin(), from.starts.end(), starts);
    const int64_t tiles = from.places.size();
    const int64_t offsets = tiles ? (from.starts.size() - 1) / tiles : 0;
    each(threads, tiles, [&](int64_t tile, int) {
        const TilePlace place = from.places[tile];
        const Store& store = from.stores[place.thread];
        const int64_t begin = from.starts[tile * offsets], n = from.starts[(tile + 1) * offsets] - begin;
        std::copy_n(store.sources.begin() + place.begin, n, sources + begin);
        std::copy_n(store.targets.begin() + place.begin, n, targets + begin);
    });
    return OK;
}

BEVFUSE_EXPORT int bevfuse_sparse_free(void* book) {
    delete static_cast<Rulebook*>(book);
    return OK;
}

// The rulebook with its inputs as outputs and the other way round: the same pairs, by tiles of the `inputs` rows.
BEVFUSE_EXPORT int bevfuse_sparse_transpose(const Rules* rules, int64_t inputs, int64_t* starts, int32_t* sources,
                                            uint16_t* targets) {
    const int64_t offsets = rules->offsets, tile_rows = rules->tile_rows;
    const int64_t tiles = (inputs + tile_rows - 1) / tile_rows;
    std::fill_n(starts, tiles * offsets + 1, 0);
    Buffer<int64_t> next = buffer<int64_t>(tiles * offsets);
    if (!next) return NO_MEMORY;
    const auto visit = [&](const auto& body) {
        for (int64_t tile = 0; tile < rules->tiles(); ++tile) {
            for (int64_t o = 0; o < offsets; ++o) {
                for (int64_t i = rules->starts[tile * offsets + o]; i < rules->starts[tile * offsets + o + 1]; ++i) {
                    body(rules->sources[i], rules->row(tile * tile_rows + rules->targets[i]), o);
                }
            }
        }
    };
    visit([&](int64_t source, int64_t, int64_t o) { ++starts[source / tile_rows * offsets + o + 1]; });
    for (int64_t i = 0; i < tiles * offsets; ++i) {
        next[i] = starts[i];
        starts[i + 1] += starts[i];
    }
    visit([&](int64_t source, int64_t target, int64_t o) {
        const int64_t slot = next[source / tile_rows * offsets + o]++;
        sources[slot] = static_cast<int32_t>(target);
        targets[slot] = static_cast<uint16_t>(source % tile_rows);
    });
    return OK;
}
