// The C interface of Ossia's CPU kernels; src/ossia/kernels/cpu/kernel_library.py declares the same.
// Functions that return int return 0, or one of OSSIA_BAD_*. Nothing throws across this border.
#pragma once
#include <stdint.h>

#define OSSIA_API extern "C" __attribute__((visibility("default")))

enum { OSSIA_OK = 0, OSSIA_BAD_MEMORY = 1, OSSIA_BAD_EXPERT = 2, OSSIA_BAD_ISA = 3, OSSIA_BAD_TOKEN = 4 };
enum { OSSIA_F32 = 0, OSSIA_BF16 = 1 };  // types of floats
enum { OSSIA_FULL = 0, OSSIA_INT8 = 1 };  // what activations are rounded to before a product

// SHA-256 over the SHA-256 of every source file, in hexadecimal.
OSSIA_API const char* ossia_source_digest(void);

// Instruction sets in rising order of preference: how many the library holds, their names, why this machine
// does not run one (null if it does), why one that it runs is not chosen all the same (null if nothing is
// against it), which is in use. ossia_use takes a name; not while another thread is in a kernel.
OSSIA_API int ossia_isa_count(void);
OSSIA_API const char* ossia_isa_name(int idx);
OSSIA_API const char* ossia_isa_obstacle(int idx);
OSSIA_API const char* ossia_isa_drawback(int idx);
OSSIA_API const char* ossia_isa_used(void);
OSSIA_API int ossia_use(const char* name);

// Which of so many threads is best kept to each of `count` CPUs, in rising order, by what lies under `sysfs`,
// as /sys/devices/system/cpu; -1 for none, and for all if there are fewer CPUs than threads.
OSSIA_API int ossia_places(
    const char* sysfs, const int32_t* cpus, int64_t count, int threads, int32_t* thread_of);

// Whether threads that help callers are kept to such places once there are more of them, as is the case from
// the start. Callers, which are the first of the threads, never are.
OSSIA_API void ossia_keep_workers(int kept);

// Reads memory and returns the exclusive or of its words: how fast this goes bounds every kernel. Whether
// fetching so many bytes ahead helps depends on the machine; 0 leaves it to the processor.
OSSIA_API uint64_t ossia_read(const uint8_t* bytes, int64_t count, int64_t ahead, int threads);

// Asks for large pages, before memory is first written; lets the system take pages of a mapped file back,
// where what was written stays; and has it read some before they are looked at.
OSSIA_API void ossia_ask_for_large_pages(void* memory, int64_t bytes);
OSSIA_API void ossia_page_out(const void* memory, int64_t bytes);
OSSIA_API void ossia_read_ahead(const void* memory, int64_t bytes);

// Packed MXFP4 matrices from the checkpoint's order (experts, rows, groups, 16) and (experts, rows,
// groups) into tiles of 16 rows: codes (experts, rows / 16, groups, 256), scales (experts, rows / 16,
// groups, 16). rows is a multiple of 16, of 32 if paired: even rows then fill even tiles, odd rows odd ones.
OSSIA_API int ossia_interleave(
    const uint8_t* blocks, const uint8_t* scales, int64_t experts, int64_t rows, int64_t groups,
    int paired, uint8_t* out_codes, uint8_t* out_scales, int threads);

// A bfloat16 matrix (rows, columns) to int8 in tiles of 16 rows: codes (rows / 16, columns / 32, 512),
// raised by 128, and scales, bfloat16 (rows / 16, columns / 32, 16). rows is a multiple of 16, columns of 32.
OSSIA_API int ossia_quantize(
    const void* weight, int64_t rows, int64_t columns, uint8_t* out_codes, void* out_scales, int threads);

struct ossia_linear {
  const void* weight;  // bfloat16 (rows, columns), or int8 codes as ossia_quantize gives them
  const void* scales;  // of int8; null for bfloat16
  const void* bias;    // (rows,) bfloat16, or null
  const void* x;       // (tokens, columns), bfloat16
  void* out;           // (tokens, rows), bfloat16
  int64_t tokens, rows, columns;
  int activations, threads;
};

// Rows of x times the transposed weight, plus the bias; rounded once. By int8 weights x goes as 8 bits, with
// a scale for 32 values, if activations says so; else as twice 8 bits, the second for what the first left out.
OSSIA_API int ossia_run_linear(const struct ossia_linear* call);

// Rows of `type` scaled to unit root mean square, times the weight (columns,).
OSSIA_API int ossia_rms_norm(
    const void* x, const void* weight, float eps, void* out, int64_t rows, int64_t columns, int type,
    int threads);

struct ossia_rope {
  void* q;             // (tokens, heads, head_dim) of `type`, turned in place; tokens q_stride elements apart
  void* k;             // (tokens, kv_heads, head_dim), as v; turned in place for pages of 8 bits
  const void* v;
  const float* cos;    // (tokens, head_dim / 2), as sin
  const float* sin;
  void* k_pages;       // (pages, page_size, kv_heads, head_dim), as v_pages
  void* v_pages;
  const int64_t* slots;  // (tokens,): page * page_size + offset
  int64_t tokens, heads, kv_heads, head_dim, q_stride, k_stride, v_stride;
  int type, int8_pages, threads;
};

// Turns queries and keys, stores keys and values. With int8_pages a row of a head is head_dim integers of 8 bits
// and the float32 that they are multiples of: (pages, page_size, kv_heads, head_dim + 4) bytes.
OSSIA_API int ossia_rotate_and_write(const struct ossia_rope* call);

