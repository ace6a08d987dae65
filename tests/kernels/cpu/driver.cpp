// Runs the CPU kernels without Python, for sanitizers: every instruction set of this machine, either type,
// either precision, several shapes and numbers of threads; callers side by side; a forked child.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "driver_steps.h"
#include "driver_tools.h"
#include "ossia_cpu.h"

namespace {

std::vector<uint8_t> layer(
    int64_t tokens, int64_t experts, int64_t hidden, int64_t ffn, int64_t top_k, int type,
    int activations, int threads, unsigned seed) {
  std::mt19937 random(seed);
  const int64_t up = experts * 2 * ffn * hidden / 32, down = experts * hidden * ffn / 32;
  std::vector<uint8_t> up_codes(up * 16), up_scales(up), down_codes(down * 16), down_scales(down);
  const auto up_blocks = bytes(random, up * 16, 0, 255), down_blocks = bytes(random, down * 16, 0, 255);
  const auto up_exponents = bytes(random, up, 118, 123), down_exponents = bytes(random, down, 118, 123);
  check(ossia_interleave(up_blocks.data(), up_exponents.data(), experts, 2 * ffn, hidden / 32, 1,
                         up_codes.data(), up_scales.data(), threads), "interleave");
  check(ossia_interleave(down_blocks.data(), down_exponents.data(), experts, hidden, ffn / 32, 0,
                         down_codes.data(), down_scales.data(), threads), "interleave");
  const auto up_bias = floats(random, experts * 2 * ffn, type), down_bias = floats(random, experts * hidden, type);
  const auto x = floats(random, tokens * hidden, type), weights = floats(random, tokens * top_k, type);
  std::vector<int64_t> ids(static_cast<size_t>(tokens * top_k));
  std::uniform_int_distribution<int64_t> any(0, experts - 1);
  for (int64_t& id : ids) id = any(random);
  std::vector<uint8_t> out(x.size(), 0xff);  // NaN
  const ossia_experts call = {
      up_codes.data(), up_scales.data(), up_bias.data(), down_codes.data(), down_scales.data(),
      down_bias.data(), x.data(), ids.data(), weights.data(), out.data(), tokens, experts, hidden, ffn,
      top_k, 1.702f, 7.0f, type, activations, threads};
  check(ossia_run_experts(&call), "run_experts");
  for (int64_t i = 0; i < tokens * hidden; ++i)
    if (!std::isfinite(at(out, i, type))) check(-1, "not finite");
  return out;
}

std::vector<uint8_t> linear(int64_t tokens, int64_t rows, int64_t columns, int threads, unsigned seed) {
  std::mt19937 random(seed);
  const auto weight = floats(random, rows * columns, OSSIA_BF16), bias = floats(random, rows, OSSIA_BF16);
  const auto x = floats(random, tokens * columns, OSSIA_BF16);
  std::vector<uint8_t> out(static_cast<size_t>(2 * tokens * rows), 0xff);
  const ossia_linear call = {weight.data(), nullptr, bias.data(), x.data(), out.data(), tokens, rows, columns,
                             OSSIA_FULL, threads};
  check(ossia_run_linear(&call), "run_linear");
  for (int64_t i = 0; i < tokens * rows; ++i)
    if (!std::isfinite(at(out, i, OSSIA_BF16))) check(-1, "not finite");
  return out;
}

std::vector<uint8_t> rounded_linear(
    int64_t tokens, int64_t rows, int64_t columns, int activations, int threads, unsigned seed) {
  std::mt19937 random(seed);
  const Rounded weight(random, rows, columns, threads);
  const auto x = floats(random, tokens * columns, OSSIA_BF16);
  std::vector<uint8_t> out(static_cast<size_t>(2 * tokens * rows), 0xff);
  const ossia_linear call = {weight.matrix.weight, weight.matrix.scales, weight.matrix.bias, x.data(), out.data(),
                             tokens, rows, columns, activations, threads};
  check(ossia_run_linear(&call), "run_linear of 8 bits");
  for (int64_t i = 0; i < tokens * rows; ++i)
    if (!std::isfinite(at(out, i, OSSIA_BF16))) check(-1, "not finite");
  return out;
}

// Two sequences: rope, writing, and attention over what was written, all in exactly fitting memory.
std::vector<uint8_t> attention(
    int64_t dim, int64_t window, int type, int int8_pages, int threads, unsigned seed) {
  std::mt19937 random(seed);
  const int64_t heads = 6, kv_heads = 2, page_size = 5, lens[] = {23, 8}, tokens = 31, pages = 7;
  const size_t element = type == OSSIA_BF16 ? 2 : 4;
  auto q = floats(random, tokens * heads * dim, type);
  auto k = floats(random, tokens * kv_heads * dim, type);
  const auto v = floats(random, tokens * kv_heads * dim, type);
  const std::vector<float> cos(static_cast<size_t>(tokens * dim / 2), 0.6f), sin(cos.size(), 0.8f);
  const int32_t table[] = {3, 1, 6, 0, 2, 5, 4, -1, -1, -1};
  std::vector<int64_t> slots;
  for (int64_t seq = 0; seq < 2; ++seq)
    for (int64_t i = 0; i < lens[seq]; ++i)
      slots.push_back(table[seq * 5 + i / page_size] * page_size + i % page_size);
  const size_t row = int8_pages ? static_cast<size_t>(dim) + 4 : static_cast<size_t>(dim) * element;
  std::vector<uint8_t> k_pages(static_cast<size_t>(pages * page_size * kv_heads) * row, 0xff);
  std::vector<uint8_t> v_pages(k_pages), out(q.size(), 0xff);
  const auto sinks = floats(random, heads, type), weight = floats(random, dim, type);
  const ossia_rope rope = {q.data(), k.data(), v.data(), cos.data(), sin.data(), k_pages.data(), v_pages.data(),
                           slots.data(), tokens, heads, kv_heads, dim, heads * dim, kv_heads * dim,
                           kv_heads * dim, type, int8_pages, threads};
  check(ossia_rotate_and_write(&rope), "rotate_and_write");
  const ossia_attention call = {q.data(), k_pages.data(), v_pages.data(), table, lens, lens,
                                sinks.data(), out.data(), 2, heads, kv_heads, dim, page_size, 5, window,
                                type, int8_pages, threads};
  check(ossia_attend(&call), "attend");
  std::vector<uint8_t> normed(out.size(), 0xff);
  check(ossia_rms_norm(out.data(), weight.data(), 1e-5f, normed.data(), tokens * heads, dim, type, threads), "norm");
  for (int64_t i = 0; i < tokens * heads * dim; ++i)
    if (!std::isfinite(at(normed, i, type))) check(-1, "not finite");
  return normed;
}

// Every way of drawing, and log-probabilities, from rows in exactly fitting memory.
std::vector<int64_t> sampling(int64_t rows, int64_t vocab, int threads, unsigned seed) {
  std::mt19937 random(seed);
  const auto narrow = floats(random, rows * vocab, OSSIA_BF16);
  std::vector<float> wide(static_cast<size_t>(rows * vocab));
  const float* logits = wide.data();
  check(ossia_widen(narrow.data(), wide.data(), rows * vocab, threads), "widen");
  std::vector<int64_t> all;
  for (const ossia_draw& how : {
           ossia_draw{0.0, 0, 0.0f, 1.0f, 0.0f}, ossia_draw{0.3, 0, 1.0f, 1.0f, 0.0f},
           ossia_draw{1.0, 3, 0.7f, 1.0f, 0.0f}, ossia_draw{0.5, vocab / 2, 2.0f, 0.5f, 0.0f},
           ossia_draw{0.9, 0, 1.0f, 0.9f, 0.0f}, ossia_draw{0.6, 2 * vocab, 9.0f, 0.999f, 0.1f}}) {
    const std::vector<ossia_draw> draws(static_cast<size_t>(rows), how);
    std::vector<int64_t> ids(draws.size(), -1);
    std::vector<float> peaks(draws.size());
    const ossia_sampling call = {logits, draws.data(), ids.data(), peaks.data(), rows, vocab, vocab, threads};
    check(ossia_sample(&call), "sample");
    all.insert(all.end(), ids.begin(), ids.end());
  }
  std::vector<int64_t> likely(static_cast<size_t>(rows), -1);
  std::vector<float> peaks(likely.size());
  const ossia_narrow_logits greedy = {narrow.data(), likely.data(), peaks.data(), rows, vocab, vocab, threads};
  check(ossia_most_likely(&greedy), "most_likely");
  if (!std::equal(likely.begin(), likely.end(), all.begin())) check(-1, "other tokens are the most likely ones");
  const int64_t num_top = vocab < 20 ? vocab : 20;
  const std::vector<int64_t> token_ids(static_cast<size_t>(rows), vocab - 1);
  std::vector<float> chosen(token_ids.size()), top(token_ids.size() * static_cast<size_t>(num_top));
  std::vector<int64_t> top_ids(top.size(), -1);
  const ossia_logprobs call = {logits, token_ids.data(), chosen.data(), top.data(), top_ids.data(),
                               rows, vocab, vocab, num_top, threads};
  check(ossia_token_logprobs(&call), "token_logprobs");
  all.insert(all.end(), top_ids.begin(), top_ids.end());
  for (int64_t id : all)
    if (id < 0 || id >= vocab) check(-1, "no token");
  return all;
}

void every_kind(int threads, unsigned seed) {
  for (int type : {OSSIA_F32, OSSIA_BF16})
    for (int activations : {OSSIA_FULL, OSSIA_INT8})
      for (int64_t tokens : {1, 3, 21}) {
        const auto shared = layer(tokens, 5, 96, 64, 3, type, activations, threads, seed);
        const auto alone = layer(tokens, 5, 96, 64, 3, type, activations, 1, seed);
        if (shared != alone) check(-1, "threads change the result");
        // One expert's: more than a panel of any set.
        const int64_t many = 23 * tokens;
        if (layer(many, 1, 96, 64, 1, type, activations, threads, seed) !=
            layer(many, 1, 96, 64, 1, type, activations, 1, seed))
          check(-1, "threads change the result of many tokens");
      }
  for (int64_t tokens : {1, 5, 11})
    for (int64_t columns : {1, 31, 1100})
      if (linear(tokens, 301, columns, threads, seed) != linear(tokens, 301, columns, 1, seed))
        check(-1, "threads change the product");
  for (int64_t tokens : {1, 5, 35, 131})
    for (int activations : {OSSIA_FULL, OSSIA_INT8})
      if (rounded_linear(tokens, 80, 96, activations, threads, seed) !=
          rounded_linear(tokens, 80, 96, activations, 1, seed))
        check(-1, "threads change the product of 8 bits");
  for (int type : {OSSIA_F32, OSSIA_BF16})
    for (int64_t dim : {2, 30, 64})
      for (int64_t window : {0, 4})
        for (int int8_pages : {0, 1})
          if (attention(dim, window, type, int8_pages, threads, seed) !=
              attention(dim, window, type, int8_pages, 1, seed))
            check(-1, "threads change attention");
  for (int int8 : {0, 1})
    if (steps(int8, threads, seed) != steps(int8, 1, seed)) check(-1, "threads change a step");
  for (int64_t rows : {1, 7})
    for (int64_t vocab : {1, 129, 50001})
      if (sampling(rows, vocab, threads, seed) != sampling(rows, vocab, 1, seed))
        check(-1, "threads change the sample");
}

// One of each kind as floats, for a comparison of instruction sets.
std::vector<std::vector<float>> one_of_each() {
  std::vector<std::vector<float>> all;
  const auto keep = [&](const std::vector<uint8_t>& bytes, int type) {
    std::vector<float> values(bytes.size() / (type == OSSIA_BF16 ? 2 : 4));
    for (size_t i = 0; i < values.size(); ++i) values[i] = at(bytes, static_cast<int64_t>(i), type);
    all.push_back(values);
  };
  for (int type : {OSSIA_F32, OSSIA_BF16}) {
    for (int activations : {OSSIA_FULL, OSSIA_INT8}) {
      keep(layer(9, 5, 96, 64, 3, type, activations, 2, 11), type);
      keep(layer(70, 1, 160, 96, 1, type, activations, 2, 15), type);
    }
    for (int int8_pages : {0, 1}) keep(attention(64, 4, type, int8_pages, 2, 12), type);
  }
  for (int int8 : {0, 1}) keep(steps(int8, 2, 16), OSSIA_BF16);
  for (int activations : {OSSIA_FULL, OSSIA_INT8})
    for (int64_t tokens : {9, 70}) keep(rounded_linear(tokens, 80, 96, activations, 2, 13), OSSIA_BF16);
  keep(linear(9, 80, 96, 2, 14), OSSIA_BF16);
  return all;
}

// Roundings may differ between sets, by a bfloat16 or an eighth bit here and there; mistakes are larger.
void compare(const std::vector<std::vector<float>>& some, const std::vector<std::vector<float>>& plain) {
  for (size_t kind = 0; kind < plain.size(); ++kind) {
    double error = 0.0, size = 0.0;
    for (size_t i = 0; i < plain[kind].size(); ++i) {
      error += std::pow(double(some[kind][i]) - plain[kind][i], 2);
      size += std::pow(double(plain[kind][i]), 2);
    }
    if (!(error <= 2e-4 * size)) {
      std::fprintf(stderr, "kind %zu: relative error %g\n", kind, std::sqrt(error / size));
      check(-1, "differs from the portable set");
    }
  }
}

// Places on this machine, of whichever CPUs: each CPU is one thread's, and each thread has some.
void places(int cpus, int threads) {
  std::vector<int32_t> numbers(static_cast<size_t>(cpus)), thread_of(numbers.size(), -2);
  for (int cpu = 0; cpu < cpus; ++cpu) numbers[static_cast<size_t>(cpu)] = cpu;
  check(ossia_places("/sys/devices/system/cpu", numbers.data(), cpus, threads, thread_of.data()), "places");
  std::vector<int> count(static_cast<size_t>(threads) + 1);
  for (int32_t thread : thread_of) {
    if (thread < -1 || thread >= threads) check(-1, "no such thread");
    ++count[static_cast<size_t>(thread + 1)];
  }
  for (int thread = 0; thread < threads; ++thread)
    if ((count[static_cast<size_t>(thread) + 1] > 0) != (threads <= cpus))
      check(-1, "a thread without a place, or with one too many");
}

}  // namespace

int main() {
  for (int cpus : {0, 1, 5, 300})
    for (int threads : {1, 2, 5, 256}) places(cpus, threads);
  check(ossia_use("portable"), "use");
  const auto plain = one_of_each();
  for (int idx = 0; idx < ossia_isa_count(); ++idx) {
    if (ossia_isa_obstacle(idx) != nullptr) continue;
    check(ossia_use(ossia_isa_name(idx)), "use");
    for (int threads : {1, 2, 5}) every_kind(threads, 7u * static_cast<unsigned>(idx + 1));
    compare(one_of_each(), plain);
    std::printf("%s\n", ossia_isa_used());
  }
  ossia_keep_workers(0);
  std::thread other([] { every_kind(3, 100); });
  every_kind(4, 200);
  other.join();
  const pid_t child = fork();
  if (child == 0) {
#if !defined(__SANITIZE_THREAD__)  // which forbids threads in a child of a program with threads
    every_kind(2, 300);
#endif
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) check(-1, "the child failed");
  std::puts("all is well");
  return 0;
}
