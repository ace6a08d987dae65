// The experts: gate and up with the clamped SwiGLU, then down with the weighted sum, over the whole
// batch at once. An expert's weights are read once for all of its tokens.
#include <new>
#include <vector>

#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

constexpr int64_t kTokensAtOnce = 512;  // bounds what is kept between the two products
constexpr int64_t kBlock = 2 * kTileRows;  // inner elements of a task: a group of the second product

// Floats of either type.
struct Floats {
  const void* data;
  bool is_bf16;
  float operator[](int64_t i) const {
    if (!is_bf16) return static_cast<const float*>(data)[i];
    const uint32_t bits = uint32_t(static_cast<const uint16_t*>(data)[i]) << 16;
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
  }
};

// Which slots (token * top_k + choice) go to an expert; only experts that have some.
struct Share {
  int64_t expert;
  std::vector<int64_t> slots;
};

class Layer {
 public:
  Layer(const ossia_experts& call, int64_t first_token, int64_t tokens)
      : c_(call), isa_(used_isa()), is_bf16_(call.type == OSSIA_BF16),
        product_(call.activations == OSSIA_INT8 ? isa_.mxfp4_int8 : is_bf16_ ? isa_.mxfp4_bf16 : isa_.mxfp4_f32),
        first_(first_token), tokens_(tokens), hidden_groups_(call.hidden / kGroup),
        ffn_groups_(call.ffn / kGroup), row_bytes_(hidden_groups_ * product_.group_bytes),
        inner_bytes_(ffn_groups_ * product_.group_bytes) {
    share_out();
    rows_ = allocate(tokens * row_bytes_);
    inner_ = allocate(tokens * c_.top_k * inner_bytes_);
    said_ = allocate(c_.threads * said_floats() * 4);
  }

  void run() {
    for_each_task(c_.threads, tokens_, [this](int64_t token, int) { take_token(token); });
    const int64_t active = static_cast<int64_t>(shares_.size());
    for_each_task(c_.threads, active * ffn_groups_, [this](int64_t task, int) {
      gate_and_up(shares_[task / ffn_groups_], task % ffn_groups_);
    });
    for_each_task(c_.threads, c_.hidden / kTileRows, [this](int64_t tile, int thread) {
      down(tile, reinterpret_cast<float*>(said_.get()) + thread * said_floats());
    });
  }

 private:
  int64_t said_floats() const { return (tokens_ * c_.top_k + kMaxTokens) * kTileRows; }

  void share_out() {
    std::vector<Share> all(static_cast<size_t>(c_.experts));
    for (int64_t slot = 0; slot < tokens_ * c_.top_k; ++slot)
      all[c_.ids[first_ * c_.top_k + slot]].slots.push_back(slot);
    for (int64_t expert = 0; expert < c_.experts; ++expert) {
      if (all[expert].slots.empty()) continue;
      all[expert].expert = expert;
      shares_.push_back(std::move(all[expert]));
    }
  }

  void take_token(int64_t token) {
    const Floats x{c_.x, is_bf16_};
    for (int64_t group = 0; group < hidden_groups_; ++group) {
      float values[kGroup];
      for (int i = 0; i < kGroup; ++i)
        values[i] = x[(first_ + token) * c_.hidden + group * kGroup + i];
      product_.put_group(values, rows_.get() + token * row_bytes_, hidden_groups_, group);
    }
  }

  // As a result of the tokens' type is.
  void round(float* values, int64_t count) const {
    if (!is_bf16_) return;
    uint16_t narrow[kBlock];
    isa_.narrow(values, narrow, count);
    isa_.widen(narrow, values, count);
  }

