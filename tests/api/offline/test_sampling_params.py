"""SamplingParams: vLLM's fields, checked, and what the engine makes of them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from ossia import SamplingParams
from ossia.errors import RequestError
from ossia.types import SamplingParams as EngineParams

VLLM_FIELDS = """n best_of presence_penalty frequency_penalty repetition_penalty temperature top_p
top_k min_p seed stop stop_token_ids bad_words include_stop_str_in_output ignore_eos max_tokens
min_tokens logprobs prompt_logprobs detokenize skip_special_tokens spaces_between_special_tokens
logits_processors truncate_prompt_tokens output_kind guided_decoding structured_outputs logit_bias
allowed_token_ids extra_args"""


def test_fields_and_defaults_are_vllms():
    assert {one.name for one in fields(SamplingParams)} == set(VLLM_FIELDS.split())
    params = SamplingParams()
    assert (params.n, params.temperature, params.top_p, params.top_k) == (1, 1.0, 1.0, 0)
    assert (params.max_tokens, params.min_tokens, params.min_p) == (16, 0, 0.0)
    assert (params.detokenize, params.skip_special_tokens, params.ignore_eos) == (True, True, False)


def test_the_engine_gets_the_same_in_its_words():
    params = SamplingParams(
        n=2,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        repetition_penalty=1.1,
        temperature=0.3,
        top_p=0.9,
        top_k=-1,
        min_p=0.1,
        stop="x",
        stop_token_ids=[5, 200_002],
        max_tokens=None,
        min_tokens=3,
        logprobs=2,
        prompt_logprobs=0,
        logit_bias={"7": 1.5},  # type: ignore[dict-item]
    )
    assert params.to_engine(eos_ids=[200_002, 200_012], seed=4) == EngineParams(
        n=2,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        repetition_penalty=1.1,
        temperature=0.3,
        top_p=0.9,
        top_k=0,
        min_p=0.1,
        seed=4,
        stop_token_ids=(5, 200_002, 200_012),
        max_tokens=None,
        min_tokens=3,
        logprobs=2,
        prompt_logprobs=0,
        logit_bias={7: 1.5},
    )
    assert params.stop == ["x"]
    mine = SamplingParams(seed=9, ignore_eos=True, stop_token_ids=[5])
    assert mine.to_engine(eos_ids=[6], seed=4).stop_token_ids == (5,)
    assert mine.to_engine(seed=4).seed == 9
    assert SamplingParams(seed=-1).seed is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("best_of", 3),
        ("temperature", -1),
        ("top_p", 0),
        ("top_k", -2),
        ("min_p", 2),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("repetition_penalty", 0),
        ("max_tokens", 0),
        ("min_tokens", 20),
        ("logprobs", -1),
        ("prompt_logprobs", 1000),
        ("stop", [""]),
        ("stop", [3]),
        ("bad_words", [" "]),
        ("allowed_token_ids", []),
        ("truncate_prompt_tokens", 0),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {3: 500}),
        ("logits_processors", [len]),
        ("guided_decoding", object()),
        ("structured_outputs", object()),
        ("output_kind", 2),
        ("extra_args", {"a": 1}),
    ],
)
def test_bad_values_are_refused_by_name(field: str, value: Any):
    with pytest.raises(RequestError) as refused:
        SamplingParams(**{field: value})
    assert refused.value.field == field


def test_stop_strings_need_text():
    with pytest.raises(RequestError, match="detokenize"):
        SamplingParams(detokenize=False, stop="x")


def test_copies_and_optional_values():
    params = SamplingParams.from_optional(temperature=None, top_p=0.5, max_tokens=None)
    assert (params.temperature, params.top_p, params.max_tokens) == (1.0, 0.5, None)
    twin = params.clone()
    assert twin == params
    twin.stop = ["y"]
    assert params.stop == []
    with pytest.raises(RequestError, match="nonsense"):
        SamplingParams.from_optional(nonsense=1)
