// Which vector instructions this processor has. Kernels that gain from them exist in several versions.
#pragma once

// AVX-512 is to be used whole, which GCC would avoid; Clang has no such option, and does what the vectors' types say.
#if defined(__clang__)
#define BEVFUSE_WHOLE_VECTORS ""
#else
#define BEVFUSE_WHOLE_VECTORS ",prefer-vector-width=512"
#endif

// GCC knows AMX from its eleventh version on.
#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#define BEVFUSE_AMX
#endif

namespace bevfuse {

enum class Isa { baseline, avx2, avx512, avx512_bf16, amx };

// The best there is, or what the environment's BEVFUSE_ISA names if that is less; looked up once.
Isa best_isa();

}  // namespace bevfuse
