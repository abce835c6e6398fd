// Weights for rows that follow each other.

#include "rows.h"

#include "common.h"
#include "pack.h"
#include "sparse.h"

using namespace bevfuse::sparse;

namespace {

template <class T>
void pack_as(const void* weight, int64_t cin, int64_t cout, int64_t panel, void* packed) {
    const auto by = products_of<T>();
    pack(static_cast<const T*>(weight), {cin, 0, 1}, cin, padded(cin, by.depth), cout, panel, by.together,
         static_cast<T*>(packed));
}

}  // namespace

// Elements of a packed matrix (cout, cin).
BEVFUSE_EXPORT int64_t bevfuse_rows_packed(int64_t cin, int64_t cout, int bf16) {
    const int64_t depth = bf16 ? products_of<uint16_t>().depth : products_of<float>().depth;
    return padded(cin, depth) * padded(cout, kernels().width);
}

// weight (cout, cin) -> packed, which begins at a cache line; if `grouped`, as matrices of group_of columns each, one after
// the other. bf16: cin even.
BEVFUSE_EXPORT int bevfuse_rows_pack(const void* weight, int64_t cin, int64_t cout, int bf16, int grouped, void* packed) {
    if (bf16) pack_as<uint16_t>(weight, cin, cout, grouped ? group_of<uint16_t>() : kernels().panel, packed);
    else pack_as<float>(weight, cin, cout, grouped ? group_of<float>() : kernels().panel, packed);
    return 0;
}
