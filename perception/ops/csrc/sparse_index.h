// Which voxels are active, and the rank of each among them: a bitmap with popcount ranks, itself sparse.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace bevfuse::sparse {

// A grid's voxels in the order frame, x, y, z, each with its number: its key.
struct Grid {
    int64_t batch;
    int64_t size[3];

    int64_t key(int64_t frame, int64_t x, int64_t y, int64_t z) const {
        return ((frame * size[0] + x) * size[1] + y) * size[2] + z;
    }
    int64_t cells() const { return batch * size[0] * size[1] * size[2]; }
};

// Numbers the non-empty 64-voxel words of a grid, ascending. While the grid is small enough, by a bitmap of words; else
// by hashing, which needs memory for the words that are there only.
class WordMap {
  public:
    explicit WordMap(int64_t words) : dense_(words <= DENSE_WORDS) {
        if (dense_) present_.assign((words + 63) / 64, 0);
    }

    // Two phases: insert() all words, then number().
    void insert(int64_t word) {
        if (dense_) present_[word >> 6] |= uint64_t{1} << (word & 63);
        else if (ids_.empty() || ids_.back() != word) ids_.push_back(word);
    }

    void number() {
        if (dense_) {
            ranks_.resize(present_.size());
            for (size_t i = 0; i < present_.size(); ++i) {
                ranks_[i] = static_cast<int32_t>(ids_.size());
                for (uint64_t bits = present_[i]; bits; bits &= bits - 1) {
                    ids_.push_back(static_cast<int64_t>(i) * 64 + __builtin_ctzll(bits));
                }
            }
            return;
        }
        std::sort(ids_.begin(), ids_.end());
        ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
        size_t slots = 16;
        while (slots < 2 * ids_.size()) slots *= 2;
        slots_.assign(slots, -1);
        for (size_t i = 0; i < ids_.size(); ++i) {
            size_t slot = hash(ids_[i]) & (slots - 1);
            while (slots_[slot] >= 0) slot = (slot + 1) & (slots - 1);
            slots_[slot] = static_cast<int32_t>(i);
        }
    }

    // The words, ascending.
    const std::vector<int64_t>& ids() const { return ids_; }

    // For look-ups: pointers only, which a compiler keeps in registers.
    template <bool DENSE>
    struct View {
        const uint64_t* present;
        const int32_t* ranks;
        const int64_t* ids;
        const int32_t* slots;
        uint64_t mask;
        int32_t none;

        // A word's number; of one that isn't there, their count.
        inline __attribute__((always_inline)) int32_t find(int64_t word) const {
            if constexpr (DENSE) {
                const uint64_t group = present[word >> 6];
                const int shift = static_cast<int>(word & 63);
                const int32_t number = ranks[word >> 6] + __builtin_popcountll(group & ((uint64_t{1} << shift) - 1));
                return group >> shift & 1 ? number : none;
            } else {
                for (uint64_t slot = hash(word) & mask;; slot = (slot + 1) & mask) {
                    const int32_t number = slots[slot];
                    if (number < 0) return none;
                    if (ids[number] == word) return number;
                }
            }
        }
    };

    bool dense() const { return dense_; }

    template <bool DENSE>
    View<DENSE> view() const {
        return {present_.data(), ranks_.data(), ids_.data(), slots_.data(), slots_.size() - 1,
                static_cast<int32_t>(ids_.size())};
    }

    int32_t find(int64_t word) const { return dense_ ? view<true>().find(word) : view<false>().find(word); }

  private:
    static constexpr int64_t DENSE_WORDS = int64_t{1} << 26;  // a bitmap and its ranks of 12 MB

    static uint64_t hash(int64_t word) { return static_cast<uint64_t>(word) * 0x9E3779B97F4A7C15u >> 32; }

    bool dense_;
    std::vector<uint64_t> present_;  // a bit a word
    std::vector<int32_t> ranks_;     // words before each of present_
    std::vector<int64_t> ids_;
    std::vector<int32_t> slots_;     // open addressing: numbers of words, or -1
};

