#include "isa.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "common.h"

#if defined(BEVFUSE_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace bevfuse {
namespace {

constexpr const char* NAMES[] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};

#if defined(BEVFUSE_AMX)
// Asked of the processor itself: compilers that know the instructions don't all know their names here.
bool has_tiles() {
    constexpr unsigned LEAF = 7, BF16 = 1u << 22, TILE = 1u << 24;
    unsigned a, b, c, d;
    return __get_cpuid_count(LEAF, 0, &a, &b, &c, &d) && (d & BF16) && (d & TILE);
}

// Tiles are 8 KB of registers more for each thread, which Linux gives to a process that asks.
bool may_use_tiles() {
    constexpr long REQUEST = 0x1023, TILES = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, REQUEST, TILES) == 0;
}
#endif

Isa of_processor() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                      __builtin_cpu_supports("popcnt");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
#if defined(BEVFUSE_AMX)
    if (bf16 && has_tiles() && may_use_tiles()) return Isa::amx;
#endif
    if (bf16) return Isa::avx512_bf16;
    if (avx512) return Isa::avx512;
    if (avx2) return Isa::avx2;
#endif
    return Isa::baseline;
}

Isa chosen() {
    const char* wanted = std::getenv("BEVFUSE_ISA");
    const Isa best = of_processor();
    for (size_t i = 0; wanted && i < std::size(NAMES); ++i) {
        if (!std::strcmp(wanted, NAMES[i])) return std::min(best, static_cast<Isa>(i));
    }
    return best;
}

}  // namespace

Isa best_isa() {
    static const Isa isa = chosen();
    return isa;
}

}  // namespace bevfuse

BEVFUSE_EXPORT const char* bevfuse_isa() { return bevfuse::NAMES[static_cast<int>(bevfuse::best_isa())]; }
