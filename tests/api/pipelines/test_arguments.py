"""The tables of arguments of pipelines are complete and true."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import transformers
from transformers.pipelines.base import Pipeline

from ossia import pipeline
from ossia.api.argument_table import Argument, ArgumentTable
from ossia.api.models.config import GptOssConfig
from ossia.api.models.sequence_classification import GptOssForSequenceClassification
from ossia.api.models.token_classification import GptOssForTokenClassification
from ossia.api.pipelines.arguments import (
    PIPELINE,
    TEXT_CLASSIFICATION,
    TEXT_GENERATION,
    TOKEN_CLASSIFICATION,
)
from support.argument_tables import (
    check_refused,
    check_shown,
    keyword_names,
    refused,
    signature_names,
    supported,
)
from support.folders import tiny_config, write_tiny_folder

TABLES = (PIPELINE, TEXT_GENERATION, TEXT_CLASSIFICATION, TOKEN_CLASSIFICATION)
CALLS: dict[str, tuple[Any, ArgumentTable]] = {
    "text-generation": (transformers.TextGenerationPipeline, TEXT_GENERATION),
    "text-classification": (transformers.TextClassificationPipeline, TEXT_CLASSIFICATION),
    "token-classification": (transformers.TokenClassificationPipeline, TOKEN_CLASSIFICATION),
}


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_tiny_folder(tmp_path_factory.mktemp("arguments") / "m")
    config = GptOssConfig.from_model_config(tiny_config(expert_format="dense"))
    models: dict[str, Any] = {
        "text-generation": folder,
        "text-classification": GptOssForSequenceClassification(config),
        "token-classification": GptOssForTokenClassification(config),
    }
    return {task: pipeline(task, model=model, device=-1) for task, model in models.items()}


def test_every_argument_of_the_factory_is_in_the_table():
    theirs = signature_names(transformers.pipeline) | keyword_names(transformers.pipeline)
    assert {"torch_dtype", "local_files_only", "use_fast"} <= theirs
    made = signature_names(Pipeline.__init__) | keyword_names(Pipeline.__init__)
    assert {"binary_output", "batch_size", "assistant_model"} <= made
    assert theirs | made <= PIPELINE.names


@pytest.mark.parametrize("task", CALLS)
def test_every_argument_of_a_call_is_in_the_table(task: str):
    kind, table = CALLS[task]
    theirs = signature_names(kind._sanitize_parameters)
    holders = ("kwargs", "generate_kwargs", "tokenizer_kwargs")
    theirs |= keyword_names(kind._sanitize_parameters, holders)
    theirs |= signature_names(Pipeline.__call__) | signature_names(kind.__call__)
    if task == "text-generation":
        assert {"padding", "stop_sequence", "text_inputs"} <= theirs
    assert theirs - {"args"} <= table.names  # positions beyond the first are ignored there


@pytest.mark.parametrize("one", refused(PIPELINE))
def test_making_one_refuses_by_name_with_the_way_round(one: Argument):
    check_refused(one, partial(pipeline, model="random:tiny"))


@pytest.mark.parametrize(
    ("task", "one"),
    [
        pytest.param(task, one, id=f"{task}-{one.name}")
        for task, (_, table) in CALLS.items()
        for one in table
        if one.refusal
    ],
)
def test_a_call_refuses_by_name_with_the_way_round(pipes: dict[str, Any], task: str, one: Argument):
    first = () if one.name == "inputs" else ("a",)
    if first:
        check_refused(one, partial(pipes[task], *first))
    else:  # would be the texts' own name in the other pipelines
        check_refused(one, lambda inputs: pipes[task](text_inputs="a", inputs=inputs))


@pytest.mark.parametrize("task", CALLS)
def test_what_asks_for_nothing_passes(pipes: dict[str, Any], task: str):
    _, table = CALLS[task]
    neutral = {
        one.name: one.refusal.neutral[0] if one.refusal.neutral else None
        for one in table
        if one.refusal
    }
    options = {"max_new_tokens": 1} if task == "text-generation" else {}
    assert pipes[task]("a", **neutral, **options)


@pytest.mark.parametrize(("table", "one"), supported(*TABLES))
def test_a_supported_one_has_a_test_that_names_it(table: ArgumentTable, one: Argument):
    check_shown(table, one)
