// Work with memory of its own for each thread, and that memory.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "common.h"

namespace bevfuse::sparse {

// Calls body(i, thread) for i < count, thread < threads: whichever does it.
template <class Body>
void each(int threads, int64_t count, const Body& body) {
    share(threads, count, 1, [&](int64_t first, int64_t last) {
#if defined(_OPENMP)
        const int thread = threads > 1 ? omp_get_thread_num() : 0;
#else
        const int thread = 0;
#endif
        for (int64_t i = first; i < last; ++i) body(i, thread);
    });
}

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

// Uninitialised memory that begins at a cache line, or null.
template <class T>
using Buffer = std::unique_ptr<T[], Free>;

template <class T>
Buffer<T> buffer(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return Buffer<T>(static_cast<T*>(std::aligned_alloc(64, bytes ? bytes : 64)));
}

}  // namespace bevfuse::sparse
