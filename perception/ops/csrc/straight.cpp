// Trails straightened by straight.h.

#include "straight.h"

#include <algorithm>

#include "sparse.h"
#include "sparse_threads.h"

using namespace bevfuse;

// trails (count, spans * layers, cells), halves (count), known (count, layout.known) -> rows (count, speeds, pitch),
// float or bf16.
BEVFUSE_EXPORT int bevfuse_straightened(const straight::Layout* layout, const uint8_t* trails, int64_t count,
                                        const float* halves, const float* known, int bf16, void* rows, int threads) {
    const straight::Ways& ways = sparse::kernels().straight;
    const int64_t room = (layout->room() + 15) / 16 * 16;
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, count)));
    const auto workspace = sparse::buffer<float>(threads * room);
    if (!workspace) return 1;
    const int64_t trail = layout->spans * layout->layers * layout->cells, made = layout->speeds * layout->pitch;
    sparse::each(threads, count, [&](int64_t i, int thread) {
        const auto into = [&](auto* to, straight::Straightened straightened) {
            straightened(*layout, trails + i * trail, halves[i], known + i * layout->known,
                         workspace.get() + thread * room, to + i * made);
        };
        if (bf16) into(static_cast<uint16_t*>(rows), ways.of_bf16);
        else into(static_cast<float*>(rows), ways.of_float);
    });
    return 0;
}
