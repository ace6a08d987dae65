// Attention of a tile of queries over pages. The tile's rows (its tokens with each of their heads) lie across
// the lanes of registers: nothing of the softmax crosses lanes, and keys and values enter the products one
// number at a time, as they lie in their pages.
//
// A row's result depends on nothing but its query and the keys and values that it sees. Keys are taken in
// blocks and parts that begin at multiples of their length, whatever else is in the tile; sums run in float32
// in the order of keys; a block that only other rows see adds zeros. So a token gets the same bits alone, in
// a prompt, or in a piece of one, and whether its parts are computed by one thread or by many.
#pragma once
#include <cfloat>
#include <climits>
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "elements.inl"

namespace ossia {
namespace {

constexpr int64_t kKeys = 32;  // of a block
static_assert(kAttendPart % kKeys == 0);
constexpr int64_t kMostRows = 32;  // of a panel
constexpr float kLog2E = 1.44269504f;

// Registers that the rows of a panel, which is as many rows as are gone through at once, are kept in.
using EightLanes __attribute__((vector_size(32))) = float;
template <int kRows>
using Vector = std::conditional_t<(kRows < kLanes), EightLanes, Lanes>;
template <int kRows>
constexpr int kVectors = kRows * 4 / static_cast<int>(sizeof(Vector<kRows>));

// Results for each row that are summed at once: enough to hide how long a product takes, few enough for the
// registers. Divides kKeys and what heads are padded to.
template <int kRows>
constexpr int kAtOnce = (kLanes == 16 ? 16 : 8) / kVectors<kRows>;

template <typename Value>
inline Value load_as(const void* from) {
  Value value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <typename Value>
inline void store(void* to, const Value& value) {
  std::memcpy(to, &value, sizeof(value));
}

// 2**x to about 2 units in the last place, for x that is not above 0; NaN stays NaN.
template <typename Floats>
inline Floats power_of_two(Floats x) {
  using Integers = decltype(x < x);
  const Floats least = Floats{} - 126.0f;
  x = x < least ? least : x;
  const Floats shifted = x + 12582912.0f;  // 1.5 * 2**23: rounds to a whole number
  const Floats rest = x - (shifted - 12582912.0f);
  Floats p = rest * 1.326472727e-3f + 9.671512756e-3f;  // minimax, and 1 at 0
  p = p * rest + 5.550733744e-2f;
  p = p * rest + 2.402224208e-1f;
  p = p * rest + 6.931469776e-1f;
  p = p * rest + 1.0f;
  const Integers power = (load_as<Integers>(&shifted) + 127) << 23;
  return p * load_as<Floats>(&power);
}

// How the products' operands lie. A unit holds kDepth neighbours along what is summed over: of a head's
// elements in queries and keys, of keys in weights and values.
struct Singles {
  using Unit = float;
  static constexpr int64_t kDepth = 1;

  template <typename Floats>
  static Floats add_product(Floats sum, Floats rows, float unit) { return sum + rows * unit; }

  template <typename Element>
  static Unit query(const Element* q, int64_t at, int64_t) { return get(q, at); }

  template <typename Element>
  static void put_key(const Element* row, int64_t dim, Unit* out) {
    for (int64_t d = 0; d < dim; ++d) out[d] = get(row, d);
  }

  template <typename Element>
  static void put_values(const Element* const* rows, int64_t dim, Unit* out) { put_key(rows[0], dim, out); }

  template <typename Floats>
  static void put_weights(const Floats* weights, float* out) { store(out, weights[0]); }
};

#if defined(__AVX512BF16__)
// bfloat16 as it lies in pages. Weights of values are rounded to it, as torch does.
struct Pairs {
  using Unit = uint32_t;
  static constexpr int64_t kDepth = 2;

  static __m512 add_product(__m512 sum, __m512 rows, uint32_t unit) {
    const __m512i units = _mm512_set1_epi32(static_cast<int>(unit));
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(rows), reinterpret_cast<__m512bh>(units));
  }
  static __m256 add_product(__m256 sum, __m256 rows, uint32_t unit) {
    const __m256i units = _mm256_set1_epi32(static_cast<int>(unit));
    return _mm256_dpbf16_ps(sum, reinterpret_cast<__m256bh>(rows), reinterpret_cast<__m256bh>(units));
  }

  static Unit query(const uint16_t* q, int64_t at, int64_t end) {
    return q[at] | (at + 1 < end ? uint32_t(q[at + 1]) << 16 : 0);
  }

  static void put_key(const uint16_t* row, int64_t dim, Unit* out) {
    std::memcpy(out, row, static_cast<size_t>(dim) * 2);
  }

  static void put_values(const uint16_t* const* rows, int64_t dim, Unit* out) {
    for (int64_t d = 0; d < dim; ++d) out[d] = rows[0][d] | uint32_t(rows[1][d]) << 16;
  }

  template <typename Floats>
  static void put_weights(const Floats* weights, float* out) {
    using Integers = decltype(weights[0] < weights[0]);
    const auto first = load_as<Integers>(&weights[0]), second = load_as<Integers>(&weights[1]);
    const auto low = (first + 0x7fff + (first >> 16 & 1)) >> 16 & 0xffff;
    store(out, low | ((second + 0x7fff + (second >> 16 & 1)) & int(0xffff0000u)));
  }
};
#endif

// kAtOnce results for each of kRows rows: the sum over `steps` of rows x[step] times the unit
// y[result * to_result + step * to_step], on top of what `out` holds if kAdds.
template <typename Way, int kRows, bool kAdds>
inline void multiply(
    const void* x, const typename Way::Unit* y, int64_t to_result, int64_t to_step, int64_t steps,
    float* out) {
  using Floats = Vector<kRows>;
  constexpr int kParts = kVectors<kRows>, kResults = kAtOnce<kRows>, kStep = kRows / kParts;
  const auto* operands = static_cast<const char*>(x);
  Floats sums[kResults][kParts];  // element by element, or the compiler leaves them in memory
#pragma GCC unroll 16
  for (int result = 0; result < kResults; ++result)
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part)
      sums[result][part] = kAdds ? load_as<Floats>(out + result * kRows + part * kStep) : Floats{};
  for (int64_t step = 0; step < steps; ++step) {
    Floats rows[kParts];
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part)
      rows[part] = load_as<Floats>(operands + (step * kRows + part * kStep) * 4);
#pragma GCC unroll 16
    for (int result = 0; result < kResults; ++result) {
      const auto unit = y[result * to_result + step * to_step];
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part)
        sums[result][part] = Way::add_product(sums[result][part], rows[part], unit);
    }
  }
