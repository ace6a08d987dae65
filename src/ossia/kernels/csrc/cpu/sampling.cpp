// From a row of logits to a token, and log-probabilities, without a sort: kernels/sampling/reference.py
// defines both. A row is looked at in blocks. Whatever keeps few tokens is found by the blocks' peaks: the
// k-th largest of those is no larger than the k-th largest logit. Blocks are the same however many threads
// share a row, and what is added up of them is added in their order, so results do not depend on threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <new>

#include "bfloat16.h"
#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kSliceBlocks = 128;  // that a thread takes at a time
constexpr int64_t kFewBlocks = 256;    // below this, waking others takes longer than the work
constexpr int64_t kWideBlocks = 16;    // that are widened at a time, and looked at while they are near
constexpr int64_t kWideLogits = kWideBlocks * kSampleBlock;
constexpr int64_t kCandidateBlocks[] = {32, 256};  // in which most distributions reach top_p

struct Candidate {
  float scaled, weight;
  int32_t id;
};

bool is_likelier(const Candidate& left, const Candidate& right) { return left.scaled > right.scaled; }

// Weights by the upper bits of their scaled logit's magnitude, so that the likeliest come first.
constexpr int kBucketShift = 18;
constexpr int64_t kBuckets = (0x42b00000 >> kBucketShift) + 1;  // to 88, where weights have ended

int64_t bucket_of(float scaled) {
  uint32_t bits;
  std::memcpy(&bits, &scaled, 4);
  return (bits & 0x7fffffffu) >> kBucketShift;
}

// The least magnitude of a bucket.
float start_of(int64_t bucket) {
  const uint32_t bits = static_cast<uint32_t>(bucket) << kBucketShift;
  float start;
  std::memcpy(&start, &bits, 4);
  return start;
}

// What a thread needs for a row.
struct Workspace {
  double* sums;     // of blocks
  double* buckets;  // (kBuckets,)
  float* peaks;     // of blocks
  float* ordered;
  Candidate* candidates;  // (vocab,); untouched memory costs nothing

  static int64_t bytes(int64_t vocab) {
    const int64_t blocks = (vocab + kSampleBlock - 1) / kSampleBlock;
    const int64_t all = 8 * (blocks + kBuckets) + 4 * 2 * blocks + int64_t(sizeof(Candidate)) * vocab;
    return (all + 63) / 64 * 64;
  }

  Workspace(uint8_t* memory, int64_t vocab) {
    const int64_t blocks = (vocab + kSampleBlock - 1) / kSampleBlock;
    sums = reinterpret_cast<double*>(memory);
    buckets = sums + blocks;
    peaks = reinterpret_cast<float*>(buckets + kBuckets);
    ordered = peaks + blocks;
    candidates = reinterpret_cast<Candidate*>(ordered + blocks);
  }
};

double mass_of(const Candidate* first, const Candidate* last) {
  double mass = 0.0;
  for (; first != last; ++first) mass += first->weight;
  return mass;
}

// Of candidates from the likeliest on, the last before whose weight the target is not yet reached.
float border_of(Candidate* first, Candidate* last, double target) {
  for (double above = 0.0;;) {
    const float one = first->scaled, two = first[(last - first) / 2].scaled, three = last[-1].scaled;
    const float pivot = std::max(std::min(one, two), std::min(std::max(one, two), three));
    Candidate* equal = std::partition(first, last, [&](const Candidate& c) { return c.scaled > pivot; });
    const double with_likelier = above + mass_of(first, equal);
    if (equal != first && with_likelier >= target) {
      last = equal;
      continue;
    }
    Candidate* rest = std::partition(equal, last, [&](const Candidate& c) { return c.scaled == pivot; });
    above = with_likelier + mass_of(equal, rest);
    if (rest == last || above >= target) return pivot;
    first = rest;
  }
}

class Row {
 public:
  Row(const float* logits, int64_t vocab, const Workspace& workspace, int threads)
      : ops_(used_isa().sampling), logits_(logits), vocab_(vocab),
        blocks_((vocab + kSampleBlock - 1) / kSampleBlock), at_(workspace), threads_(threads) {}

