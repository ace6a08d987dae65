"""The tables of arguments of models and configs are complete and true."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import transformers
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from ossia import AutoConfig, AutoModel, GptOssConfig, GptOssForCausalLM, GptOssModel
from ossia.api.argument_table import Argument, ArgumentTable
from ossia.api.models.arguments import (
    CONFIG_FROM_PRETRAINED,
    CONFIG_SAVE_PRETRAINED,
    FROM_PRETRAINED,
    SAVE_PRETRAINED,
)
from ossia.api.models.config_defaults import SETTINGS
from support.argument_tables import (
    check_refused,
    check_shown,
    keyword_names,
    refused,
    signature_names,
    supported,
)
from support.twins import small_settings

TABLES = (FROM_PRETRAINED, CONFIG_FROM_PRETRAINED, SAVE_PRETRAINED, CONFIG_SAVE_PRETRAINED)
CONFIG_READERS = (
    transformers.AutoConfig.from_pretrained,
    transformers.PreTrainedConfig.from_pretrained,
    transformers.PreTrainedConfig.get_config_dict,
    transformers.PreTrainedConfig._get_config_dict,
    transformers.PreTrainedConfig.from_dict,
    transformers.PreTrainedConfig.__post_init__,
)
# Arguments of steps inside, which users do not call.
STEPS = {"config_dict"}


def _theirs(*functions: Any) -> set[str]:
    return set().union(*(signature_names(one) | keyword_names(one) for one in functions))


def test_every_argument_of_a_model_is_in_the_table():
    theirs = _theirs(
        transformers.PreTrainedModel.from_pretrained, _BaseAutoModelClass.from_pretrained
    )
    assert {"dtype", "state_dict", "low_cpu_mem_usage", "experts_implementation"} <= theirs
    assert theirs <= FROM_PRETRAINED.names | SETTINGS


def test_every_argument_of_a_config_is_in_the_table():
    theirs = _theirs(*CONFIG_READERS) - STEPS
    assert {"subfolder", "return_unused_kwargs", "num_labels"} <= theirs
    assert theirs <= CONFIG_FROM_PRETRAINED.names | SETTINGS


def test_every_setting_of_transformers_is_known():
    theirs = transformers.GptOssConfig(per_layer_config=None)
    ours = GptOssConfig(**theirs.to_dict())
    assert {name for name in theirs.to_dict() if not hasattr(ours, name)} <= {
        "transformers_version"
    }


def test_every_argument_of_saving_is_in_the_table():
    model = transformers.PreTrainedModel.save_pretrained
    theirs = signature_names(model) | keyword_names(model)
    assert {"max_shard_size", "repo_id"} <= theirs <= SAVE_PRETRAINED.names
    config = transformers.PreTrainedConfig.save_pretrained
    theirs = signature_names(config) | keyword_names(config)
    assert {"push_to_hub", "token"} <= theirs <= CONFIG_SAVE_PRETRAINED.names


def test_what_is_supported_is_in_our_signatures():
    for table, function in (
        (FROM_PRETRAINED, GptOssModel.from_pretrained),
        (CONFIG_FROM_PRETRAINED, GptOssConfig.from_pretrained),
        (SAVE_PRETRAINED, GptOssModel.save_pretrained),
        (CONFIG_SAVE_PRETRAINED, GptOssConfig.save_pretrained),
    ):
        assert signature_names(function) - table.refused.keys() == set(table.supported)


@pytest.mark.parametrize("one", refused(FROM_PRETRAINED))
def test_loading_a_model_refuses_by_name_with_the_way_round(one: Argument):
    if one.name == "model_args":  # by position
        check_refused(one, lambda model_args: AutoModel.from_pretrained("random:tiny", model_args))
    else:
        check_refused(one, partial(AutoModel.from_pretrained, "random:tiny"))


@pytest.mark.parametrize("one", refused(CONFIG_FROM_PRETRAINED))
def test_loading_a_config_refuses_by_name_with_the_way_round(one: Argument):
    check_refused(one, partial(AutoConfig.from_pretrained, "random:tiny"))


@pytest.mark.parametrize("one", refused(SAVE_PRETRAINED))
def test_saving_a_model_refuses_by_name_with_the_way_round(one: Argument, tmp_path: Any):
    model = GptOssForCausalLM(small_settings(num_hidden_layers=1))
    check_refused(one, partial(model.save_pretrained, tmp_path / "it"))
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("one", refused(CONFIG_SAVE_PRETRAINED))
def test_saving_a_config_refuses_by_name_with_the_way_round(one: Argument, tmp_path: Any):
    check_refused(one, partial(small_settings().save_pretrained, tmp_path / "it"))
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize(("table", "one"), supported(*TABLES))
def test_a_supported_one_has_a_test_that_names_it(table: ArgumentTable, one: Argument):
    check_shown(table, one)
