// The C interface of Ossia's CPU kernels; src/ossia/kernels/cpu/library.py declares the same.
// Functions that return int return 0, or one of OSSIA_BAD_*. Nothing throws across this border.
#pragma once
#include <stdint.h>

#define OSSIA_API extern "C" __attribute__((visibility("default")))

enum { OSSIA_OK = 0, OSSIA_BAD_MEMORY = 1, OSSIA_BAD_EXPERT = 2, OSSIA_BAD_ISA = 3 };
enum { OSSIA_F32 = 0, OSSIA_BF16 = 1 };  // types of floats
enum { OSSIA_FULL = 0, OSSIA_INT8 = 1 };  // what activations are rounded to before a product

// SHA-256 over the SHA-256 of every source file, in hexadecimal.
OSSIA_API const char* ossia_source_digest(void);

// Instruction sets in rising order of preference: how many the library holds, their names, whether this
// machine runs one, which is in use. ossia_use takes a name; not while another thread is in a kernel.
OSSIA_API int ossia_isa_count(void);
OSSIA_API const char* ossia_isa_name(int idx);
OSSIA_API int ossia_isa_runs(int idx);
OSSIA_API const char* ossia_isa_used(void);
OSSIA_API int ossia_use(const char* name);

// Packed MXFP4 matrices from the checkpoint's order (experts, rows, groups, 16) and (experts, rows,
// groups) into tiles of 16 rows: codes (experts, rows / 16, groups, 256), scales (experts, rows / 16,
// groups, 16). rows is a multiple of 16, of 32 if paired: even rows then fill even tiles, odd rows odd ones.
OSSIA_API int ossia_interleave(
    const uint8_t* blocks, const uint8_t* scales, int64_t experts, int64_t rows, int64_t groups,
    int paired, uint8_t* out_codes, uint8_t* out_scales, int threads);

struct ossia_linear {
  const void* weight;  // (rows, columns), bfloat16
  const void* bias;    // (rows,) bfloat16, or null
  const void* x;       // (tokens, columns), bfloat16
  void* out;           // (tokens, rows), bfloat16
  int64_t tokens, rows, columns;
  int threads;
};

// Rows of x times the transposed weight, plus the bias; rounded once.
OSSIA_API int ossia_run_linear(const struct ossia_linear* call);

struct ossia_experts {
  const uint8_t* gate_up_codes;   // (experts, 2 ffn / 16, hidden / 32, 256), paired
  const uint8_t* gate_up_scales;  // (experts, 2 ffn / 16, hidden / 32, 16)
  const void* gate_up_bias;       // (experts, 2 ffn) of `type`, gate and up interleaved
  const uint8_t* down_codes;      // (experts, hidden / 16, ffn / 32, 256)
  const uint8_t* down_scales;
  const void* down_bias;  // (experts, hidden) of `type`
  const void* x;          // (tokens, hidden) of `type`
  const int64_t* ids;     // (tokens, top_k)
  const void* weights;    // (tokens, top_k) of `type`
  void* out;              // (tokens, hidden) of `type`
  int64_t tokens, experts, hidden, ffn, top_k;
  float alpha, limit;
  int type, activations, threads;
};

// Every token through its experts; kernels/moe/reference.py defines it.
OSSIA_API int ossia_run_experts(const struct ossia_experts* call);