  // The largest logit; NaN if there is one. First of all.
  float find_peak() {
    over_slices(blocks_, [&](int64_t first, int64_t end) {
      const int64_t from = first * kSampleBlock, to = std::min(end * kSampleBlock, vocab_);
      ops_.find_peaks(logits_ + from, to - from, at_.peaks + first);
    });
    how_.peak = -kInfinity;
    for (int64_t block = 0; block < blocks_; ++block) {
      if (std::isnan(at_.peaks[block])) return how_.peak = at_.peaks[block];
      how_.peak = std::max(how_.peak, at_.peaks[block]);
    }
    return how_.peak;
  }

  // The first id with the largest logit.
  int64_t likeliest() const {
    int64_t block = 0;
    while (at_.peaks[block] != how_.peak) ++block;
    int64_t id = block * kSampleBlock;
    while (logits_[id] != how_.peak) ++id;
    return id;
  }

  int64_t draw(const ossia_draw& how) {
    how_.temperature = how.temperature;
    if (how.top_k > 0 && how.top_k < vocab_) raise(scaled_of_rank(how.top_k));
    if (how.top_p < 1.0f) raise(top_p_border(how.top_p));
    if (how.min_p > 0.0f) raise(std::log(how.min_p));
    return at_number(how.uniform, sum_weights());
  }

  void logprobs(int64_t id, int64_t num_top, float* chosen, float* top, int64_t* top_ids) {
    const double normaliser = how_.peak + std::log(sum_weights());
    *chosen = static_cast<float>(logits_[id] - normaliser);
    if (num_top == 0) return;
    const int64_t count = collect(num_top < blocks_ ? peak_of_rank(num_top) : -kInfinity, kInfinity);
    Candidate* const first = at_.candidates;
    const auto comes_first = [&](const Candidate& left, const Candidate& right) {
      const float one = logits_[left.id], two = logits_[right.id];
      return one > two || (one == two && left.id < right.id);
    };
    std::partial_sort(first, first + num_top, first + count, comes_first);
    for (int64_t i = 0; i < num_top; ++i) {
      top_ids[i] = first[i].id;
      top[i] = static_cast<float>(logits_[first[i].id] - normaliser);
    }
  }

 private:
  float scaled(float logit) const { return (logit - how_.peak) / how_.temperature; }

  void raise(float least) { how_.least = std::max(how_.least, least); }

  template <typename Body>
  void over_slices(int64_t busy_blocks, const Body& body) {
    const int64_t slices = (blocks_ + kSliceBlocks - 1) / kSliceBlocks;
    for_each_task(busy_blocks < kFewBlocks ? 1 : threads_, slices, [&](int64_t slice, int) {
      const int64_t first = slice * kSliceBlocks;
      body(first, std::min(first + kSliceBlocks, blocks_));
    });
  }

  int64_t kept_blocks() const {
    int64_t count = 0;
    for (int64_t block = 0; block < blocks_; ++block) count += scaled(at_.peaks[block]) >= how_.least;
    return count;
  }

  void weigh(int64_t block, float* scaled, float* weights) const {
    const int64_t from = block * kSampleBlock;
    ops_.weigh_block(logits_ + from, std::min(kSampleBlock, vocab_ - from), how_, scaled, weights);
  }

  // Of each block, and of all.
  double sum_weights() {
    over_slices(kept_blocks(), [&](int64_t first, int64_t end) {
      const int64_t from = first * kSampleBlock, to = std::min(end * kSampleBlock, vocab_);
      ops_.sum_weights(logits_ + from, to - from, at_.peaks + first, how_, at_.sums + first);
    });
    double sum = 0.0;
    for (int64_t block = 0; block < blocks_; ++block) sum += at_.sums[block];
    return sum;
  }

  // Calls body(first id, count, scaled, weights) for every block that reaches `from`.
  template <typename Body>
  void over_blocks(float from, const Body& body) const {
    for (int64_t block = 0; block < blocks_; ++block) {
      if (scaled(at_.peaks[block]) < from) continue;
      float scaled[kSampleBlock], weights[kSampleBlock];
      weigh(block, scaled, weights);
      body(block * kSampleBlock, std::min(kSampleBlock, vocab_ - block * kSampleBlock), scaled, weights);
    }
  }

