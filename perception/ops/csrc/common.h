// What every kernel shares: the C interface, and work divided among threads.
//
// Functions take tensors' addresses and sizes, and memory from their caller; they return 0, or what their comment says.
// None throws, none has state that lasts, and none starts a thread where `threads` is 1: a forked process, such as a
// DataLoader's worker, must not, for OpenMP's pool of threads stays behind in its parent.
#pragma once

#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
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

}  // namespace bevfuse
