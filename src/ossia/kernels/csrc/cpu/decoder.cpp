// The whole decoder in one call: what a step of the engine asks for between embeddings and logits.
#include <cmath>
#include <cstring>
#include <new>

#include "bfloat16.h"
#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

constexpr int64_t kManyTokens = 16;

class Decoder {
 public:
  explicit Decoder(const ossia_decoder& call)
      : c_(call), isa_(used_isa()), q_columns_(call.heads * call.head_dim),
        qkv_columns_((call.heads + 2 * call.kv_heads) * call.head_dim),
        normed_(bf16(call.hidden)), qkv_(bf16(qkv_columns_)), q_(bf16(q_columns_)), attended_(bf16(q_columns_)),
        said_(bf16(call.hidden)), router_logits_(bf16(call.experts)), weights_(bf16(call.top_k)),
        ids_(scratch_.take_array<int64_t>(call.tokens * call.top_k)) {}

  int run() {
    for (int64_t i = 0; i < c_.num_layers; ++i)
      if (const int status = run_layer(c_.layers[i])) return status;
    return norm(c_.x, c_.final_norm, c_.x);
  }

 private:
  uint16_t* bf16(int64_t columns) { return scratch_.take_array<uint16_t>(c_.tokens * columns); }

  int run_layer(const ossia_decoder_layer& layer) {
    if (const int status = attend(layer)) return status;
    add_to_x();
    if (const int status = run_experts(layer)) return status;
    add_to_x();
    return OSSIA_OK;
  }

  int attend(const ossia_decoder_layer& layer) {
    if (const int status = norm(c_.x, layer.input_norm, normed_)) return status;
    if (const int status = multiply(layer.qkv, normed_, c_.hidden, qkv_)) return status;
    uint16_t *k = qkv_ + q_columns_, *v = k + c_.kv_heads * c_.head_dim;
    const ossia_rope rope = {
        qkv_, k, v, c_.cos, c_.sin, layer.k_pages, layer.v_pages, c_.slots[layer.kind],
        c_.tokens, c_.heads, c_.kv_heads, c_.head_dim, qkv_columns_, qkv_columns_, qkv_columns_,
        OSSIA_BF16, c_.int8_pages, c_.threads};
    if (const int status = ossia_rotate_and_write(&rope)) return status;
    for_tokens([&](int64_t token) {
      std::memcpy(
          q_ + token * q_columns_, qkv_ + token * qkv_columns_,
          static_cast<size_t>(q_columns_) * sizeof(uint16_t));
    });
    const ossia_attention attention = {
        q_, layer.k_pages, layer.v_pages, c_.page_tables[layer.kind], c_.query_lens,
        c_.context_lens, layer.sinks, attended_, c_.seqs, c_.heads, c_.kv_heads, c_.head_dim, c_.page_size,
        c_.max_pages[layer.kind], layer.window, OSSIA_BF16, c_.int8_pages, c_.threads};
    if (const int status = ossia_attend(&attention)) return status;
    return multiply(layer.output, attended_, q_columns_, said_);
  }

  int run_experts(const ossia_decoder_layer& layer) {
    if (const int status = norm(c_.x, layer.post_norm, normed_)) return status;
    if (const int status = multiply(layer.router, normed_, c_.hidden, router_logits_)) return status;
    for_tokens([&](int64_t token) { choose(token); });
    const ossia_experts experts = {
        layer.gate_up_codes, layer.gate_up_scales, layer.gate_up_bias, layer.down_codes, layer.down_scales,
        layer.down_bias, normed_, ids_, weights_, said_, c_.tokens, c_.experts, c_.hidden,
        c_.ffn, c_.top_k, c_.alpha, c_.limit, OSSIA_BF16, c_.activations, c_.threads};
    return ossia_run_experts(&experts);
  }

