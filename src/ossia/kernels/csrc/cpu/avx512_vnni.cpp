// AVX-512 with VNNI: Intel from Cascade Lake, AMD from Zen 4 on.
#include "avx512.inl"

namespace ossia {

extern const Isa avx512_vnni = {
    "avx512_vnni", runs_vnni, kF32, kF32, kMxfp4Int8, kInt8, Dense<StepF32>::run, false, kLayerF32, kLayerBf16, read, swiglu, widen, narrow, add,
};

}  // namespace ossia
