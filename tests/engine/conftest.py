"""Engines' steps over what only notes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from ossia.engine import fast_decode
from ossia.engine.fast_decode import FastDecode
from support.noted_steps import PAGE, NoEvent, NotedStep


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FastDecode]:
    monkeypatch.setattr(fast_decode, "DecodeStep", NotedStep)
    monkeypatch.setattr(fast_decode, "DecodeMemory", lambda *_, **__: None)
    monkeypatch.setattr(torch.cuda, "Event", NoEvent)
    pages = (torch.zeros(1),)
    layout = SimpleNamespace(groups=("full_attention",), page_sizes=(PAGE,))
    pool = SimpleNamespace(k_pages=pages, v_pages=pages)
    return partial(FastDecode, SimpleNamespace(config=None), layout, pool, 64, 100)


@pytest.fixture
def fast(make) -> FastDecode:
    return make(8)
