"""Short passes as CUDA graphs of kernels against the modules they stand for."""

from __future__ import annotations

import pytest
import torch

from ossia.bench.subject import load_subject
from ossia.cache.layout import KVLayout
from ossia.kernels.attention import blocks_for, queries_of_a_block
from ossia.model.batch import ForwardBatch, PagedKV
from ossia.model.decode_memory import DecodeMemory
from ossia.model.decode_step import DecodeStep, relay_weights
from ossia.model.forward_graphs import ForwardGraphs, graph_sizes, pass_sizes
from ossia.model.heads import CausalLM

PAGE = 16
MOST_SEQUENCES = 40
MOST_TOKENS = 1024
_PAGES = 400


class _Setting:
    """A model with pages full of NaN, and graphs over a memory full of NaN."""

    def __init__(self) -> None:
        self.model: CausalLM = load_subject("random:tiny", device="cuda").network
        self.config = self.model.config
        relay_weights(self.model)
        self.layout = KVLayout.of(self.config, PAGE)
        shape = (_PAGES, PAGE, self.config.num_key_value_heads, self.config.head_dim)
        layers = range(self.config.num_hidden_layers)
        self.keys = tuple(self._poisoned(shape) for _ in layers)
        self.values = tuple(self._poisoned(shape) for _ in layers)
        device = self.keys[0].device
        self.memory = DecodeMemory(
            self.config, DecodeStep.sizes_for(MOST_SEQUENCES), device,
            pass_sizes(graph_sizes(MOST_TOKENS), MOST_SEQUENCES),
        )  # fmt: skip
        queries = queries_of_a_block(self.config.num_attention_heads, shape[2], device)
        assert queries is not None
        self.graphs = ForwardGraphs(
            self.model, (self.keys, self.values), self.layout.groups, self.memory, MOST_SEQUENCES, 200, queries,
            graph_sizes(MOST_TOKENS),
        )  # fmt: skip

    @staticmethod
    def _poisoned(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.full(shape, torch.nan, dtype=torch.bfloat16, device="cuda")

    def poison(self) -> None:
        """What a pass must not read before it has written it."""
        tensors = self.memory.layers(MOST_TOKENS)
        for name in ("stream", "middle", "normed", "parts", "said", "router_logits", "rope"):
            getattr(tensors, name).fill_(torch.nan)
        self.memory.logits(MOST_SEQUENCES).fill_(torch.nan)

    def batch(self, lens: list[int], rows: list[int]) -> ForwardBatch:
        """Of sequences that begin, of so many tokens each, in any pages."""
        order = torch.randperm(_PAGES).tolist()
        tables, slots, ids, positions = [], [], [], []
        for count in lens:
            pages = [order.pop() for _ in range(-(-count // PAGE))]
            tables.append(pages)
            positions += range(count)
            slots += [pages[at // PAGE] * PAGE + at % PAGE for at in range(count)]
            ids += torch.randint(0, self.config.vocab_size, (count,)).tolist()
        width = max(map(len, tables))
        table = torch.tensor(
            [[*row, *[0] * (width - len(row))] for row in tables], dtype=torch.int32
        )
        kv = PagedKV(
            k_pages=self.keys,
            v_pages=self.values,
            page_tables=dict.fromkeys(self.layout.groups, table),
            slots=dict.fromkeys(self.layout.groups, torch.tensor(slots)),
            context_lens=lens,
            blocks=self.blocks(lens, lens),
        )
        return ForwardBatch(
            input_ids=torch.tensor(ids),
            positions=torch.tensor(positions),
            seq_lens=lens,
            kv=kv,
            logits_rows=torch.tensor(rows),
        )

    def blocks(self, news: list[int], contexts: list[int]) -> torch.Tensor | None:
        heads, kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        return blocks_for(news, contexts, heads, kv_heads, self.keys[0].device)


@pytest.fixture(scope="module")
def setting() -> _Setting:
    torch.manual_seed(0)
    with torch.inference_mode():
        return _Setting()


LENS = [
    *[[count] for count in (1, 5, 31, 32, 33, 100, 128, 129, 256, 300, 512, 513, 768, 769, 1024)],
    [40, 1, 77],
    [1] * 40,
    [13 - i % 12 for i in range(38)],
]


@pytest.mark.gpu
@pytest.mark.parametrize("lens", LENS, ids=str)
@torch.inference_mode()
def test_as_the_modules(setting: _Setting, lens: list[int]):
    tokens = sum(lens)
    rows = sorted({tokens - 1, 0, tokens // 2, *range(len(lens))})[-MOST_SEQUENCES:]
    batch = setting.batch(lens, rows)
    setting.poison()
    assert setting.graphs.takes(batch)
    made = setting.graphs.run(batch).clone()
    keys = [pages.clone() for pages in setting.keys]
    expected = setting.model(batch.to(setting.keys[0].device)).float()
    assert made.isfinite().all()
    assert made.shape == expected.shape
    error = (made - expected).norm() / expected.norm()
    assert error < 0.02, error
    for layer, (mine, theirs) in enumerate(zip(keys, setting.keys, strict=True)):
        both = mine.isfinite() & theirs.isfinite()
        assert torch.equal(mine.isnan(), theirs.isnan()), "nothing is written elsewhere"
        mine, theirs = mine[both].float(), theirs[both].float()
        assert (mine - theirs).norm() < 0.02 * theirs.norm(), layer


@pytest.mark.gpu
@pytest.mark.parametrize("past", [1, 15, 16, 127, 128, 500])
@torch.inference_mode()
def test_behind_tokens_in_pages(setting: _Setting, past: int):
    """New tokens of some sequences behind others, in pieces and at once."""
    lens = [past + 9, past + 1, past + 30]
    whole = setting.batch(lens, [past + 8, 2 * past + 9, 3 * past + 39])
    expected = setting.model(whole.to(setting.keys[0].device)).float()
    assert isinstance(whole.kv, PagedKV)
    starts = torch.tensor([0, past + 9, 2 * past + 10])
    made = expected * torch.nan
    for begin, ends in ((0, [past] * 3), (past, lens)):
        pieces = [torch.arange(begin, end) + start for end, start in zip(ends, starts, strict=True)]
        chosen, news = torch.cat(pieces), [len(piece) for piece in pieces]
        batch = ForwardBatch(
            input_ids=whole.input_ids[chosen],
            positions=whole.positions[chosen],
            seq_lens=news,
            kv=PagedKV(
                k_pages=setting.keys,
                v_pages=setting.values,
                page_tables=whole.kv.page_tables,
                slots={kind: slots[chosen] for kind, slots in whole.kv.slots.items()},
                context_lens=ends,
                blocks=setting.blocks(news, ends),
            ),
            logits_rows=torch.tensor(news).cumsum(0) - 1,
        )
        if not setting.graphs.takes(batch):
            setting.model(batch.to(setting.keys[0].device))
            continue
        setting.poison()
        made = setting.graphs.run(batch)
    assert (made - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1, (32,)), (32, (32,)), (33, (32, 64)), (200, (32, 64, 128, 256)), (512, (32, 64, 128, 256, 512)),
        (1000, (32, 64, 128, 256, 512, 768, 1024)), (8192, (32, 64, 128, 256, 512, 768, 1024)),
    ],
)  # fmt: skip
def test_sizes_are_no_larger_than_passes_need(most, sizes):
    assert graph_sizes(most) == sizes
    assert pass_sizes(sizes, 40) == {size: min(size, 40) for size in sizes}
    assert pass_sizes(sizes, 1) == dict.fromkeys(sizes, 4)


@pytest.mark.gpu
def test_more_tokens_than_the_largest_are_not_taken(setting: _Setting):
    assert setting.graphs.takes(setting.batch([MOST_TOKENS], [0]))
    assert not setting.graphs.takes(setting.batch([MOST_TOKENS, 1], [0]))


@pytest.mark.gpu
@torch.inference_mode()
def test_the_same_bits_again(setting: _Setting):
    batch = setting.batch([100, 7], [99, 106])
    first = setting.graphs.run(batch).clone()
    setting.graphs.run(setting.batch([90], [3]))
    assert torch.equal(setting.graphs.run(batch), first)
