// AVX-512 with VNNI: Intel from Cascade Lake on.
#include "avx512.inl"
#include "sampling.inl"

namespace ossia {

constexpr Product kMxfp4Planes = {
    kVectorTokens / 2, kCodeBytes, kTileRows, kPlanesGroupBytes, put_planes_for_mxfp4,
    multiply_planes<Mxfp4Int8::tile>};

extern const Isa avx512_vnni = {
    "avx512_vnni", vnni_obstacle, kF32, kMxfp4Planes, kMxfp4Int8, kInt8, kInt8Planes, Dense<StepF32>::run, false, kLayerF32, kLayerBf16, read, swiglu, widen, narrow, add, sum_rows,
    kSampling,
};

}  // namespace ossia