#pragma GCC unroll 16
  for (int result = 0; result < kResults; ++result)
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part) store(out + result * kRows + part * kStep, sums[result][part]);
}

// The softmax so far of kRows rows, which runs along: the largest score, in units of log 2; the sum of all
// weights relative to it; the sums of values so weighted, (padded head_dim, kRows).
template <int kRows>
struct Softmax {
  static constexpr int kCount = kRows;
  float *largest, *total, *sums;
  explicit Softmax(float* state) : largest(state), total(state + kRows), sums(total + kRows) {}
};

// Which keys of a block a panel's rows see: [from, to) covers them all, in steps of kAtOnce.
struct Seen {
  int64_t from, to;
  bool by_all;             // every row sees all of [from, to)
  const int32_t* offsets;  // (kRows,): a row's token in its tile
  int32_t last, window;    // the first token sees (last - window, last]; the next ones as many further on
};

// Scores (kKeys, kRows) become weights, and the softmax goes on by them.
template <typename Way, int kRows, bool kMasked>
inline void weigh(
    float* scores, const Seen& seen, float scale, int64_t padded_dim, const Softmax<kRows>& softmax) {
  using Floats = Vector<kRows>;
  using Integers = decltype(Floats{} < Floats{});
  constexpr int kStep = static_cast<int>(sizeof(Floats) / 4);
  const Floats hidden = Floats{} - __builtin_inff();
  for (int row = 0; row < kRows; row += kStep) {
    const auto old = load_as<Floats>(softmax.largest + row);
    Integers last = {};
    if constexpr (kMasked) last = load_as<Integers>(seen.offsets + row) + seen.last;
    Floats peak = old;
    for (int64_t j = seen.from; j < seen.to; ++j) {
      float* at = scores + j * kRows + row;
      auto score = load_as<Floats>(at) * scale;
      if constexpr (kMasked) {
        const auto place = static_cast<int32_t>(j);
        score = (last >= place) & (last - seen.window < place) ? score : hidden;
      }
      store(at, score);
      peak = score > peak ? score : peak;
    }
    Floats sum = {};
    for (int64_t j = seen.from; j < seen.to; j += Way::kDepth) {
      Floats weights[Way::kDepth];
      for (int64_t i = 0; i < Way::kDepth; ++i) {
        const auto score = load_as<Floats>(scores + (j + i) * kRows + row);
        weights[i] = power_of_two(score - peak);
        if constexpr (kMasked) weights[i] = score == hidden ? Floats{} : weights[i];
        sum += weights[i];
      }
      Way::put_weights(weights, scores + j / Way::kDepth * kRows + row);
    }
    const Floats shrunk = power_of_two(old - peak);
    store(softmax.total + row, load_as<Floats>(softmax.total + row) * shrunk + sum);
    store(softmax.largest + row, peak);
    bool changed = false;
    for (int lane = 0; lane < kStep; ++lane) changed |= shrunk[lane] != 1.0f;
    if (!changed) continue;
    for (int64_t d = 0; d < padded_dim; ++d) {
      float* at = softmax.sums + d * kRows + row;
      store(at, load_as<Floats>(at) * shrunk);
    }
  }
}

