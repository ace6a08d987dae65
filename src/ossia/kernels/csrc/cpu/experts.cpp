// The experts: gate and up with the clamped SwiGLU, then down with the weighted sum, over the whole
// batch at once. An expert's weights are read once for all of its tokens.
#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "bfloat16.h"
#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

constexpr int64_t kTokensAtOnce = 512;  // bounds what is kept between the two products
constexpr int64_t kManyTokens = 8;      // worth waking others for what is done token by token
constexpr int64_t kMostByExperts = 128;  // beyond, what the experts say no longer fits a near cache
constexpr int64_t kBlock = 2 * kTileRows;  // inner elements of a task: a group of the second product

// Tokens of an expert that go through a product together. Slots (token * top_k + choice) are put in the
// order of their experts; a panel is some that follow each other there.
struct Panel {
  const Product* product;
  int64_t first;  // in that order
  int count;
};

// An expert that some slots go to, and its panels.
struct Share {
  int64_t expert, first_panel, end_panel;
};

class Layer {
 public:
  Layer(const ossia_experts& call, int64_t first_token, int64_t tokens)
      : c_(call), isa_(used_isa()), is_bf16_(call.type == OSSIA_BF16),
        is_int8_(call.activations == OSSIA_INT8),
        few_(is_int8_ ? isa_.mxfp4_int8 : is_bf16_ ? isa_.mxfp4_bf16 : isa_.mxfp4_f32),
        many_(!is_bf16_ ? kNothingBetter : is_int8_ ? isa_.many_int8 : isa_.many_bf16),
        first_(first_token), tokens_(tokens), slots_(tokens * call.top_k),
        hidden_groups_(call.hidden / kGroup), ffn_groups_(call.ffn / kGroup),
        row_bytes_(row_bytes(hidden_groups_)), inner_bytes_(row_bytes(ffn_groups_)) {
    order_ = scratch_.take_array<int64_t>(slots_);
    places_ = scratch_.take_array<Place>(slots_);
    weights_ = scratch_.take_array<float>(slots_);
    load(c_.weights, first_ * c_.top_k, slots_, weights_);
    panels_.reserve(static_cast<size_t>(slots_));
    shares_.reserve(static_cast<size_t>(std::min(slots_, c_.experts)));
    share_out();
    rows_ = scratch_.take(slots_ * row_bytes_);
    inner_ = scratch_.take(slots_ * inner_bytes_);
  }

  void run() {
    if (tokens_ == 1 && static_cast<int64_t>(shares_.size()) == c_.top_k) take_only_token();
    else for_each_task(tokens_ < kManyTokens ? 1 : c_.threads, tokens_, [this](int64_t token, int) { take_token(token); });
    const int64_t blocks = static_cast<int64_t>(shares_.size()) * ffn_groups_;
    for_each_in_runs(c_.threads, blocks, [&](int64_t task, int) {
      gate_and_up(task, task + 1 < blocks ? task + 1 : task);
    });
    if (tokens_ <= kMostByExperts) down_by_experts();
    else down_by_rows();
  }

 private:
  static constexpr int64_t kTaskTiles = 4;  // of gates and ups: a block
  // What enters the second product is used for so many tiles while it is in a near cache.
  static constexpr int64_t kDownTiles = 4;

  // What a token has room for in a panel of either product, which begins with a line of the cache.
  int64_t row_bytes(int64_t groups) const {
    constexpr auto line = static_cast<int64_t>(kLine);
    return (groups * std::max(few_.group_bytes, many_.product.group_bytes) + line - 1) / line * line;
  }

  void share_out() {
    const int64_t* ids = c_.ids + first_ * c_.top_k;
    int64_t* ends = scratch_.take_array<int64_t>(c_.experts + 1);  // of each expert's slots, in their order
    std::fill(ends, ends + c_.experts + 1, 0);
    for (int64_t slot = 0; slot < slots_; ++slot) ++ends[ids[slot] + 1];
    for (int64_t expert = 0; expert < c_.experts; ++expert) ends[expert + 1] += ends[expert];
    for (int64_t slot = 0; slot < slots_; ++slot) order_[ends[ids[slot]]++] = slot;
    for (int64_t expert = 0, place = 0; expert < c_.experts; place = ends[expert], ++expert) {
      const int64_t count = ends[expert] - place;
      if (count == 0) continue;
      const Product& product = count < many_.least ? few_ : many_.product;
      const int64_t first_panel = static_cast<int64_t>(panels_.size());
      const int64_t panels = (count + product.max_tokens - 1) / product.max_tokens;
      for (int64_t i = 0; i < panels; ++i) {  // about equally large
        const int64_t from = count * i / panels, to = count * (i + 1) / panels;
        panels_.push_back({&product, place + from, static_cast<int>(to - from)});
        for (int64_t j = from; j < to; ++j) places_[order_[place + j]] = {first_panel + i, static_cast<int>(j - from)};
      }
      shares_.push_back({expert, first_panel, first_panel + panels});
    }
  }

