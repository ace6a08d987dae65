"""The table of arguments is complete, true, and what the documentation says."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path

import pytest
import torch
import transformers

from ossia import GenerationConfig, GptOssForCausalLM
from ossia.api.generation import peers
from ossia.api.generation.arguments import Argument, arguments, as_markdown
from ossia.api.generation.config import FIELD_NAMES
from ossia.errors import RequestError
from support.generation import prompts, shared_pair, small_lm

HERE = Path(__file__).parent
TABLE = {(one.name, one.is_setting): one for one in arguments()}
METADATA = {"_from_model_config"}  # how a config came about; not a setting


def test_every_argument_of_transformers_is_in_the_table_and_the_signature():
    theirs = inspect.signature(transformers.GptOssForCausalLM.generate).parameters
    ours = inspect.signature(GptOssForCausalLM.generate).parameters
    names = [name for name in theirs if name not in ("self", "kwargs")]
    assert [name for name in ours if name not in ("self", "kwargs")] == names
    assert {name for name in names if (name, False) not in TABLE} == set()


def test_every_forward_argument_that_generate_may_pass_on_is_in_the_table():
    theirs = inspect.signature(transformers.GptOssForCausalLM.forward).parameters
    names = {name for name in theirs if name not in ("self", "kwargs")}
    settings = {name for name, is_setting in TABLE if is_setting}
    assert {name for name in names - settings if (name, False) not in TABLE} == set()


def test_every_setting_of_transformers_is_in_the_table():
    theirs = set(transformers.GenerationConfig().to_dict()) - METADATA
    assert {name for name in theirs if (name, True) not in TABLE} == set()
    assert {name for name, is_setting in TABLE if is_setting} == FIELD_NAMES


@pytest.mark.parametrize(
    "one", [one for one in TABLE.values() if one.way_round], ids=lambda o: o.name
)
def test_a_refused_one_is_refused_by_name_with_the_way_round(one: Argument):
    assert one.shown_by is None
    model, _ = shared_pair()
    with pytest.raises(RequestError) as caught:
        model.generate(prompts(1, 3), max_new_tokens=1, **{one.name: "something"})
    assert caught.value.field == one.name
    assert one.way_round in str(caught.value)
    if one.is_setting:
        with pytest.raises(RequestError, match=f"^{one.name}: "):
            GenerationConfig(**{one.name: "something"})


@pytest.mark.parametrize(
    "one", [one for one in TABLE.values() if not one.way_round], ids=lambda o: o.name
)
def test_a_supported_one_has_a_test_that_names_it(one: Argument):
    file, name = one.shown_by.split("::")
    text = (HERE / file).read_text()
    assert f"def {name}(" in text
    if one.name not in ("inputs", "transformers_version"):
        assert one.name in text


def test_the_documentation_is_this_table():
    page = HERE.parents[2] / "docs" / "generate.md"
    assert page.read_text() == as_markdown()


def test_a_slip_of_the_pen_is_refused_with_the_nearest_name():
    model, _ = shared_pair()
    with pytest.raises(RequestError, match=r"^max_new_token: .*did you mean max_new_tokens\?"):
        model.generate(prompts(1, 3), max_new_token=1)
    with pytest.raises(RequestError, match=r"^xyzzy: no such argument"):
        model.generate(prompts(1, 3), xyzzy=1)


def test_none_passes_for_every_argument():
    model, _ = shared_pair()
    nothing = {one.name: None for one in TABLE.values() if one.name not in ("inputs", "input_ids")}
    nothing |= {"max_new_tokens": 2}
    assert model.generate(prompts(1, 3), **nothing).shape == (1, 5)


def test_prefixes():
    model, twin = shared_pair()

    def follow(batch_id, sent):
        return [20 + batch_id, 40 + len(sent)]

    for options in ({}, {"num_beams": 2}):
        outputs = [
            one.generate(
                prompts(2, 3), max_new_tokens=5, prefix_allowed_tokens_fn=follow, **options
            )
            for one in (model, twin)
        ]
        assert torch.equal(*outputs)


def test_forced_first_tokens():
    model, twin = shared_pair()
    outputs = [
        one.generate(torch.tensor([[9]]), max_new_tokens=4, forced_bos_token_id=33)
        for one in (model, twin)
    ]
    assert torch.equal(*outputs)
    assert outputs[0][0, 1] == 33


def test_settings_that_ask_for_nothing():
    model, _ = shared_pair()
    neutral = {"disable_compile": True, "guidance_scale": 1.0, "num_beam_groups": 1}
    assert model.generate(prompts(1, 3), max_new_tokens=2, **neutral).shape == (1, 5)


class OneAfterTheOther:
    """torch.distributed for threads that stand for processes."""

    def __init__(self, size: int) -> None:
        self.counts: list[int] = []
        self.size = size
        self.barrier = threading.Barrier(size, timeout=60)

    def is_initialized(self) -> bool:
        return True

    def all_reduce(self, count: torch.Tensor) -> None:
        self.counts.append(int(count))
        self.barrier.wait()
        count.fill_(sum(self.counts[-self.size :]))
        self.barrier.wait()


def test_processes_wait_for_each_other(monkeypatch):
    lengths = [2, 6]
    monkeypatch.setattr(peers, "dist", OneAfterTheOther(len(lengths)))
    found: dict[int, tuple[int, int]] = {}

    def work(rank: int) -> None:
        model, passes = small_lm(), []
        model.model.register_forward_hook(lambda *args: passes.append(1))
        ids = model.generate(
            prompts(1, 3), max_new_tokens=lengths[rank], eos_token_id=None, synced_gpus=True
        )
        found[rank] = (ids.shape[1], len(passes))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(lengths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The one that is done goes on beside the other.
    assert found == {0: (5, 6), 1: (9, 6)}