class VoxelIndex {
  public:
    // One word more than the grid has: a look may go past the last.
    explicit VoxelIndex(const Grid& grid) : grid_(grid), map_(grid.cells() / 64 + 2) {}

    const Grid& grid() const { return grid_; }

    // Three phases: announce() all keys, then settle(), then add() all keys, then rank().
    void announce(int64_t key, int64_t count = 1) {
        for (int64_t word = key >> 6; word <= (key + count - 1) >> 6; ++word) map_.insert(word);
    }

    void settle() {
        map_.number();
        bits_.assign(map_.ids().size() + 1, 0);
    }

    // False if the voxel is there already.
    bool add(int64_t key) {
        uint64_t& word = bits_[map_.find(key >> 6)];
        const uint64_t bit = uint64_t{1} << (key & 63);
        if (word & bit) return false;
        word |= bit;
        return true;
    }

    // A run of voxels, of which some may be there already.
    void add(int64_t key, int64_t count) {
        while (count > 0) {
            const int64_t shift = key & 63, n = std::min<int64_t>(count, 64 - shift);
            bits_[map_.find(key >> 6)] |= (n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1) << shift;
            key += n;
            count -= n;
        }
    }

    int64_t rank() {
        ranks_.resize(bits_.size());
        int64_t total = 0;
        for (size_t i = 0; i < bits_.size(); ++i) {
            ranks_[i] = static_cast<int32_t>(total);
            total += __builtin_popcountll(bits_[i]);
        }
        return total;
    }

    bool dense() const { return map_.dense(); }

    // For look-ups, as above.
    template <bool DENSE>
    struct View {
        WordMap::View<DENSE> map;
        const uint64_t* bits;
        const int32_t* ranks;

        // Which voxels from `key` are active, at least the first `count` <= 32 (bit 0 first), and, if any of them is,
        // the rank of the first.
        inline __attribute__((always_inline)) uint64_t look(int64_t key, int count, int32_t& rank) const {
            const int shift = static_cast<int>(key & 63);
            const int32_t number = map.find(key >> 6);
            const uint64_t word = bits[number];
            uint64_t found = word >> shift;
            rank = ranks[number] + __builtin_popcountll(word & ((uint64_t{1} << shift) - 1));
            if (shift + count > 64) {  // seldom
                const int32_t next = map.find((key >> 6) + 1);
                if (!found) rank = ranks[next];
                found |= bits[next] << (64 - shift);
            }
            return found;
        }
    };

    template <bool DENSE>
    View<DENSE> view() const {
        return {map_.view<DENSE>(), bits_.data(), ranks_.data()};
    }

    int32_t rank_of(int64_t key) const {
        int32_t rank;
        if (map_.dense()) view<true>().look(key, 1, rank);
        else view<false>().look(key, 1, rank);
        return rank;
    }

    // The voxels (n, 4), frame, x, y, z, in order of rank.
    void coordinates(int64_t* out) const {
        for (size_t i = 0; i < map_.ids().size(); ++i) {
            int64_t place[4];
            int64_t rest = map_.ids()[i] * 64;
            for (int axis = 2; axis >= 0; --axis) {
                place[axis + 1] = rest % grid_.size[axis];
                rest /= grid_.size[axis];
            }
            place[0] = rest;
            int at = 0;
            for (uint64_t left = bits_[i]; left; left &= left - 1) {
                const int bit = __builtin_ctzll(left);
                place[3] += bit - at;
                at = bit;
                for (int axis = 2; axis >= 0 && place[axis + 1] >= grid_.size[axis]; --axis) {
                    place[axis] += place[axis + 1] / grid_.size[axis];
                    place[axis + 1] %= grid_.size[axis];
                }
                for (int column = 0; column < 4; ++column) *out++ = place[column];
            }
        }
    }

  private:
    Grid grid_;
    WordMap map_;
    std::vector<uint64_t> bits_;   // a bit a voxel, of each word that is there; then an empty one
    std::vector<int32_t> ranks_;   // voxels before each word
};

}  // namespace bevfuse::sparse
