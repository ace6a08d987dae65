// The C interface of Ossia's CPU kernels; src/ossia/kernels/cpu/kernel_library.py declares the same.
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

// Reads memory and returns the exclusive or of its words: how fast this goes bounds every kernel. Whether
// fetching so many bytes ahead helps depends on the machine; 0 leaves it to the processor.
OSSIA_API uint64_t ossia_read(const uint8_t* bytes, int64_t count, int64_t ahead, int threads);

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

// Rows of `type` scaled to unit root mean square, times the weight (columns,).
OSSIA_API int ossia_rms_norm(
    const void* x, const void* weight, float eps, void* out, int64_t rows, int64_t columns, int type,
    int threads);

struct ossia_rope {
  void* q;             // (tokens, heads, head_dim) of `type`, turned in place; tokens q_stride elements apart
  const void* k;       // (tokens, kv_heads, head_dim), as v
  const void* v;
  const float* cos;    // (tokens, head_dim / 2), as sin
  const float* sin;
  void* k_pages;       // (pages, page_size, kv_heads, head_dim), as v_pages
  void* v_pages;
  const int64_t* slots;  // (tokens,): page * page_size + offset
  int64_t tokens, heads, kv_heads, head_dim, q_stride, k_stride, v_stride;
  int type, threads;
};

// Turns queries and keys, stores keys and values.
OSSIA_API int ossia_rotate_and_write(const struct ossia_rope* call);

struct ossia_attention {
  const void* q;        // (tokens, heads, head_dim) of `type`
  const void* k_pages;  // (pages, page_size, kv_heads, head_dim), as v_pages
  const void* v_pages;
  const int32_t* page_table;  // (sequences, max_pages)
  const int64_t* seqs;        // (tokens,): each token's sequence
  const int64_t* positions;   // (tokens,): it sees keys up to there
  const void* sinks;          // (heads,)
  void* out;                  // as q
  int64_t tokens, heads, kv_heads, head_dim, page_size, max_pages;
  int64_t window;  // keys that a token sees at most; 0 for all
  int type, threads;
};

// Attention of single tokens over pages, with sinks.
OSSIA_API int ossia_attend(const struct ossia_attention* call);

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
