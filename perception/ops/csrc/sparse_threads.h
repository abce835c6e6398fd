// Work that several threads share.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace bevfuse::sparse {

// Calls body(i, thread) for i < count. No parallel region for a single thread: a forked child may have no others.
template <class Body>
void share(int threads, int64_t count, const Body& body) {
#if defined(_OPENMP)
    if (threads > count) threads = static_cast<int>(count);
    if (threads > 1) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (int64_t i = 0; i < count; ++i) body(i, omp_get_thread_num());
        return;
    }
#endif
    for (int64_t i = 0; i < count; ++i) body(i, 0);
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
