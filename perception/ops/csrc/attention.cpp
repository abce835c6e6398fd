// Attention within windows of a map: attention.h.

#include "attention.h"

#include <algorithm>

#include "sparse.h"
#include "sparse_threads.h"

using namespace bevfuse;
using namespace bevfuse::attention;

// qkv, padding and out are float, or all bf16.
BEVFUSE_EXPORT int bevfuse_window_attention(const Windows* windows, const void* qkv, const void* padding, int bf16,
                                            void* out, int threads) {
    const Ways& ways = sparse::kernels().attention;
    const Attend attend = bf16 ? ways.of_bf16 : ways.of_float;
    const int64_t count = windows->images * windows->windows, room = (workspace_of(*windows) + 15) / 16 * 16;
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, count)));
    const auto workspace = sparse::buffer<float>(threads * room);
    if (!workspace) return 1;
    sparse::each(threads, count, [&](int64_t i, int thread) {
        attend(*windows, qkv, padding, i / windows->windows, i % windows->windows, workspace.get() + thread * room, out);
    });
    return 0;
}