// Calls body(constant, first row) for panels of as many rows as the constant says; the last may hold fewer.
template <typename F>
inline void for_each_panel(int64_t rows, F&& body) {
  for (int64_t row = 0; row < rows;) {
    if constexpr (kLanes >= 16)
      if (rows - row > 16) {
        body(std::integral_constant<int, 32>(), row), row += 32;
        continue;
      }
    if constexpr (kLanes >= 8)
      if (rows - row > 8) {
        body(std::integral_constant<int, 16>(), row), row += 16;
        continue;
      }
    body(std::integral_constant<int, 8>(), row), row += 8;
  }
}

// How rows of keys and values are stored: as they are, or in 8 bits. The latter are read as the products'
// elements, rounded as torch would.
template <typename Element>
struct AsTheyAre {
  using Unit = Element;
  static int64_t units(int64_t dim) { return dim; }
  static const Element* row(const Element* at, int64_t, Element*) { return at; }
};

template <typename Element>
struct InInt8 {
  using Unit = uint8_t;
  static int64_t units(int64_t dim) { return int8_row_bytes(dim); }
  static const Element* row(const uint8_t* at, int64_t dim, Element* spare) {
    const auto scale = load_as<float>(at + dim);
    for (int64_t d = 0; d < dim; ++d) put(spare, d, static_cast<float>(static_cast<int8_t>(at[d])) * scale);
    return spare;
  }
};

// A tile on its way over the keys. kDim is the size of heads where it is known beforehand, else 0.
template <typename Element, typename Way, typename Stored, int64_t kDim>
class Attention {
 public:
  Attention(const AttendTile& tile, float* scratch)
      : t_(tile), rows_(tile.tokens * tile.group),
        scale_(kLog2E / __builtin_sqrtf(static_cast<float>(dim()))) {
    const int64_t queries = tile.kv_heads * attend_padded_rows(rows_) * padded();
    const int64_t block = tile.kv_heads * block_units();
    queries_ = reinterpret_cast<Unit*>(scratch);  // by key head and panel, (padded / kDepth, kRows)
    keys_ = queries_ + queries;                   // (kv_heads, kKeys, padded / kDepth)
    values_ = keys_ + block;                      // (kv_heads, kKeys / kDepth, padded)
    scores_ = reinterpret_cast<float*>(values_ + block);                  // (kKeys, kRows), then weights
    states_ = scores_ + kKeys * kMostRows;                                // two
    nothing_ = reinterpret_cast<Element*>(states_ + 2 * state_floats());  // (padded,) zeros
    spare_ = nothing_ + padded();                                         // two such
    offsets_ = reinterpret_cast<int32_t*>(spare_ + 2 * padded());         // by panel, (kRows,)
    if (padded() != dim())  // what stays zero; the rest is overwritten
      for (int64_t i = 0; i < queries + 2 * block; ++i) queries_[i] = 0;
    for (int64_t d = 0; d < padded(); ++d) put(nothing_, d, 0.0f);
  }

  // Room for the softmax of all rows.
  float* state(int idx) const { return states_ + idx * state_floats(); }

  void take_queries() {
    for_each_panel([&](auto width, int64_t kv_head, int64_t first) {
      constexpr int kRows = width;
      Unit* out = queries_of(kv_head, first);
      for (int r = 0; r < kRows; ++r) {
        const int64_t row = row_of(first + r);
        const Element* q = static_cast<const Element*>(t_.q) + place(kv_head, row);
        offsets_[first + r] = static_cast<int32_t>(row / t_.group);
        for (int64_t d = 0; d < dim(); d += Way::kDepth)
          out[d / Way::kDepth * kRows + r] = Way::query(q, d, dim());
      }
    });
  }

