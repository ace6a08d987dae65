// Steps of a decoder of two layers, from ids to the most likely tokens, for driver.cpp.
#pragma once

#include <cmath>

#include "driver_tools.h"

namespace {

// Experts' matrices as a layer of a decoder takes them.
struct Interleaved {
  std::vector<uint8_t> codes, scales, bias;

  Interleaved(std::mt19937& random, int64_t experts, int64_t rows, int64_t columns, int paired, int threads)
      : codes(static_cast<size_t>(experts * rows * columns / 2)), scales(static_cast<size_t>(experts * rows * columns / 32)),
        bias(floats(random, experts * rows, OSSIA_BF16)) {
    const auto blocks = bytes(random, static_cast<int64_t>(codes.size()), 0, 255);
    const auto exponents = bytes(random, static_cast<int64_t>(scales.size()), 118, 121);
    check(ossia_interleave(blocks.data(), exponents.data(), experts, rows, columns / 32, paired, codes.data(),
                           scales.data(), threads), "interleave");
  }
};

struct Shape {
  int64_t hidden = 96, heads = 4, kv_heads = 2, dim = 16, experts = 5, ffn = 64, top_k = 2, vocab = 80, page_size = 4,
          pages = 12, width = 5;
};

struct Layer {
  std::vector<uint8_t> input_norm, post_norm, sinks, k_pages, v_pages, router, router_bias;  // the router is not rounded
  Rounded qkv, output;
  Interleaved gate_up, down;
  ossia_decoder_layer call;

  Layer(std::mt19937& random, const Shape& s, int64_t kind, int int8, int threads)
      : input_norm(floats(random, s.hidden, OSSIA_BF16)), post_norm(floats(random, s.hidden, OSSIA_BF16)),
        sinks(floats(random, s.heads, OSSIA_BF16)),
        k_pages(static_cast<size_t>(s.pages * s.page_size * s.kv_heads * (int8 ? s.dim + 4 : 2 * s.dim)), 0xff),
        v_pages(k_pages), router(floats(random, s.experts * s.hidden, OSSIA_BF16)),
        router_bias(floats(random, s.experts, OSSIA_BF16)), qkv(random, (s.heads + 2 * s.kv_heads) * s.dim, s.hidden, threads),
        output(random, s.hidden, s.heads * s.dim, threads),
        gate_up(random, s.experts, 2 * s.ffn, s.hidden, 1, threads), down(random, s.experts, s.hidden, s.ffn, 0, threads),
        call{input_norm.data(), qkv.matrix, sinks.data(), output.matrix, post_norm.data(),
             {router.data(), nullptr, router_bias.data(), s.experts},
             gate_up.codes.data(), gate_up.scales.data(), gate_up.bias.data(), down.codes.data(), down.scales.data(),
             down.bias.data(), k_pages.data(), v_pages.data(), kind ? 3 : 0, kind} {}
};

// Sequences that begin at different positions make some tokens each; pages, tables and all the rest fit exactly.
// Returns the last step's logits, bfloat16.
std::vector<uint8_t> steps(int int8, int threads, unsigned seed) {
  std::mt19937 random(seed);
  const Shape s;
  const int64_t rows = 3, half = s.dim / 2, last = s.width * s.page_size;
  const size_t count = static_cast<size_t>(rows);
  const Layer full(random, s, 0, int8, threads), sliding(random, s, 1, int8, threads);
  const ossia_decoder_layer layers[] = {full.call, sliding.call};
  const auto embeddings = floats(random, s.vocab * s.hidden, OSSIA_BF16), norm = floats(random, s.hidden, OSSIA_BF16);
  const Rounded head(random, s.vocab, s.hidden, threads);
  const std::vector<float> cos(static_cast<size_t>(last * half), 0.6f), sin(cos.size(), 0.8f);
  std::vector<uint8_t> x(count * static_cast<size_t>(2 * s.hidden), 0xff), logits(count * static_cast<size_t>(2 * s.vocab), 0xff);
  std::vector<float> layers_cos(count * static_cast<size_t>(half)), layers_sin(layers_cos.size()), peaks(count);
  std::vector<int64_t> ids{1, s.vocab - 1, 0}, positions(count, 0), contexts(count), ones(count, 1), slots(count), page_counts(count), drawn(count);
  std::vector<int32_t> tables(count * static_cast<size_t>(s.width), -1);
  // Each sequence has four pages of its own, in no order; the others of a row's table are never looked at.
  const std::vector<std::vector<int32_t>> own{{7, 2, 9, 0}, {1, 11, 4, 8}, {3, 5, 10, 6}};
  std::vector<const int32_t*> pages;
  for (size_t row = 0; row < count; ++row) pages.push_back(own[row].data()), page_counts[row] = static_cast<int64_t>(own[row].size());
  const ossia_decoder decoder = {
      layers, norm.data(), x.data(), layers_cos.data(), layers_sin.data(), ones.data(), contexts.data(),
      {slots.data(), slots.data()}, {tables.data(), tables.data()}, {s.width, s.width}, 2, rows, rows, s.hidden, s.heads,
      s.kv_heads, s.dim, s.page_size, s.experts, s.ffn, s.top_k, 1e-5f, 1.702f, 7.0f, int8, int8, threads};
  const ossia_linear unembedding = {head.matrix.weight, head.matrix.scales, head.matrix.bias, x.data(), logits.data(),
                                    rows, s.vocab, s.hidden, int8, threads};
  const ossia_narrow_logits drawing = {logits.data(), drawn.data(), peaks.data(), rows, s.vocab - 1, s.vocab, threads};
  ossia_step step = {
      &decoder, &unembedding, &drawing, embeddings.data(), cos.data(), sin.data(), ids.data(), positions.data(),
      {pages.data(), pages.data()}, {page_counts.data(), page_counts.data()}, x.data(), layers_cos.data(), layers_sin.data(),
      contexts.data(), {slots.data(), slots.data()}, {tables.data(), tables.data()}, s.vocab, 2};
  for (int64_t position = 0; position < 4 * s.page_size; ++position) {
    for (size_t row = 0; row < count; ++row) positions[row] = position;
    step.drawing = position % 5 == 4 ? nullptr : &drawing;
    check(ossia_run_step(&step), "run_step");
    for (int64_t i = 0; i < rows * s.vocab; ++i)
      if (!std::isfinite(at(logits, i, OSSIA_BF16))) check(-1, "not finite");
    for (size_t row = 0; row < count; ++row) {
      const int64_t slot = own[row][static_cast<size_t>(position / s.page_size)] * s.page_size + position % s.page_size;
      if (slots[row] != slot || contexts[row] != position + 1) check(-1, "the token goes elsewhere");
      if (step.drawing == nullptr) continue;
      for (int64_t id = 0; id < s.vocab - 1; ++id) {
        const float one = at(logits, static_cast<int64_t>(row) * s.vocab + id, OSSIA_BF16);
        if (one > peaks[row] || (one == peaks[row] && id < drawn[row])) check(-1, "another token is the most likely one");
      }
    }
    if (step.drawing != nullptr) ids = drawn;
  }
  for (int64_t id : {int64_t{-1}, s.vocab}) {
    ids[1] = id;
    if (ossia_run_step(&step) != OSSIA_BAD_TOKEN) check(-1, "no such token, and nobody says so");
  }
  return logits;
}

}  // namespace