  void gate_and_up(const Share& share, int64_t block) {
    const int64_t tiles = 2 * c_.ffn / kTileRows, first_tile = share.expert * tiles + 4 * block;
    const Floats bias{c_.gate_up_bias, is_bf16_};
    float gate_bias[kBlock], up_bias[kBlock];
    for (int64_t i = 0; i < kBlock; ++i) {
      const int64_t at = share.expert * 2 * c_.ffn + 2 * (block * kBlock + i);
      gate_bias[i] = bias[at], up_bias[i] = bias[at + 1];
    }
    float out[kMaxTokens * 2 * kBlock];
    in_blocks(share, [&](const int64_t* slots, int count) {
      const uint8_t* rows[kMaxTokens];
      for (int t = 0; t < count; ++t) rows[t] = rows_.get() + slots[t] / c_.top_k * row_bytes_;
      for (int64_t tile = 0; tile < 4; ++tile) {  // gates and ups by turns; out has gates first
        const int64_t at = (first_tile + tile) * hidden_groups_;
        product_.tile(
            c_.gate_up_codes + at * kCodeBytes, c_.gate_up_scales + at * kTileRows, hidden_groups_,
            rows, count, out + tile % 2 * kBlock + tile / 2 * kTileRows, 2 * kBlock);
      }
      for (int t = 0; t < count; ++t) {
        float *gate = out + t * 2 * kBlock, *up = gate + kBlock, values[kBlock];
        for (int64_t i = 0; i < kBlock; ++i) gate[i] += gate_bias[i], up[i] += up_bias[i];
        round(gate, kBlock), round(up, kBlock);
        isa_.swiglu(gate, up, c_.alpha, c_.limit, values, kBlock);
        round(values, kBlock);
        product_.put_group(values, inner_.get() + slots[t] * inner_bytes_, ffn_groups_, block);
      }
    });
  }

  void down(int64_t tile, float* said) {
    const Floats bias{c_.down_bias, is_bf16_}, weights{c_.weights, is_bf16_};
    for (const Share& share : shares_) {
      float tile_bias[kTileRows];
      for (int r = 0; r < kTileRows; ++r)
        tile_bias[r] = bias[share.expert * c_.hidden + tile * kTileRows + r];
      const int64_t at = (share.expert * (c_.hidden / kTileRows) + tile) * ffn_groups_;
      in_blocks(share, [&](const int64_t* slots, int count) {
        const uint8_t* rows[kMaxTokens];
        float out[kMaxTokens * kTileRows];
        for (int t = 0; t < count; ++t) rows[t] = inner_.get() + slots[t] * inner_bytes_;
        product_.tile(
            c_.down_codes + at * kCodeBytes, c_.down_scales + at * kTileRows, ffn_groups_, rows,
            count, out, kTileRows);
        for (int t = 0; t < count; ++t) {
          float* values = out + t * kTileRows;
          for (int r = 0; r < kTileRows; ++r) values[r] += tile_bias[r];
          round(values, kTileRows);
          for (int r = 0; r < kTileRows; ++r) said[slots[t] * kTileRows + r] = values[r];
        }
      });
    }
    for (int64_t token = 0; token < tokens_; ++token) {
      float sum[kTileRows] = {};
      for (int64_t choice = 0; choice < c_.top_k; ++choice) {  // in routing order
        const int64_t slot = token * c_.top_k + choice;
        const float weight = weights[first_ * c_.top_k + slot];
        for (int r = 0; r < kTileRows; ++r) sum[r] += weight * said[slot * kTileRows + r];
      }
      const int64_t to = (first_ + token) * c_.hidden + tile * kTileRows;
      if (is_bf16_) isa_.narrow(sum, static_cast<uint16_t*>(c_.out) + to, kTileRows);
      else __builtin_memcpy(static_cast<float*>(c_.out) + to, sum, sizeof(sum));
    }
  }

  template <typename F>
  static void in_blocks(const Share& share, F&& body) {
    const int64_t count = static_cast<int64_t>(share.slots.size());
    for (int64_t first = 0; first < count; first += kMaxTokens) {
      const int64_t left = count - first;
      body(share.slots.data() + first, static_cast<int>(left < kMaxTokens ? left : kMaxTokens));
    }
  }

  const ossia_experts& c_;
  const Isa& isa_;
  const bool is_bf16_;
  const Product& product_;
  const int64_t first_, tokens_, hidden_groups_, ffn_groups_, row_bytes_, inner_bytes_;
  std::vector<Share> shares_;
  Bytes rows_, inner_, said_;
};

}  // namespace

int ossia_run_experts(const ossia_experts* call) {
  for (int64_t i = 0; i < call->tokens * call->top_k; ++i)
    if (call->ids[i] < 0 || call->ids[i] >= call->experts) return OSSIA_BAD_EXPERT;
  try {
    for (int64_t first = 0; first < call->tokens; first += kTokensAtOnce) {
      const int64_t left = call->tokens - first;
      Layer(*call, first, left < kTokensAtOnce ? left : kTokensAtOnce).run();
    }
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}
