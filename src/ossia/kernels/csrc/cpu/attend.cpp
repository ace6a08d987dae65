// Attention over pages, shared out as tiles of queries.
#include <algorithm>
#include <new>
#include <vector>

#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

constexpr int64_t kMostRows = 128;        // of a key head in a tile: what is known of them fits a near cache
constexpr int64_t kFewRows = 32;          // so few leave the processor waiting for keys, not for products
constexpr int64_t kTasksPerThread = 4;    // with fewer, threads would wait long for the last one
constexpr int64_t kMostStates = 1 << 24;  // floats, of parts that wait for the others

// A tile: where it lies in the batch.
struct Place {
  int64_t seq, row, position, tokens;  // row: of the first token in q
  int64_t kv_head, kv_heads;
  int64_t first_part, end_part;
  int64_t state;  // of its first part, in floats

  int64_t parts() const { return end_part - first_part; }
};

class Batch {
 public:
  explicit Batch(const ossia_attention& call)
      : c_(call), ops_(call.type == OSSIA_BF16 ? used_isa().layer_bf16 : used_isa().layer_f32),
        group_(call.heads / call.kv_heads), most_tokens_(std::max<int64_t>(1, kMostRows / group_)),
        attend_(call.int8_pages ? ops_.int8_pages : ops_.pages),
        few_tasks_(c_.threads == 1 ? 0 : kTasksPerThread * c_.threads) {
    for_each_span([&](const Place& span) { parts_ += span.parts(); });
    for_each_span([&](const Place& span) { add_tiles(span); });
    floats_ = scratch_.take_array<float>(c_.threads * scratch_floats_);
  }

  void run() {
    if (static_cast<int64_t>(tiles_.size()) >= few_tasks_ || state_floats_ > kMostStates) run_tiles();
    else run_parts();
  }

 private:
  // Calls body with tiles of all key heads.
  template <typename F>
  void for_each_span(F&& body) const {
    for (int64_t seq = 0, row = 0; seq < c_.seqs; row += c_.query_lens[seq], ++seq)
      for (int64_t at = 0; at < c_.query_lens[seq]; at += most_tokens_) {
        const int64_t position = c_.context_lens[seq] - c_.query_lens[seq] + at;
        const int64_t tokens = std::min(most_tokens_, c_.query_lens[seq] - at);
        const int64_t first_key = c_.window > 0 ? std::max<int64_t>(0, position - c_.window + 1) : 0;
        body(Place{seq, row + at, position, tokens, 0, c_.kv_heads, first_key / kAttendPart,
                   (position + tokens - 1) / kAttendPart + 1, 0});
      }
  }

  // Key heads lie side by side in memory and are best read together, if that leaves enough to share out.
  void add_tiles(const Place& span) {
    const int64_t rows = span.tokens * group_;
    int64_t together = rows <= kFewRows ? c_.kv_heads : 1;
    while (together > 1 && parts_ * (c_.kv_heads / together) < few_tasks_) together = (together + 1) / 2;
    for (int64_t kv_head = 0; kv_head < c_.kv_heads; kv_head += together) {
      Place tile = span;
      tile.kv_head = kv_head, tile.kv_heads = std::min(together, c_.kv_heads - kv_head);
      tile.state = state_floats_;
      state_floats_ += tile.parts() * attend_state(tile.kv_heads, rows, c_.head_dim);
      scratch_floats_ = std::max(scratch_floats_, attend_scratch(tile.kv_heads, rows, c_.head_dim));
      tiles_.push_back(tile);
    }
  }

  // Long ones first, so that no thread begins one when the others end.
  void run_tiles() {
    std::stable_sort(tiles_.begin(), tiles_.end(), [](const Place& left, const Place& right) {
      return left.parts() * left.tokens * left.kv_heads > right.parts() * right.tokens * right.kv_heads;
    });
    for_each_task(c_.threads, static_cast<int64_t>(tiles_.size()), [&](int64_t task, int thread) {
      const Place& place = tiles_[task];
      attend_.attend(tile_at(place), place.first_part, place.end_part, scratch(thread));
    });
  }

  void run_parts() {
    float* states = scratch_.take_array<float>(state_floats_);
    struct Part {
      const Place* place;
      int64_t number;
    };
    std::vector<Part> parts;
    for (const Place& place : tiles_)
      for (int64_t number = 0; number < place.parts(); ++number) parts.push_back({&place, number});
    const auto floats = [&](const Place& place) {
      return attend_state(place.kv_heads, place.tokens * group_, c_.head_dim);
    };
    for_each_task(c_.threads, static_cast<int64_t>(parts.size()), [&](int64_t task, int thread) {
      const auto [place, number] = parts[task];
      attend_.attend_part(
          tile_at(*place), place->first_part + number, states + place->state + number * floats(*place),
          scratch(thread));
    });
    for_each_task(c_.threads, static_cast<int64_t>(tiles_.size()), [&](int64_t task, int thread) {
      const Place& place = tiles_[task];
      ops_.join_parts(tile_at(place), states + place.state, floats(place), place.parts(), scratch(thread));
    });
  }

  AttendTile tile_at(const Place& place) const {
    const int64_t size = c_.type == OSSIA_BF16 ? 2 : 4, head = place.kv_head * group_;
    const int64_t first = (place.row * c_.heads + head) * c_.head_dim * size;
    // A key of one head in a page: of so many units, which its address counts in.
    const int64_t units = c_.int8_pages ? int8_row_bytes(c_.head_dim) : c_.head_dim;
    const int64_t first_key = place.kv_head * units * (c_.int8_pages ? 1 : size);
    AttendTile tile;
    tile.q = static_cast<const char*>(c_.q) + first;
    tile.out = static_cast<char*>(c_.out) + first;
    tile.k_pages = static_cast<const char*>(c_.k_pages) + first_key;
    tile.v_pages = static_cast<const char*>(c_.v_pages) + first_key;
    tile.pages = c_.page_table + place.seq * c_.max_pages;
    tile.sinks = static_cast<const char*>(c_.sinks) + head * size;
    tile.position = place.position, tile.tokens = place.tokens, tile.window = c_.window;
    tile.kv_heads = place.kv_heads, tile.group = group_;
    tile.head_dim = c_.head_dim, tile.page_size = c_.page_size;
    tile.q_elements = c_.heads * c_.head_dim, tile.row_elements = c_.kv_heads * units;
    return tile;
  }

  float* scratch(int thread) const { return floats_ + thread * scratch_floats_; }

  const ossia_attention& c_;
  const LayerOps& ops_;
  const int64_t group_, most_tokens_;
  const AttendOps& attend_;
  const int64_t few_tasks_;
  std::vector<Place> tiles_;
  int64_t parts_ = 0;  // with all key heads
  int64_t state_floats_ = 0, scratch_floats_ = 0;
  Scratch scratch_;
  float* floats_;
};

}  // namespace

int ossia_attend(const ossia_attention* call) {
  try {
    Batch(*call).run();
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}
