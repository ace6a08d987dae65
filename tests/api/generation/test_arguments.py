"""The tables of arguments are complete and true."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import torch
import transformers

from ossia import GenerationConfig, GptOssForCausalLM
from ossia.api.argument_table import Argument, ArgumentTable
from ossia.api.generation import peers
from ossia.api.generation.arguments import GENERATE, SETTINGS
from ossia.api.generation.config import FIELD_NAMES
from ossia.errors import RequestError
from support.argument_tables import (
    check_refused,
    check_shown,
    keyword_names,
    refused,
    signature_names,
    supported,
)
from support.generation import prompts, shared_pair, small_lm

METADATA = {"_from_model_config"}  # how a config came about; not a setting


def test_every_argument_of_transformers_is_in_the_table_and_the_signature():
    names = signature_names(transformers.GptOssForCausalLM.generate)
    assert signature_names(GptOssForCausalLM.generate) == names
    names |= keyword_names(transformers.GptOssForCausalLM.generate)
    assert names <= GENERATE.names | SETTINGS.names


def test_every_forward_argument_that_generate_may_pass_on_is_in_the_table():
    names = signature_names(transformers.GptOssForCausalLM.forward)
    assert names <= GENERATE.names | SETTINGS.names


def test_every_setting_of_transformers_is_in_the_table():
    theirs = set(transformers.GenerationConfig().to_dict()) - METADATA
    assert theirs <= SETTINGS.names
    assert SETTINGS.names == FIELD_NAMES


@pytest.mark.parametrize("one", [*refused(GENERATE), *refused(SETTINGS)])
def test_a_refused_one_is_refused_by_name_with_the_way_round(one: Argument):
    model, _ = shared_pair()
    check_refused(one, partial(model.generate, prompts(1, 3), max_new_tokens=1))
    if one.name in SETTINGS.names:
        check_refused(one, GenerationConfig)


@pytest.mark.parametrize(("table", "one"), supported(GENERATE, SETTINGS))
def test_a_supported_one_has_a_test_that_names_it(table: ArgumentTable, one: Argument):
    check_shown(table, one)


def test_a_slip_of_the_pen_is_refused_with_the_nearest_name():
    model, _ = shared_pair()
    with pytest.raises(RequestError, match=r"^max_new_token: .*did you mean max_new_tokens\?"):
        model.generate(prompts(1, 3), max_new_token=1)
    with pytest.raises(RequestError, match=r"^xyzzy: is no argument of generate"):
        model.generate(prompts(1, 3), xyzzy=1)


def test_none_passes_for_every_argument():
    model, _ = shared_pair()
    nothing = dict.fromkeys((GENERATE.names | SETTINGS.names) - {"inputs", "input_ids"})
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
