"""Classification against transformers' pipelines on the same random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ossia
from ossia.errors import RequestError
from support.tokenizer_folder import write_tokenizer_folder

LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "LOC"}
TEXTS = ["Naïve Zoë lives in New York-City 🫠", "a b"]


def _folder(path: Path, head: str) -> Path:
    import transformers

    config = transformers.GptOssConfig(
        num_hidden_layers=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        vocab_size=201_088,
        hidden_size=32,
        intermediate_size=32,
        head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
        pad_token_id=199_999,
        id2label=LABELS,
        label2id={name: number for number, name in LABELS.items()},
    )
    torch.manual_seed(1)
    model = getattr(transformers, f"GptOssFor{head}")(config)
    with torch.no_grad():
        model.score.weight.normal_()
    model.save_pretrained(path)
    return write_tokenizer_folder(path)


@pytest.fixture(scope="module", params=["text-classification", "token-classification"])
def both(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Any]:
    import transformers

    head = {"text": "SequenceClassification", "token": "TokenClassification"}
    folder = _folder(tmp_path_factory.mktemp("labels") / "model", head[request.param.split("-")[0]])
    ours = ossia.pipeline(model=folder, dtype="float32", device=-1)
    theirs = transformers.pipeline(request.param, model=str(folder), dtype="float32", device=-1)
    return request.param, ours, theirs


def _close(found: Any, expected: Any) -> None:
    """Equal but for the last digits of scores."""
    assert type(found) is type(expected) or np.isscalar(found)
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            if name == "score":
                assert float(value) == pytest.approx(float(expected[name]), abs=1e-4)
            else:
                assert value == expected[name], name
    elif isinstance(found, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _close(one, other)


TEXT_OPTIONS: list[dict[str, Any]] = [
    {},
    {"top_k": None},
    {"top_k": 2},
    {"top_k": 1},
    {"function_to_apply": "sigmoid"},
    {"function_to_apply": "none", "top_k": 3},
    {"truncation": True, "max_length": 2},
    {"batch_size": 2, "padding": True},
]
TOKEN_OPTIONS: list[dict[str, Any]] = [
    {},
    {"ignore_labels": []},
    {"ignore_labels": ["LOC"], "aggregation_strategy": "none"},
    {"aggregation_strategy": "simple"},
    {"aggregation_strategy": "simple", "ignore_labels": []},
]


def test_shapes_and_values_are_transformers(both: tuple[str, Any, Any]) -> None:
    task, ours, theirs = both
    assert ours.task == task
    for options in TEXT_OPTIONS if task == "text-classification" else TOKEN_OPTIONS:
        for inputs in (*TEXTS, TEXTS, TEXTS[:1]):
            _close(ours(inputs, **options), theirs(inputs, **options))
    assert list(ours(text for text in TEXTS)) == ours(TEXTS)


@pytest.mark.parametrize("both", ["token-classification"], indirect=True)
@pytest.mark.parametrize("strategy", ["first", "average", "max"])
def test_words_get_one_label(both: tuple[str, Any, Any], strategy: str) -> None:
    _, ours, theirs = both
    text = "Zoe lives in New York-City now"  # transformers garbles what is not ASCII here
    options: dict[str, Any] = {"aggregation_strategy": strategy, "ignore_labels": []}
    with pytest.warns(UserWarning, match="heuristic"):
        expected = theirs(text, **options)
    _close(ours(text, **options), expected)


@pytest.mark.parametrize("both", ["token-classification"], indirect=True)
def test_words_can_be_given(both: tuple[str, Any, Any]) -> None:
    _, ours, theirs = both
    words = ["Zoe", "lives", "there"]
    options: dict[str, Any] = {"is_split_into_words": True, "ignore_labels": []}
    _close(ours(words, **options), theirs(words, **options))
    _close(ours([words, words[:1]], **options), theirs([words, words[:1]], **options))
    options["delimiter"] = " - "
    _close(ours(words, **options), theirs(words, **options))


@pytest.mark.parametrize("both", ["text-classification"], indirect=True)
def test_options_of_the_tokenizer_go_by_both_ways(both: tuple[str, Any, Any]) -> None:
    _, ours, theirs = both
    for options in (
        {"padding": "max_length", "max_length": 12, "padding_side": "left"},
        {"padding": True, "pad_to_multiple_of": 8, "add_special_tokens": False},
        {"split_special_tokens": True},
    ):
        expected = theirs("a <|end|> b", **options)
        _close(ours("a <|end|> b", **options), expected)
        _close(ours("a <|end|> b", tokenizer_kwargs=options), expected)


def test_inputs_go_by_name(both: tuple[str, Any, Any]) -> None:
    _, ours, _ = both
    _close(ours(inputs="a b"), ours("a b"))


def test_a_slip_of_the_pen_is_refused_with_the_nearest_name(both: tuple[str, Any, Any]) -> None:
    task, ours, _ = both
    name, near = {
        "text-classification": ("truncate", "truncation"),
        "token-classification": ("agregation_strategy", "aggregation_strategy"),
    }[task]
    with pytest.raises(RequestError, match=rf"^{name}: .*did you mean {near}\?"):
        ours("a", **{name: "simple"})


def test_what_cannot_be_met_is_refused_by_name(both: tuple[str, Any, Any]) -> None:
    task, ours, _ = both
    refused = {
        "text-classification": [
            ("top_k", "a", {"top_k": 0}),
            ("function_to_apply", "a", {"function_to_apply": "tanh"}),
            ("frobnicate", "a", {"frobnicate": 1}),
            ("inputs", {"text": "a", "text_pair": "b"}, {}),
            ("inputs", [5], {}),
        ],
        "token-classification": [
            ("aggregation_strategy", "a", {"aggregation_strategy": "mean"}),
            ("stride", "a", {"stride": 3}),
            ("frobnicate", "a", {"frobnicate": 1}),
            ("inputs", [5], {}),
        ],
    }[task]
    for field, inputs, options in refused:
        with pytest.raises(RequestError) as error:
            ours(inputs, **options)
        assert error.value.field == field
