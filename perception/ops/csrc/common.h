// What every kernel shares: the C interface, and work divided among threads.
//
// Functions take tensors' addresses and sizes, and memory from their caller; they return 0, or what their comment says.
// None throws, none has state that lasts, and none starts a thread where `threads` is 1: a forked process, such as a
// DataLoader's worker, must not, for OpenMP's pool of threads stays behind in its parent.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define BEVFUSE_EXPORT extern "C" __attribute__((visibility("default")))

namespace bevfuse {

// Calls body(first, end) for pieces of `count` things that hold `piece` of them each, whichever thread does which.
template <class Body>
void share(int threads, int64_t count, int64_t piece, const Body& body) {
#if defined(_OPENMP)
    if (threads > 1 && count > piece) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (int64_t first = 0; first < count; first += piece) {
            body(first, first + piece < count ? first + piece : count);
        }
        return;
    }
#endif
    if (count > 0) body(int64_t{0}, count);
}

// Says of memory that all of it will be written, so that Linux may give it in pages of 2 MB. A large array that is new
// has no pages yet; to be given 40 MB of it by pages of 4 KB takes longer than pooling into it.
inline void expect_whole(void* memory, int64_t bytes) {
#if defined(__linux__)
    constexpr uintptr_t PAGE = uintptr_t{1} << 21;
    const uintptr_t first = reinterpret_cast<uintptr_t>(memory), end = first + static_cast<uintptr_t>(bytes);
    const uintptr_t from = (first + PAGE - 1) / PAGE * PAGE, to = end / PAGE * PAGE;
    if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);  // if not, it's just slower
#endif
}

}  // namespace bevfuse