  // Sinks have no values. They count once, but bound the largest score of every part.
  void begin(float* state, float weight_of_sinks) const {
    for_each_softmax(state, [&](auto softmax, int64_t kv_head, int64_t first) {
      const auto* sinks = static_cast<const Element*>(t_.sinks) + kv_head * t_.group;
      for (int r = 0; r < softmax.kCount; ++r) {
        const float sink = get(sinks, row_of(first + r) % t_.group) * kLog2E;
        softmax.largest[r] = sink < -FLT_MAX ? -FLT_MAX : sink;
        softmax.total[r] = weight_of_sinks;
      }
      for (int64_t i = 0; i < padded() * softmax.kCount; ++i) softmax.sums[i] = 0.0f;
    });
  }

  // Has keys and values of a part's first block on their way.
  void expect(int64_t part) const {
    const int64_t first = first_seen(t_.position), end = t_.position + t_.tokens;
    const int64_t from = part * kAttendPart > first ? part * kAttendPart : first;
    int64_t elements[kKeys];
    find(from / kKeys * kKeys, from, end, elements);
    for (const int64_t element : elements) fetch_key(element);
  }

  // Keys of a part; those before `fetch_end` are going to be used soon.
  void go_over(int64_t part, int64_t fetch_end, float* state) {
    const int64_t first = first_seen(t_.position), end = t_.position + t_.tokens;
    const int64_t from = part * kAttendPart > first ? part * kAttendPart : first;
    const int64_t to = (part + 1) * kAttendPart < end ? (part + 1) * kAttendPart : end;
    int64_t elements[kKeys], next[kKeys];
    find(from / kKeys * kKeys, from, to, elements);
    for (int64_t block = from / kKeys * kKeys; block < to; block += kKeys) {
      find(block + kKeys, from, fetch_end, next);
      load(elements);
      for_each_panel([&](auto width, int64_t kv_head, int64_t row) {
        if (row == 0)  // memory is kept busy meanwhile
          for (int64_t j = kv_head * kKeys / t_.kv_heads; j < (kv_head + 1) * kKeys / t_.kv_heads; ++j)
            fetch_key(next[j]);
        attend_block<width>(block, kv_head, row, state_of(state, kv_head, row));
      });
      find(block + kKeys, from, to, elements);
    }
  }

  // Adds the softmax of a part to that of the parts before it.
  void join(float* whole, const float* part) const {
    for_each_softmax(whole, [&](auto to, int64_t kv_head, int64_t first) {
      constexpr int kRows = decltype(to)::kCount;
      const Softmax<kRows> from(state_of(const_cast<float*>(part), kv_head, first));
      using Floats = Vector<kRows>;
      for (int row = 0; row < kRows; row += static_cast<int>(sizeof(Floats) / 4)) {
        const auto largest = load_as<Floats>(to.largest + row), other = load_as<Floats>(from.largest + row);
        const Floats peak = other > largest ? other : largest;
        const Floats kept = power_of_two(largest - peak), added = power_of_two(other - peak);
        store(to.largest + row, peak);
        for (int64_t at = row; at < (padded() + 1) * kRows; at += kRows) {  // the total lies before the sums
          const auto sum = load_as<Floats>(to.total + at), more = load_as<Floats>(from.total + at);
          store(to.total + at, sum * kept + more * added);
        }
      }
    });
  }

  void finish(float* state) const {
    for_each_softmax(state, [&](auto softmax, int64_t kv_head, int64_t first) {
      constexpr int kRows = decltype(softmax)::kCount;
      using Floats = Vector<kRows>;
      constexpr int kStep = static_cast<int>(sizeof(Floats) / 4);
      for (int row = 0; row < kRows; row += kStep) {
        const auto total = load_as<Floats>(softmax.total + row);
        for (int64_t at = row; at < dim() * kRows; at += kRows)
          store(softmax.sums + at, load_as<Floats>(softmax.sums + at) / total);
      }
      for (int r = 0; r < kRows && first + r < rows_; ++r) {
        Element* out = static_cast<Element*>(t_.out) + place(kv_head, first + r);
        for (int64_t d = 0; d < dim(); ++d) put(out, d, softmax.sums[d * kRows + r]);
      }
    });
  }

 private:
  using Unit = typename Way::Unit;
  using InPage = typename Stored::Unit;