  // A token's experts, best first (the lower number where two are equal), and their softmax.
  void choose(int64_t token) {
    const uint16_t* logits = router_logits_ + token * c_.experts;
    uint16_t* weights = weights_ + token * c_.top_k;
    int64_t* chosen = ids_ + token * c_.top_k;
    for (int64_t choice = 0; choice < c_.top_k; ++choice) {
      int64_t best = -1;
      for (int64_t expert = 0; expert < c_.experts; ++expert) {
        bool taken = false;
        for (int64_t i = 0; i < choice; ++i) taken |= chosen[i] == expert;
        if (!taken && (best < 0 || widened(logits[expert]) > widened(logits[best]))) best = expert;
      }
      chosen[choice] = best;
    }
    float sum = 0.0f;
    for (int64_t i = 0; i < c_.top_k; ++i) sum += std::exp(widened(logits[chosen[i]]) - widened(logits[chosen[0]]));
    for (int64_t i = 0; i < c_.top_k; ++i) {
      const float weight = std::exp(widened(logits[chosen[i]]) - widened(logits[chosen[0]])) / sum;
      isa_.narrow(&weight, weights + i, 1);
    }
  }

  int norm(const void* x, const void* weight, void* out) {
    return ossia_rms_norm(x, weight, c_.eps, out, c_.tokens, c_.hidden, OSSIA_BF16, c_.threads);
  }

  int multiply(const ossia_matrix& matrix, const void* x, int64_t columns, void* out) {
    const ossia_linear linear = {
        matrix.weight, matrix.scales, matrix.bias, x, out, c_.tokens, matrix.rows, columns, c_.activations,
        c_.threads};
    return ossia_run_linear(&linear);
  }

  void add_to_x() {
    auto* x = static_cast<uint16_t*>(c_.x);
    for_tokens([&](int64_t token) { isa_.add(x + token * c_.hidden, said_ + token * c_.hidden, c_.hidden); });
  }

  // What takes microseconds for a token: waking others would take longer for a few.
  template <typename F>
  void for_tokens(F&& body) {
    const int threads = c_.tokens < kManyTokens ? 1 : c_.threads;
    for_each_task(threads, c_.tokens, [&](int64_t token, int) { body(token); });
  }

  const ossia_decoder& c_;
  const Isa& isa_;
  const int64_t q_columns_, qkv_columns_;
  Scratch scratch_;
  // (tokens, columns), one row behind the other
  uint16_t *const normed_, *const qkv_, *const q_, *const attended_, *const said_, *const router_logits_;
  uint16_t* const weights_;
  int64_t* const ids_;
};

}  // namespace

int ossia_run_decoder(const ossia_decoder* call) {
  try {
    return Decoder(*call).run();
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
}

int ossia_run_step(const ossia_step* call) {
  const ossia_step& c = *call;
  const ossia_decoder& layers = *c.layers;
  const int64_t half = layers.head_dim / 2;
  for (int64_t token = 0; token < layers.tokens; ++token) {
    if (c.ids[token] < 0 || c.ids[token] >= c.vocab) return OSSIA_BAD_TOKEN;
    const int64_t position = c.positions[token];
    std::memcpy(
        static_cast<uint16_t*>(c.x) + token * layers.hidden,
        static_cast<const uint16_t*>(c.embeddings) + c.ids[token] * layers.hidden,
        static_cast<size_t>(layers.hidden) * sizeof(uint16_t));
    std::memcpy(c.layers_cos + token * half, c.cos + position * half, static_cast<size_t>(half) * sizeof(float));
    std::memcpy(c.layers_sin + token * half, c.sin + position * half, static_cast<size_t>(half) * sizeof(float));
    c.context_lens[token] = position + 1;
    for (int64_t kind = 0; kind < c.kinds; ++kind) {
      const int32_t* pages = c.pages[kind][token];
      c.slots[kind][token] = pages[position / layers.page_size] * layers.page_size + position % layers.page_size;
      std::memcpy(
          c.page_tables[kind] + token * layers.max_pages[kind], pages,
          static_cast<size_t>(c.page_counts[kind][token]) * sizeof(int32_t));
    }
  }
  int status = ossia_run_decoder(c.layers);
  if (status == OSSIA_OK) status = ossia_run_linear(c.unembedding);
  if (status == OSSIA_OK && c.drawing != nullptr) status = ossia_most_likely(c.drawing);
  return status;
}