  // One row, the same for all its experts.
  void take_only_token() {
    for (int64_t group = 0; group < hidden_groups_; ++group) {
      float values[kGroup];
      load(c_.x, first_ * c_.hidden + group * kGroup, kGroup, values);
      few_.put_group(values, rows_ + place_of(few_, group, 1, 0));
    }
    const auto bytes = static_cast<size_t>(hidden_groups_ * few_.group_bytes);
    for (int64_t choice = 1; choice < c_.top_k; ++choice) std::memcpy(rows_ + choice * row_bytes_, rows_, bytes);
  }

  void take_token(int64_t token) {
    const Place* places = &places_[token * c_.top_k];
    for (const Product* product : {&few_, &many_.product}) {
      const auto goes_there = [&](const Place& place) { return panels_[place.panel].product == product; };
      if (std::none_of(places, places + c_.top_k, goes_there)) continue;
      uint8_t operands[kGroup * sizeof(float)];
      for (int64_t group = 0; group < hidden_groups_; ++group) {
        float values[kGroup];
        load(c_.x, (first_ + token) * c_.hidden + group * kGroup, kGroup, values);
        product->put_group(values, operands);
        for (int64_t choice = 0; choice < c_.top_k; ++choice) {
          if (!goes_there(places[choice])) continue;
          const Panel& panel = panels_[places[choice].panel];
          std::memcpy(
              rows_ + panel.first * row_bytes_ + place_of(*product, group, panel.count, places[choice].row),
              operands, static_cast<size_t>(product->group_bytes));
        }
      }
    }
  }

  // Floats of the tokens' type from one on.
  void load(const void* floats, int64_t first, int64_t count, float* out) const {
    if (is_bf16_) isa_.widen(static_cast<const uint16_t*>(floats) + first, out, count);
    else std::memcpy(out, static_cast<const float*>(floats) + first, static_cast<size_t>(count) * sizeof(float));
  }

  // Has those on their way: memory that nobody follows answers late.
  void fetch(const void* floats, int64_t first, int64_t count) const {
    const int64_t size = is_bf16_ ? 2 : 4;
    const char* at = static_cast<const char*>(floats) + first * size;
    for (int64_t byte = 0; byte < count * size; byte += 64) __builtin_prefetch(at + byte);
  }

  // As a result of the tokens' type is.
  void round(float* values, int64_t count) const {
    if (!is_bf16_) return;
    uint16_t narrow[kBlock];
    isa_.narrow(values, narrow, count);
    isa_.widen(narrow, values, count);
  }

  TileAt gate_up_tile(int64_t task, int64_t tile) const {
    const int64_t block = task % ffn_groups_, first = shares_[task / ffn_groups_].expert * 2 * c_.ffn / kTileRows;
    return tile_at(
        few_, {c_.gate_up_codes, c_.gate_up_scales}, hidden_groups_, first + kTaskTiles * block + tile);
  }

  TileAt down_tile(const Share& share, int64_t tile) const {
    return tile_at(
        few_, {c_.down_codes, c_.down_scales}, ffn_groups_, share.expert * (c_.hidden / kTileRows) + tile);
  }

  // A block of inner elements of an expert; `next` is the task that comes then.
  void gate_and_up(int64_t task, int64_t next) {
    const Share& share = shares_[task / ffn_groups_];
    const int64_t block = task % ffn_groups_;
    const int64_t first = 2 * (share.expert * c_.ffn + block * kBlock);
    fetch(c_.gate_up_bias, first, 2 * kBlock);
    for (int64_t number = share.first_panel; number < share.end_panel; ++number) {
      const Panel& panel = panels_[number];
      float out[kMaxTokens * 2 * kBlock];
      for (int64_t tile = 0; tile < kTaskTiles; ++tile) {  // gates and ups by turns; out has gates first
        const TileAt following = tile + 1 < kTaskTiles ? gate_up_tile(task, tile + 1) : gate_up_tile(next, 0);
        panel.product->tile(
            gate_up_tile(task, tile), following, hidden_groups_, rows_ + panel.first * row_bytes_, panel.count,
            out + tile % 2 * kBlock + tile / 2 * kTileRows, 2 * kBlock);
      }
      float bias[2 * kBlock];  // a gate's, then an up's
      load(c_.gate_up_bias, first, 2 * kBlock, bias);
      for (int t = 0; t < panel.count; ++t) {
        float *gate = out + t * 2 * kBlock, *up = gate + kBlock, values[kBlock];
        for (int64_t i = 0; i < kBlock; ++i) gate[i] += bias[2 * i], up[i] += bias[2 * i + 1];
        round(gate, kBlock), round(up, kBlock);
        isa_.swiglu(gate, up, c_.alpha, c_.limit, values, kBlock);
        round(values, kBlock);
        panel.product->put_group(
            values, inner_ + panel.first * inner_bytes_ + place_of(*panel.product, block, panel.count, t));
      }
    }
  }