  // Tokens with scaled logits from `from` to `to` become candidates; returns how many.
  int64_t collect(float from, float to) const {
    Candidate* next = at_.candidates;
    over_blocks(from, [&](int64_t first, int64_t count, const float* scaled, const float* weights) {
      uint8_t found[kSampleBlock];
      const int64_t num = ops_.find_between(scaled, count, from, to, found);
      for (int64_t i = 0; i < num; ++i)
        *next++ = {scaled[found[i]], weights[found[i]], static_cast<int32_t>(first + found[i])};
    });
    return next - at_.candidates;
  }

  // Of the blocks that reach `from`.
  double sum_of_blocks(float from) const {
    double sum = 0.0;
    for (int64_t block = 0; block < blocks_; ++block)
      if (scaled(at_.peaks[block]) >= from) sum += at_.sums[block];
    return sum;
  }

  // Of the blocks' peaks the one of this rank, scaled.
  float peak_of_rank(int64_t rank) const {
    float* const ordered = at_.ordered;
    std::copy(at_.peaks, at_.peaks + blocks_, ordered);
    std::nth_element(ordered, ordered + rank - 1, ordered + blocks_, std::greater<float>());
    return scaled(ordered[rank - 1]);
  }

  // The scaled logit of this rank, from 1 on.
  float scaled_of_rank(int64_t rank) const {
    const int64_t count = collect(rank < blocks_ ? peak_of_rank(rank) : -kInfinity, kInfinity);
    Candidate* const first = at_.candidates;
    std::nth_element(first, first + rank - 1, first + count, is_likelier);
    return first[rank - 1].scaled;
  }

  // The least scaled logit of the smallest set that reaches top_p.
  float top_p_border(float top_p) {
    const double target = top_p * sum_weights();
    const int64_t kept = kept_blocks();
    for (const int64_t rank : kCandidateBlocks) {
      const bool all = rank >= kept;
      const float from = all ? how_.least : std::max(how_.least, peak_of_rank(rank));
      if (!all && sum_of_blocks(from) < target) continue;
      Candidate* const candidates = at_.candidates;
      const int64_t count = collect(from, kInfinity);
      if (all || mass_of(candidates, candidates + count) >= target)
        return border_of(candidates, candidates + count, target);
    }
    return flat_border(target);
  }

  // The same where many tokens are needed: by buckets, and within the bucket that reaches the target.
  float flat_border(double target) {
    double* const buckets = at_.buckets;
    std::fill(buckets, buckets + kBuckets, 0.0);
    over_blocks(how_.least, [&](int64_t, int64_t count, const float* scaled, const float* weights) {
      for (int64_t i = 0; i < count; ++i)
        buckets[std::min(bucket_of(scaled[i]), kBuckets - 1)] += weights[i];
    });
    double above = 0.0;
    int64_t bucket = 0, last = 0;
    for (; bucket < kBuckets && above < target; ++bucket)
      if (buckets[bucket] > 0.0) last = bucket, above += buckets[bucket];
    const float from = std::nextafter(-start_of(last + 1), 0.0f);
    const int64_t count = collect(std::max(how_.least, from), -start_of(last));
    return border_of(at_.candidates, at_.candidates + count, target - (above - buckets[last]));
  }

  // The first id at which the cumulated weight exceeds this share of the total.
  int64_t at_number(double uniform, double total) const {
    const double target = std::min(uniform * total, std::nextafter(total, 0.0));
    double cumulated = 0.0;
    int64_t block = 0;
    while (cumulated + at_.sums[block] <= target) cumulated += at_.sums[block++];
    float scaled[kSampleBlock], weights[kSampleBlock];
    weigh(block, scaled, weights);
    const int64_t count = std::min(kSampleBlock, vocab_ - block * kSampleBlock);
    int64_t last = 0;  // rounding may keep the weights below the block's sum
    for (int64_t i = 0; i < count; ++i) {
      if (weights[i] == 0.0f) continue;
      last = i;
      cumulated += weights[i];
      if (cumulated > target) break;
    }
    return block * kSampleBlock + last;
  }

  const SamplingOps& ops_;
  const float* logits_;
  int64_t vocab_, blocks_;
  Workspace at_;
  int threads_;
  Weighing how_ = {0.0f, 1.0f, -kInfinity};
};

