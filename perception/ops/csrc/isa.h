// Which vector instructions this processor has. Kernels that gain from them exist in several versions.
#pragma once

namespace bevfuse {

enum class Isa { baseline, avx2, avx512, avx512_bf16 };

// The best there is, or what the environment's BEVFUSE_ISA names if that is less; looked up once.
Isa best_isa();

}  // namespace bevfuse
