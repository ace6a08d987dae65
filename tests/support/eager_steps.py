"""What steps on a GPU do, on the CPU by the model's own operations, for engines whose steps go ahead."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
import torch

from ossia.cache.layout import KVLayout
from ossia.engine import fast_decode
from ossia.engine.config import EngineConfig
from ossia.engine.fast_decode import FastDecode
from ossia.engine.kv_budget import layout_for
from ossia.engine.randomness import uniform
from ossia.engine.runner import ModelRunner
from ossia.engine.sampler import Sampler
from ossia.kernels.sampling import Drawing, sample
from ossia.model.batch import ForwardBatch, PagedKV
from ossia.model.decode_step import DecodeStep, StepOutput
from ossia.model.heads import CausalLM
from ossia.model.token_sets import TokenSets
from support.noted_steps import NoEvent


class EagerStep:
    """A DecodeStep: ids go from one step to the next, logits are overwritten, draws lie at two places in turn."""

    size_for = staticmethod(DecodeStep.size_for)
    sizes_for = staticmethod(DecodeStep.sizes_for)
    size_alike = staticmethod(DecodeStep.size_alike)

    def __init__(
        self,
        model: CausalLM,
        pages: Any,
        groups: Any,
        _: int,
        valid_end: int,
        max_rows: int,
        __: Any,
    ) -> None:
        self._model, self._groups, self._valid_end = model, groups, valid_end
        self._keys, self._values = zip(*pages, strict=True)
        size = self.size_for(max_rows)
        self.sets = TokenSets(model.config.vocab_size, torch.device("cpu"))
        self._ids = torch.zeros(size, dtype=torch.int32)
        self._logits = torch.zeros(size, model.config.vocab_size, dtype=torch.float64)
        self._drawn: dict[int, torch.Tensor] = {}
        self.from_host: list[bool] = []

    @torch.no_grad()
    def run(self, ids, positions, tables, size=None, chances=None) -> StepOutput:
        self.from_host.append(ids is not None)
        if ids is not None:
            self._ids[: len(ids)] = torch.tensor(ids)
        rows = [row for row, position in enumerate(positions) if position >= 0]
        at = torch.tensor([positions[row] for row in rows])
        slots, page_tables = {}, {}
        for group, kind in enumerate(self._groups):
            page_size = self._keys[0].shape[1]
            own = [tables[row][group] for row in rows]
            width = max(map(len, own))
            table = torch.tensor([[*some, *[0] * (width - len(some))] for some in own])
            page_tables[kind] = table.int()
            page = table[torch.arange(len(rows)), at // page_size]
            slots[kind] = page * page_size + at % page_size
        kv = PagedKV(
            k_pages=self._keys, v_pages=self._values, page_tables=page_tables, slots=slots,
            context_lens=(at + 1).tolist(),
        )  # fmt: skip
        self._logits[rows] = self._model(
            ForwardBatch(
                input_ids=self._ids[rows].long(), positions=at, seq_lens=[1] * len(rows), kv=kv
            )
        ).double()
        drawn = self._drawn.setdefault(
            size or self.size_for(len(positions)), torch.full((2, 2, len(self._ids)), -7).int()
        )
        for row in rows:
            id_, peak = self._draw(row, positions[row], chances)
            self._ids[row] = id_
            bits = torch.tensor(peak, dtype=torch.float32).view(torch.int32)
            drawn[positions[row] & 1, :, row] = torch.stack([torch.tensor(id_).int(), bits])
        count = len(positions)
        return StepOutput(self._logits[:count], self._ids[:count], drawn)

    def warm_up(self, *_: object, **__: object) -> None: ...

    def _draw(self, row: int, position: int, chances: Any) -> tuple[int, float]:
        logits = self._logits[row].clone()
        logits[self._valid_end :] = -torch.inf
        drawing = None
        if chances is not None:
            seed, continuation, first, coldness, top_k, top_p, reach, place = struct.unpack(
                "<QIifIffI", chances[row].tobytes()
            )
            if place:
                bits = int.from_bytes(bytes(self.sets.table[place - 1].tolist()), "little")
                allowed = [bool(bits >> id_ & 1) for id_ in range(len(logits))]
                logits[~torch.tensor(allowed)] = -torch.inf
            if coldness:
                drawing = Drawing(
                    temperature=1 / coldness, top_k=top_k, top_p=top_p, min_p=math.exp(-reach),
                    uniform=uniform(seed, continuation, position - first),
                )  # fmt: skip
        ids, peaks = sample(logits[None], [drawing])
        return int(ids), float(peaks)


def runner_with_steps(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What makes a ModelRunner whose steps go ahead as on a GPU; `fast` is its FastDecode."""
    monkeypatch.setattr(fast_decode, "DecodeStep", EagerStep)
    monkeypatch.setattr(fast_decode, "DecodeMemory", lambda *_, **__: None)
    monkeypatch.setattr(torch.cuda, "Event", NoEvent)

    def make(model: CausalLM, config: EngineConfig) -> ModelRunner:
        runner = ModelRunner(model, config)
        layout: KVLayout = layout_for(config, model.config)
        most, end = runner.limits.max_sequences, model.config.vocab_size
        alike = config.deterministic
        runner._fast = FastDecode(model, layout, runner._pool, 2**20, end, most, alike=alike)
        if alike:
            runner.rows_alike = most
            runner._sampler = Sampler(torch.device("cpu"), max(2, most))
        runner._cpu_decoder = runner._cpu_step = None
        runner.looks_ahead = True
        return runner

    return make
