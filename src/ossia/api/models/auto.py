"""The Auto classes: gpt-oss has one class for each, so they only pass on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from ossia.api.models.causal_lm import GptOssForCausalLM
from ossia.api.models.config import GptOssConfig
from ossia.api.models.gpt_oss_model import GptOssModel
from ossia.api.models.pretrained import PreTrainedModel
from ossia.api.models.sequence_classification import GptOssForSequenceClassification
from ossia.api.models.token_classification import GptOssForTokenClassification
from ossia.config import ModelConfig
from ossia.errors import ConfigError

Model = TypeVar("Model", bound=PreTrainedModel)


class AutoConfig:
    """Reads the config of a model; there is one kind, GptOssConfig."""

    def __init__(self) -> None:
        _refuse(type(self).__name__)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        **options: Any,  # noqa: ANN401
    ) -> GptOssConfig:
        """As `GptOssConfig.from_pretrained`."""
        return GptOssConfig.from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def for_model(cls, model_type: str, **values: Any) -> GptOssConfig:  # noqa: ANN401
        """A new config of a kind.

        Raises:
            ConfigError: not "gpt_oss", or values that are no settings.
        """
        if model_type != GptOssConfig.model_type:
            raise ConfigError(f"model_type is {model_type!r}; Ossia runs only 'gpt_oss'")
        return GptOssConfig(**values)


class _AutoClass(Generic[Model]):
    """Makes models of one class."""

    model_class: ClassVar[type[Any]]

    def __init__(self) -> None:
        _refuse(type(self).__name__)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *model_args: object,
        **options: Any,  # noqa: ANN401
    ) -> Model:
        """As the class's own `from_pretrained`."""
        return cls.model_class.from_pretrained(
            pretrained_model_name_or_path, *model_args, **options
        )

    @classmethod
    def from_config(cls, config: GptOssConfig | ModelConfig, **options: Any) -> Model:  # noqa: ANN401
        """As the class's own `from_config`."""
        return cls.model_class.from_config(config, **options)


class AutoModel(_AutoClass[GptOssModel]):
    """Gives a GptOssModel."""

    model_class = GptOssModel


class AutoModelForCausalLM(_AutoClass[GptOssForCausalLM]):
    """Gives a GptOssForCausalLM."""

    model_class = GptOssForCausalLM


class AutoModelForSequenceClassification(_AutoClass[GptOssForSequenceClassification]):
    """Gives a GptOssForSequenceClassification."""

    model_class = GptOssForSequenceClassification


class AutoModelForTokenClassification(_AutoClass[GptOssForTokenClassification]):
    """Gives a GptOssForTokenClassification."""

    model_class = GptOssForTokenClassification


def _refuse(name: str) -> NoReturn:
    raise ConfigError(f"{name} is not built itself; call {name}.from_pretrained or its siblings")