struct ossia_attention {
  const void* q;        // (tokens, heads, head_dim) of `type`
  const void* k_pages;  // (pages, page_size, kv_heads, head_dim), as v_pages
  const void* v_pages;
  const int32_t* page_table;    // (seqs, max_pages)
  const int64_t* query_lens;    // (seqs,): new tokens of each sequence, which lie one behind the other
  const int64_t* context_lens;  // (seqs,): its tokens that are in pages, the new ones included
  const void* sinks;            // (heads,)
  void* out;                    // as q
  int64_t seqs, heads, kv_heads, head_dim, page_size, max_pages;
  int64_t window;  // keys that a token sees at most; 0 for all
  int type, int8_pages, threads;
};

// Attention of new tokens over pages, with sinks. A token gets the same bits whatever else is in the call.
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

struct ossia_matrix {  // as in ossia_linear
  const void* weight;
  const void* scales;
  const void* bias;
  int64_t rows;
};

struct ossia_decoder_layer {
  const void* input_norm;      // (hidden,)
  struct ossia_matrix qkv;     // queries, then keys, then values, from hidden columns
  const void* sinks;           // (heads,)
  struct ossia_matrix output;  // from heads * head_dim columns
  const void* post_norm;       // (hidden,)
  struct ossia_matrix router;
  const uint8_t* gate_up_codes;  // these as in ossia_experts
  const uint8_t* gate_up_scales;
  const void* gate_up_bias;
  const uint8_t* down_codes;
  const uint8_t* down_scales;
  const void* down_bias;
  void* k_pages;  // (pages, page_size, kv_heads, head_dim), as v_pages
  void* v_pages;
  int64_t window;  // keys that a token sees at most; 0 for all
  int64_t kind;    // which of the batch's two tables of pages it uses
};

struct ossia_decoder {
  const struct ossia_decoder_layer* layers;
  const void* final_norm;
  void* x;           // (tokens, hidden): embeddings, then what the final norm gives
  const float* cos;  // (tokens, head_dim / 2), as sin
  const float* sin;
  const int64_t* query_lens;  // these two as in ossia_attention
  const int64_t* context_lens;
  const int64_t* slots[2];        // for either kind: (tokens,)
  const int32_t* page_tables[2];  // (sequences, max_pages)
  int64_t max_pages[2];
  int64_t num_layers, seqs, tokens, hidden, heads, kv_heads, head_dim, page_size, experts, ffn, top_k;
  float eps, alpha, limit;
  int activations, int8_pages, threads;
};

// All layers and the final norm over new tokens of sequences in pages, everything in bfloat16.
OSSIA_API int ossia_run_decoder(const struct ossia_decoder* call);

// bfloat16 to float32, as logits are before they are looked at.
OSSIA_API int ossia_widen(const void* x, float* out, int64_t count, int threads);

struct ossia_draw {
  double uniform;  // in [0, 1)
  int64_t top_k;   // 0 keeps all
  float temperature;  // 0 takes the most likely token
  float top_p, min_p;
};

struct ossia_sampling {
  const float* logits;             // (rows, vocab), rows `stride` apart
  const struct ossia_draw* draws;  // (rows,)
  int64_t* ids;                    // (rows,)
  float* peaks;  // (rows,), the largest logits; NaN if there is one; the id means something if it is finite
  int64_t rows, vocab, stride;
  int threads;
};

// A token for each row; kernels/sampling/reference.py defines it.
OSSIA_API int ossia_sample(const struct ossia_sampling* call);

struct ossia_narrow_logits {
  const void* logits;  // (rows, vocab), bfloat16, rows `stride` apart
  int64_t* ids;        // (rows,)
  float* peaks;        // (rows,); these two as in ossia_sampling
  int64_t rows, vocab, stride;
  int threads;
};

// The most likely token of each row, the lowest among equals: what ossia_sample takes at temperature 0.
OSSIA_API int ossia_most_likely(const struct ossia_narrow_logits* call);

struct ossia_step {
  const struct ossia_decoder* layers;         // a token for each of some sequences
  const struct ossia_linear* unembedding;     // of the layers' x
  const struct ossia_narrow_logits* drawing;  // of what that gives; may be null
  const void* embeddings;                     // (vocab, hidden), bfloat16
  const float* cos;                           // (positions, head_dim / 2), as sin
  const float* sin;
  const int64_t* ids;             // (tokens,)
  const int64_t* positions;       // (tokens,)
  const int32_t* const* pages[2];  // (tokens,): for either kind each sequence's own table, page_counts long
  const int64_t* page_counts[2];  // (tokens,)
  void* x;                        // these are the layers' and are filled
  float* layers_cos;
  float* layers_sin;
  int64_t* context_lens;
  int64_t* slots[2];
  int32_t* page_tables[2];
  int64_t vocab, kinds;
};

// Gives the layers what they need of ids, positions and pages, and computes one after the other.
OSSIA_API int ossia_run_step(const struct ossia_step* call);

struct ossia_logprobs {
  const float* logits;       // (rows, vocab), rows `stride` apart
  const int64_t* token_ids;  // (rows,), below vocab
  float* chosen;             // (rows,)
  float* top;                // (rows, num_top), the largest first
  int64_t* top_ids;          // the lowest first among equals
  int64_t rows, vocab, stride, num_top;
  int threads;
};

// Log-probabilities of given tokens and of the most likely ones; NaN where the largest logit is not finite or
// one is NaN.
OSSIA_API int ossia_token_logprobs(const struct ossia_logprobs* call);
