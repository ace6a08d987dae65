// The whole decoder in one call: what a step of the engine asks for between embeddings and logits.
#include <cmath>
#include <cstring>
#include <new>

#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

constexpr int64_t kElement = 2;          // bytes
constexpr int64_t kFewElements = 1 << 15;  // below this, waking others takes longer than the work

float widened(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

class Decoder {
 public:
  explicit Decoder(const ossia_decoder& call)
      : c_(call), isa_(used_isa()), q_columns_(call.heads * call.head_dim),
        qkv_columns_((call.heads + 2 * call.kv_heads) * call.head_dim),
        normed_(allocate(call.tokens * call.hidden * kElement)),
        qkv_(allocate(call.tokens * qkv_columns_ * kElement)),
        q_(allocate(call.tokens * q_columns_ * kElement)),
        attended_(allocate(call.tokens * q_columns_ * kElement)),
        said_(allocate(call.tokens * call.hidden * kElement)),
        router_logits_(allocate(call.tokens * call.experts * kElement)),
        ids_(allocate(call.tokens * call.top_k * 8)),
        weights_(allocate(call.tokens * call.top_k * kElement)) {}

  int run() {
    for (int64_t i = 0; i < c_.num_layers; ++i)
      if (const int status = run_layer(c_.layers[i])) return status;
    return norm(c_.x, c_.final_norm, c_.x);
  }

 private:
  int run_layer(const ossia_decoder_layer& layer) {
    if (const int status = attend(layer)) return status;
    add_to_x();
    if (const int status = run_experts(layer)) return status;
    add_to_x();
    return OSSIA_OK;
  }

  int attend(const ossia_decoder_layer& layer) {
    if (const int status = norm(c_.x, layer.input_norm, normed_.get())) return status;
    if (const int status = multiply(layer.qkv, normed_.get(), c_.hidden, qkv_.get())) return status;
    uint8_t *k = qkv_.get() + q_columns_ * kElement, *v = k + c_.kv_heads * c_.head_dim * kElement;
    const ossia_rope rope = {
        qkv_.get(), k, v, c_.cos, c_.sin, layer.k_pages, layer.v_pages, c_.slots[layer.kind],
        c_.tokens, c_.heads, c_.kv_heads, c_.head_dim, qkv_columns_, qkv_columns_, qkv_columns_,
        OSSIA_BF16, c_.threads};
    if (const int status = ossia_rotate_and_write(&rope)) return status;
    for (int64_t token = 0; token < c_.tokens; ++token)
      std::memcpy(
          q_.get() + token * q_columns_ * kElement, qkv_.get() + token * qkv_columns_ * kElement,
          static_cast<size_t>(q_columns_ * kElement));
    const ossia_attention attention = {
        q_.get(), layer.k_pages, layer.v_pages, c_.page_tables[layer.kind], c_.seqs, c_.positions,
        layer.sinks, attended_.get(), c_.tokens, c_.heads, c_.kv_heads, c_.head_dim, c_.page_size,
        c_.max_pages[layer.kind], layer.window, OSSIA_BF16, c_.threads};
    if (const int status = ossia_attend(&attention)) return status;
    return multiply(layer.output, attended_.get(), q_columns_, said_.get());
  }

  int run_experts(const ossia_decoder_layer& layer) {
    if (const int status = norm(c_.x, layer.post_norm, normed_.get())) return status;
    if (const int status = multiply(layer.router, normed_.get(), c_.hidden, router_logits_.get())) return status;
    for (int64_t token = 0; token < c_.tokens; ++token) choose(token);
    const ossia_experts experts = {
        layer.gate_up_codes, layer.gate_up_scales, layer.gate_up_bias, layer.down_codes, layer.down_scales,
        layer.down_bias, normed_.get(), ids(), weights_.get(), said_.get(), c_.tokens, c_.experts, c_.hidden,
        c_.ffn, c_.top_k, c_.alpha, c_.limit, OSSIA_BF16, c_.activations, c_.threads};
    return ossia_run_experts(&experts);
  }

  // A token's experts, best first (the lower number where two are equal), and their softmax.
  void choose(int64_t token) {
    const auto* logits = reinterpret_cast<const uint16_t*>(router_logits_.get()) + token * c_.experts;
    auto* weights = reinterpret_cast<uint16_t*>(weights_.get()) + token * c_.top_k;
    int64_t* chosen = ids() + token * c_.top_k;
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
    const auto* said = reinterpret_cast<const uint16_t*>(said_.get());
    const int threads = c_.tokens * c_.hidden < kFewElements ? 1 : c_.threads;
    for_each_task(threads, c_.tokens, [&](int64_t token, int) {
      isa_.add(x + token * c_.hidden, said + token * c_.hidden, c_.hidden);
    });
  }

  int64_t* ids() { return reinterpret_cast<int64_t*>(ids_.get()); }

  const ossia_decoder& c_;
  const Isa& isa_;
  const int64_t q_columns_, qkv_columns_;
  const Bytes normed_, qkv_, q_, attended_, said_, router_logits_, ids_, weights_;
};

}  // namespace

int ossia_run_decoder(const ossia_decoder* call) {
  try {
    return Decoder(*call).run();
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
}