// Calls body(row's number, row). Several rows are shared out; a single one is cut into slices.
template <typename Body>
void over_rows(
    const float* logits, int64_t rows, int64_t vocab, int64_t stride, int threads, const Body& body) {
  const int at_once = static_cast<int>(std::min<int64_t>(threads, rows));
  Scratch scratch;
  uint8_t* const memory = scratch.take(at_once * Workspace::bytes(vocab));
  for_each_task(at_once, rows, [&](int64_t number, int thread) {
    const Workspace workspace(memory + thread * Workspace::bytes(vocab), vocab);
    body(number, Row(logits + number * stride, vocab, workspace, rows > 1 ? 1 : threads));
  });
}

constexpr int64_t kSlice = kSliceBlocks * kSampleBlock;

}  // namespace

int ossia_widen(const void* x, float* out, int64_t count, int threads) {
  const auto* from = static_cast<const uint16_t*>(x);
  for_each_task(
      count < kFewBlocks * kSampleBlock ? 1 : threads, (count + kSlice - 1) / kSlice, [&](int64_t slice, int) {
        const int64_t first = slice * kSlice, left = count - first;
        used_isa().widen(from + first, out + first, left < kSlice ? left : kSlice);
      });
  return OSSIA_OK;
}

int ossia_most_likely(const ossia_narrow_logits* call) {
  const ossia_narrow_logits& c = *call;
  const Isa& isa = used_isa();
  const int64_t blocks = (c.vocab + kSampleBlock - 1) / kSampleBlock;
  try {
    Scratch scratch;
    float* const peaks = scratch.take_array<float>(blocks);
    for (int64_t row = 0; row < c.rows; ++row) {
      const auto* logits = static_cast<const uint16_t*>(c.logits) + row * c.stride;
      const int64_t tasks = (blocks + kWideBlocks - 1) / kWideBlocks;
      for_each_task(blocks < kFewBlocks ? 1 : c.threads, tasks, [&](int64_t task, int) {
        const int64_t from = task * kWideLogits, count = std::min(kWideLogits, c.vocab - from);
        float wide[kWideLogits];
        isa.widen(logits + from, wide, count);
        isa.sampling.find_peaks(wide, count, peaks + task * kWideBlocks);
      });
      float peak = -kInfinity;
      for (int64_t block = 0; block < blocks && !std::isnan(peak); ++block)
        peak = std::isnan(peaks[block]) ? peaks[block] : std::max(peak, peaks[block]);
      c.peaks[row] = peak, c.ids[row] = 0;
      if (!std::isfinite(peak)) continue;
      int64_t id = 0;
      while (peaks[id / kSampleBlock] != peak) id += kSampleBlock;
      while (widened(logits[id]) != peak) ++id;
      c.ids[row] = id;
    }
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}

int ossia_sample(const ossia_sampling* call) {
  const ossia_sampling& c = *call;
  try {
    over_rows(c.logits, c.rows, c.vocab, c.stride, c.threads, [&](int64_t number, Row row) {
      const float peak = c.peaks[number] = row.find_peak();
      if (!std::isfinite(peak)) c.ids[number] = 0;
      else if (c.draws[number].temperature > 0.0f) c.ids[number] = row.draw(c.draws[number]);
      else c.ids[number] = row.likeliest();
    });
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}

int ossia_token_logprobs(const ossia_logprobs* call) {
  const ossia_logprobs& c = *call;
  for (int64_t row = 0; row < c.rows; ++row)
    if (c.token_ids[row] < 0 || c.token_ids[row] >= c.vocab) return OSSIA_BAD_TOKEN;
  try {
    over_rows(c.logits, c.rows, c.vocab, c.stride, c.threads, [&](int64_t number, Row row) {
      float *chosen = c.chosen + number, *top = c.top + number * c.num_top;
      int64_t* top_ids = c.top_ids + number * c.num_top;
      if (std::isfinite(row.find_peak()))
        return row.logprobs(c.token_ids[number], c.num_top, chosen, top, top_ids);
      *chosen = std::numeric_limits<float>::quiet_NaN();
      for (int64_t i = 0; i < c.num_top; ++i) top[i] = *chosen, top_ids[i] = i;
    });
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}