  // An expert's weights from beginning to end, for each of its panels: as memory is read fastest.
  void down_by_experts() {
    const int64_t tiles = c_.hidden / kTileRows, all = static_cast<int64_t>(shares_.size()) * tiles;
    float* said = scratch_.take_array<float>(slots_ * c_.hidden);  // by slots
    for_each_in_runs(c_.threads, all, [&](int64_t task, int) {
      const int64_t following = task + 1 < all ? task + 1 : task;
      down(shares_[task / tiles], task % tiles, 1, down_tile(shares_[following / tiles], following % tiles),
           said + task % tiles * kTileRows, c_.hidden);
    });
    if (tokens_ < kManyTokens) return add_up(said, c_.hidden, 0, c_.hidden);
    for_each_task(c_.threads, tiles, [&](int64_t tile, int) {
      add_up(said + tile * kTileRows, c_.hidden, tile * kTileRows, kTileRows);
    });
  }

  // Some rows of all experts.
  void down_by_rows() {
    const int64_t tiles = c_.hidden / kTileRows, columns = kDownTiles * kTileRows;
    float* said = scratch_.take_array<float>(c_.threads * slots_ * columns);
    for_each_task(c_.threads, (tiles + kDownTiles - 1) / kDownTiles, [&](int64_t task, int thread) {
      const int64_t first = task * kDownTiles, count = tiles - first < kDownTiles ? tiles - first : kDownTiles;
      float* own = said + thread * slots_ * columns;
      for (const Share& share : shares_) {
        const bool is_last = &share == &shares_.back();
        down(share, first, count, down_tile(is_last ? share : (&share)[1], first), own, columns);
      }
      add_up(own, columns, first * kTileRows, count * kTileRows);
    });
  }

  // What an expert says in some tiles of rows, for all its panels: said[slot * stride + row].
  void down(const Share& share, int64_t first_tile, int64_t tiles, TileAt next, float* said, int64_t stride) {
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t first = share.expert * c_.hidden + (first_tile + tile) * kTileRows;
      fetch(c_.down_bias, first, kTileRows);
      for (int64_t number = share.first_panel; number < share.end_panel; ++number) {
        const Panel& panel = panels_[number];
        float out[kMaxTokens * kTileRows];
        panel.product->tile(
            down_tile(share, first_tile + tile),
            tile + 1 < tiles ? down_tile(share, first_tile + tile + 1) : next, ffn_groups_,
            inner_ + panel.first * inner_bytes_, panel.count, out, kTileRows);
        float bias[kTileRows];
        load(c_.down_bias, first, kTileRows, bias);
        for (int t = 0; t < panel.count; ++t) {
          float* values = out + t * kTileRows;
          for (int64_t r = 0; r < kTileRows; ++r) values[r] += bias[r];
          round(values, kTileRows);
          std::memcpy(said + order_[panel.first + t] * stride + tile * kTileRows, values, sizeof(bias));
        }
      }
    }
  }

  // The weighted sums of some rows, in routing order.
  void add_up(const float* said, int64_t stride, int64_t first_row, int64_t rows) {
    constexpr int64_t kAtOnce = 512;
    for (int64_t token = 0; token < tokens_; ++token)
      for (int64_t row = 0; row < rows; row += kAtOnce) {
        float sum[kAtOnce];
        const int64_t count = std::min(kAtOnce, rows - row), first = token * c_.top_k;
        isa_.sum_rows(said + first * stride + row, stride, weights_ + first, c_.top_k, sum, count);
        const int64_t to = (first_ + token) * c_.hidden + first_row + row;
        if (is_bf16_) isa_.narrow(sum, static_cast<uint16_t*>(c_.out) + to, count);
        else std::memcpy(static_cast<float*>(c_.out) + to, sum, static_cast<size_t>(count) * sizeof(float));
      }
  }

  struct Place {
    int64_t panel;
    int row;
  };

  const ossia_experts& c_;
  const Isa& isa_;
  const bool is_bf16_, is_int8_;
  const Product& few_;  // tokens of an expert, and many; both see weights alike
  const ManyTokens& many_;
  const int64_t first_, tokens_, slots_, hidden_groups_, ffn_groups_, row_bytes_, inner_bytes_;
  std::vector<Share> shares_;
  std::vector<Panel> panels_;
  Scratch scratch_;
  int64_t* order_;  // slots by expert
  Place* places_;   // of slots
  float* weights_;
  uint8_t *rows_, *inner_;
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
