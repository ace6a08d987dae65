"""The tables of arguments of tokenizers are complete and true."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from ossia.api.argument_table import Argument, ArgumentTable
from ossia.api.tokenizing.arguments import CHAT_TEMPLATE, FROM_PRETRAINED, SAVE_PRETRAINED
from ossia.api.tokenizing.auto_tokenizer import AutoTokenizer
from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from support.argument_tables import (
    check_refused,
    check_shown,
    keyword_names,
    refused,
    signature_names,
    supported,
)

TABLES = (FROM_PRETRAINED, SAVE_PRETRAINED, CHAT_TEMPLATE)
READERS = (
    transformers.AutoTokenizer.from_pretrained,
    PreTrainedTokenizerBase.from_pretrained,
    get_tokenizer_config,
)
MAKERS = (PreTrainedTokenizerBase.__init__, TokenizersBackend.__init__)
# Other names of `inputs`, which are refused by their place; and what the reading step hands on.
STEPS = {"init_inputs", "args"}


def test_every_argument_of_loading_is_in_the_table():
    theirs = set().union(*(signature_names(one) | keyword_names(one) for one in READERS))
    assert {"use_fast", "tokenizer_type", "mistral_format", "subfolder"} <= theirs
    made = set().union(*(signature_names(one) | keyword_names(one) for one in MAKERS))
    assert {"padding_side", "chat_template", "tokenizer_object"} <= made
    roles = set(PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES)
    assert (theirs | made | roles) - STEPS <= FROM_PRETRAINED.names


def test_every_argument_of_saving_is_in_the_table():
    function = PreTrainedTokenizerBase.save_pretrained
    theirs = signature_names(function) | keyword_names(function)
    assert {"legacy_format", "save_jinja_files"} <= theirs <= SAVE_PRETRAINED.names


def test_every_argument_of_apply_chat_template_is_in_the_table_and_the_signature():
    function = PreTrainedTokenizerBase.apply_chat_template
    theirs = signature_names(function) | keyword_names(function)
    assert {"conversation", "tokenizer_kwargs"} <= theirs <= set(CHAT_TEMPLATE.supported)
    assert signature_names(PreTrainedTokenizer.apply_chat_template) == theirs


def test_the_variables_of_the_template_are_in_the_table():
    tokenizer = AutoTokenizer.from_pretrained("random:tiny")
    asked = tokenizer._compiled(None).variables - {"messages"}
    assert asked <= set(CHAT_TEMPLATE.supported)


@pytest.mark.parametrize("one", refused(FROM_PRETRAINED))
def test_loading_refuses_by_name_with_the_way_round(one: Argument):
    if one.name == "inputs":  # by position
        check_refused(one, lambda inputs: AutoTokenizer.from_pretrained("random:tiny", inputs))
    else:
        check_refused(one, partial(AutoTokenizer.from_pretrained, "random:tiny"))


def test_what_asks_for_nothing_passes():
    neutral = {
        one.name: one.refusal.neutral[0] if one.refusal.neutral else None
        for one in FROM_PRETRAINED
        if one.refusal and one.name != "inputs"
    }
    assert AutoTokenizer.from_pretrained("random:tiny", **neutral).is_fast


@pytest.mark.parametrize("one", refused(SAVE_PRETRAINED))
def test_saving_refuses_by_name_with_the_way_round(one: Argument, tmp_path: Path):
    tokenizer: Any = AutoTokenizer.from_pretrained("random:tiny")
    check_refused(one, partial(tokenizer.save_pretrained, tmp_path / "it"))
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize(("table", "one"), supported(*TABLES))
def test_a_supported_one_has_a_test_that_names_it(table: ArgumentTable, one: Argument):
    check_shown(table, one)