  int64_t dim() const { return kDim ? kDim : t_.head_dim; }
  int64_t padded() const { return attend_padded_dim(dim()); }
  // Not a power of two, or the same lines of all heads would fall into one set of the first-level cache.
  int64_t block_units() const { return kKeys * padded() / Way::kDepth + 16; }
  int64_t state_floats() const { return attend_state(t_.kv_heads, rows_, dim()); }

  // Rows that only fill a panel up repeat the last one.
  int64_t row_of(int64_t row) const { return row < rows_ ? row : rows_ - 1; }

  // Of a row in q and out.
  int64_t place(int64_t kv_head, int64_t row) const {
    return row / t_.group * t_.q_elements + (kv_head * t_.group + row % t_.group) * dim();
  }

  Unit* queries_of(int64_t kv_head, int64_t row) const {
    return queries_ + (kv_head * attend_padded_rows(rows_) + row) * padded();
  }

  float* state_of(float* state, int64_t kv_head, int64_t row) const {
    return state + (kv_head * attend_padded_rows(rows_) + row) * (padded() + 2);
  }

  template <typename F>
  void for_each_panel(F&& body) const {
    for (int64_t kv_head = 0; kv_head < t_.kv_heads; ++kv_head)
      ossia::for_each_panel(rows_, [&](auto width, int64_t row) { body(width, kv_head, row); });
  }

  template <typename F>
  void for_each_softmax(float* state, F&& body) const {
    for_each_panel([&](auto width, int64_t kv_head, int64_t row) {
      body(Softmax<width>(state_of(state, kv_head, row)), kv_head, row);
    });
  }

  int64_t first_seen(int64_t position) const {
    return t_.window > 0 && position >= t_.window ? position - t_.window + 1 : 0;
  }

  // Where keys and values of a block lie in their pages; -1 outside [from, to), where nothing is read.
  void find(int64_t block, int64_t from, int64_t to, int64_t* elements) const {
    for (int64_t j = 0; j < kKeys; ++j) elements[j] = -1;
    int64_t position = block > from ? block : from;
    const int64_t end = block + kKeys < to ? block + kKeys : to;
    while (position < end) {
      const int64_t page = t_.pages[position / t_.page_size], offset = position % t_.page_size;
      const int64_t left = t_.page_size - offset, page_end = position + left < end ? position + left : end;
      int64_t element = (page * t_.page_size + offset) * t_.row_elements;
      for (; position < page_end; ++position, element += t_.row_elements)
        elements[position - block] = element;
    }
  }

  // A head's key or value that begins at an element of its pages; `spare` says where one of 8 bits may be put.
  const Element* row_at(const InPage* pages, int64_t element, int64_t kv_head, int64_t spare) const {
    if (element < 0) return nothing_;
    return Stored::row(pages + element + kv_head * Stored::units(dim()), dim(), spare_ + spare * padded());
  }

  // Keys and values of a block as operands. All key heads of a key lie side by side, and are read so.
  void load(const int64_t* elements) {
    const auto* k_pages = static_cast<const InPage*>(t_.k_pages);
    const auto* v_pages = static_cast<const InPage*>(t_.v_pages);
    for (int64_t j = 0; j < kKeys; ++j) {
      for (int64_t kv_head = 0; kv_head < t_.kv_heads; ++kv_head)
        Way::put_key(
            row_at(k_pages, elements[j], kv_head, 0), dim(),
            keys_ + kv_head * block_units() + j * (padded() / Way::kDepth));
    }
    for (int64_t j = 0; j < kKeys; j += Way::kDepth) {
      for (int64_t kv_head = 0; kv_head < t_.kv_heads; ++kv_head) {
        const Element* values[Way::kDepth];
        for (int64_t i = 0; i < Way::kDepth; ++i) values[i] = row_at(v_pages, elements[j + i], kv_head, i);
        Way::put_values(values, dim(), values_ + kv_head * block_units() + j / Way::kDepth * padded());
      }
    }
  }

  // A key with its value, of all key heads; `element` as `find` has it.
  [[gnu::always_inline]] void fetch_key(int64_t element) const {
    if (element < 0) return;
    fetch(static_cast<const InPage*>(t_.k_pages) + element);
    fetch(static_cast<const InPage*>(t_.v_pages) + element);
  }

  // Inlined before GCC takes a function that only fetches for one that does nothing.
  [[gnu::always_inline]] void fetch(const InPage* rows) const {
    for (int64_t i = 0; i < t_.kv_heads * Stored::units(dim()); i += 64 / int64_t(sizeof(InPage)))
      __builtin_prefetch(rows + i, 0, 2);
  }

  template <int kRows>
  void attend_block(int64_t block, int64_t kv_head, int64_t row, float* state) {
    constexpr int kStep = kAtOnce<kRows>;
    const int64_t last_row = row + kRows < rows_ ? row + kRows - 1 : rows_ - 1;
    const int64_t first = t_.position + row / t_.group, last = t_.position + last_row / t_.group;
    const int64_t from = first_seen(first) - block, to = last + 1 - block;
    if (from >= kKeys || to <= 0) return;
    Seen seen;
    seen.from = from < 0 ? 0 : from / kStep * kStep;
    seen.to = to > kKeys ? kKeys : (to + kStep - 1) / kStep * kStep;
    seen.by_all = seen.to <= first + 1 - block && seen.from >= first_seen(last) - block;
    seen.offsets = offsets_ + row;
    seen.last = static_cast<int32_t>(t_.position - block);
    seen.window = t_.window > 0 && t_.window < INT_MAX / 2 ? static_cast<int32_t>(t_.window) : INT_MAX / 2;
    const Softmax<kRows> softmax(state);
    const Unit *queries = queries_of(kv_head, row), *keys = keys_ + kv_head * block_units();
    const Unit* values = values_ + kv_head * block_units();
    const int64_t units = padded() / Way::kDepth, first_unit = seen.from / Way::kDepth;
    for (int64_t j = seen.from; j < seen.to; j += kStep)
      multiply<Way, kRows, false>(queries, keys + j * units, units, 1, units, scores_ + j * kRows);
    if (seen.by_all) weigh<Way, kRows, false>(scores_, seen, scale_, padded(), softmax);
    else weigh<Way, kRows, true>(scores_, seen, scale_, padded(), softmax);
    for (int64_t d = 0; d < padded(); d += kStep)
      multiply<Way, kRows, true>(
          scores_ + first_unit * kRows, values + first_unit * padded() + d, 1, padded(),
          (seen.to - seen.from) / Way::kDepth, softmax.sums + d * kRows);
  }

  const AttendTile& t_;
  const int64_t rows_;
  const float scale_;
  Unit *queries_, *keys_, *values_;
  float *scores_, *states_;
  int32_t* offsets_;
  Element *nothing_, *spare_;
};

#if defined(__AVX512BF16__)
template <typename Element>
using WayOf = std::conditional_t<sizeof(Element) == 2, Pairs, Singles>;
#else
template <typename Element>
using WayOf = Singles;
#endif

// Calls body with the tile's Attention.
template <typename Element, typename Stored, typename F>
inline void with_attention(const AttendTile& tile, float* scratch, F&& body) {
  // All released models have heads of 64.
  if (tile.head_dim == 64) return body(Attention<Element, WayOf<Element>, Stored, 64>(tile, scratch));
  body(Attention<Element, WayOf<Element>, Stored, 0>(tile, scratch));
}

template <typename Element, typename Stored>
void attend(const AttendTile& tile, int64_t first_part, int64_t end_part, float* scratch) {
  with_attention<Element, Stored>(tile, scratch, [&](auto attention) {
    float *whole = attention.state(0), *one = attention.state(1);
    attention.expect(first_part);
    attention.take_queries();
    attention.begin(whole, 1.0f);
    for (int64_t part = first_part; part < end_part; ++part) {
      attention.begin(one, 0.0f);
      attention.go_over(part, tile.position + tile.tokens, one);
      attention.join(whole, one);
    }
    attention.finish(whole);
  });
}

template <typename Element, typename Stored>
void attend_part(const AttendTile& tile, int64_t part, float* state, float* scratch) {
  with_attention<Element, Stored>(tile, scratch, [&](auto attention) {
    const int64_t end = tile.position + tile.tokens, part_end = (part + 1) * kAttendPart;
    attention.expect(part);
    attention.take_queries();
    attention.begin(state, 0.0f);
    attention.go_over(part, part_end < end ? part_end : end, state);
  });
}

template <typename Element>
void join_parts(const AttendTile& tile, const float* states, int64_t stride, int64_t parts, float* scratch) {
  with_attention<Element, AsTheyAre<Element>>(tile, scratch, [&](auto attention) {
    float* whole = attention.state(0);
    attention.begin(whole, 1.0f);
    for (int64_t part = 0; part < parts; ++part) attention.join(whole, states + part * stride);
    attention.finish(whole);
  });
}

}  // namespace
}  // namespace ossia
