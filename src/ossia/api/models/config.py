"""GptOssConfig: a model's config.json as a mutable object with transformers' attribute names."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ossia.api.argument_table import or_nearest, refuse, refuse_all_but, refuse_unknown
from ossia.api.model_source import in_subfolder
from ossia.api.models.arguments import CONFIG_FROM_PRETRAINED, CONFIG_SAVE_PRETRAINED
from ossia.api.models.config_defaults import (
    ALIASES,
    DEFAULTS,
    LABEL_KEYS,
    ROPE_KEYS,
    SETTINGS,
)
from ossia.api.models.config_source import read_raw_config
from ossia.api.models.label_names import label_names
from ossia.api.placement import float_dtype
from ossia.checkpoint.config_file import CONFIG_FILE
from ossia.config import ModelConfig, RopeScaling
from ossia.errors import ConfigError, RequestError
from ossia.log import logger

_log = logger(__name__)


class GptOssConfig:
    """Shape of a gpt-oss model, and what its heads and losses need besides.

    Attributes are the keys of config.json; `num_experts` is `num_local_experts`, `torch_dtype` is
    `dtype`. Reading a name that is neither set nor known raises AttributeError. Changes count when
    a model is built, or a file written, from the config.

    Args:
        **values: Any known key; what is not given has transformers' default.

    Raises:
        ConfigError: an unknown key, a value that is out of range, or two that contradict each
            other.
    """

    model_type: ClassVar[str] = "gpt_oss"
    attribute_map: ClassVar[Mapping[str, str]] = ALIASES
    is_encoder_decoder: ClassVar[bool] = False

    def __init__(self, **values: Any) -> None:  # noqa: ANN401
        _check_known(values)
        self._fill(values)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], **overrides: Any) -> GptOssConfig:  # noqa: ANN401
        """From the object of a config.json; keys that Ossia does not know are kept.

        Args:
            raw: Of the Hugging Face kind, or of the `original` kind.
            **overrides: Known keys that are to have another value.

        Raises:
            ConfigError: as the constructor, but for unknown keys of `raw`.
        """
        if "model_type" not in raw:
            raw = ModelConfig.from_dict(raw).to_hf()
        if raw["model_type"] != cls.model_type:
            raise ConfigError(f"model_type is {raw['model_type']!r}; Ossia runs only 'gpt_oss'")
        _check_known(overrides)
        config = cls.__new__(cls)
        config._fill({**_without(raw, overrides), **overrides})
        return config

    @classmethod
    def from_model_config(cls, config: ModelConfig) -> GptOssConfig:
        """The same shape as an object of this kind."""
        return cls.from_dict(config.to_hf())

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        token: str | bool | None = None,
        subfolder: str | None = None,
        trust_remote_code: bool | None = None,
        return_unused_kwargs: bool = False,
        **overrides: Any,  # noqa: ANN401
    ) -> GptOssConfig:
        """Read the config.json of a model; weights are not downloaded.

        Args:
            pretrained_model_name_or_path: A folder of either layout, a hub id, `demo`, or
                `random:20b|120b|tiny`.
            revision: Branch, tag or commit of a hub id.
            cache_dir: Where hub files are kept.
            local_files_only: Never download.
            force_download: Download a hub id's again.
            token: Access token of the hub.
            subfolder: Where in a folder the config is.
            trust_remote_code: Accepted: no code of a repository is ever run.
            return_unused_kwargs: Return a pair: the config, and which overrides it does not know.
            **overrides: Known keys that are to have another value.

        Raises:
            ModelNotFoundError: nothing has this name.
            ConfigError: not of gpt-oss, or contradictory.
            RequestError: an argument that is unknown or not supported; names it.
        """
        if trust_remote_code:
            _log.info("trust_remote_code makes no difference: no code of a repository is run")
        refuse(overrides, CONFIG_FROM_PRETRAINED.refused)
        name = in_subfolder(pretrained_model_name_or_path, subfolder)
        raw = read_raw_config(
            name,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
            token=token,
        )
        for key in overrides.keys() & CONFIG_FROM_PRETRAINED.refused.keys():
            del overrides[key]
        unused = {key: overrides.pop(key) for key in set(overrides) - SETTINGS}
        if unused and not return_unused_kwargs:
            known = CONFIG_FROM_PRETRAINED.names | SETTINGS
            refuse_unknown(min(unused), "AutoConfig.from_pretrained", known)
        config = cls.from_dict(raw, **overrides)
        config._name_or_path = name
        return (config, unused) if return_unused_kwargs else config  # type: ignore[return-value]

    def to_model_config(self) -> ModelConfig:
        """The frozen config that modules are built from.

        Raises:
            ConfigError: a value is out of range, or two contradict each other.
        """
        return ModelConfig.from_hf(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The object of a config.json that every version of transformers reads."""
        raw = _jsonable(
            {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
        )
        raw = copy.deepcopy(raw)
        if raw["quantization_config"] is None:
            del raw["quantization_config"]
        del raw["rope_parameters"]
        raw |= {
            "dtype": None if self.dtype is None else str(self.dtype).removeprefix("torch."),
            "experts_per_token": self.num_experts_per_tok,
            "model_type": self.model_type,
            "rope_scaling": self.rope_scaling,
            "rope_theta": self.rope_theta,
        }
        return dict(sorted(raw.items()))

    def to_json_string(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def save_pretrained(self, save_directory: str | Path, **unsupported: object) -> None:
        """Write config.json.

        Args:
            save_directory: The folder; made if need be.
            **unsupported: Refused, with the way round, unless they ask for nothing.

        Raises:
            RequestError: an argument that is not supported.
        """
        refuse_all_but(unsupported, CONFIG_SAVE_PRETRAINED, "save_pretrained")
        path = Path(save_directory)
        path.mkdir(parents=True, exist_ok=True)
        (path / CONFIG_FILE).write_text(self.to_json_string(), encoding="utf-8")

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several attributes."""
        for name, value in values.items():
            setattr(self, name, value)

    def get_text_config(self, decoder: bool = False) -> GptOssConfig:
        """This config: there is no other part."""
        del decoder
        return self

    @property
    def num_labels(self) -> int:
        """Classes of a classification head; setting it names them LABEL_0 and so on."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if type(count) is not int or count < 1:
            raise ConfigError(f"num_labels is {count!r}; expected a positive integer")
        if count != len(self.id2label):
            self.id2label, self.label2id = label_names(None, None, count)

    @property
    def rope_theta(self) -> float:
        """The `rope_theta` of `rope_parameters`."""
        return self.rope_parameters["rope_theta"]

    @rope_theta.setter
    def rope_theta(self, value: float) -> None:
        self.rope_parameters = {**self.rope_parameters, "rope_theta": value}

    @property
    def rope_scaling(self) -> dict[str, Any]:
        """`rope_parameters` without `rope_theta`, as older configs have it."""
        return {name: value for name, value in self.rope_parameters.items() if name != "rope_theta"}

    @rope_scaling.setter
    def rope_scaling(self, value: Mapping[str, Any]) -> None:
        self.rope_parameters = {**value, "rope_theta": self.rope_theta}

    @property
    def use_return_dict(self) -> bool:
        """`return_dict`, under transformers' other name."""
        return self.return_dict

    @property
    def name_or_path(self) -> str:
        """What the config was loaded from."""
        return self._name_or_path

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        target = ALIASES.get(name)
        if target is None or target not in self.__dict__:
            raise AttributeError(f"GptOssConfig has no attribute {name!r}")
        return self.__dict__[target]

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401
        name = ALIASES.get(name, name)
        if name == "dtype":
            value = float_dtype(value)
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GptOssConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __repr__(self) -> str:
        return f"GptOssConfig {self.to_json_string()}"

    def _fill(self, values: Mapping[str, Any]) -> None:
        given = {name: value for name, value in values.items() if name not in _ONE_WAY}
        for alias, target in ALIASES.items():
            if alias in given:
                given[target] = _agreed(given, alias, target)
        plain = {name: value for name, value in given.items() if name not in _DERIVED}
        nulls = {name for name, value in plain.items() if value is None and name in DEFAULTS}
        plain = {**DEFAULTS, **{name: plain[name] for name in plain if name not in nulls}}
        rope = {name: given[name] for name in ROPE_KEYS if given.get(name) is not None}
        # Also says what is wrong with any of the values.
        shape = ModelConfig.from_hf({**_jsonable(plain), **rope, "model_type": self.model_type})
        plain["layer_types"] = list(shape.layer_types)
        self.rope_parameters = _rope_parameters(shape.rope_scaling, shape.rope_theta)
        self.id2label, self.label2id = label_names(*(given.get(name) for name in LABEL_KEYS))
        self._name_or_path = str(given.get("_name_or_path", given.get("name_or_path", "")))
        self._attn_implementation = given.get("_attn_implementation")
        for name, value in plain.items():
            try:
                setattr(self, name, copy.deepcopy(value))
            except RequestError as error:
                raise ConfigError(str(error)) from error


_ONE_WAY = frozenset({"model_type", "is_encoder_decoder"})  # said by the class
_DERIVED = frozenset(
    {*ROPE_KEYS, *LABEL_KEYS, *ALIASES, "_name_or_path", "name_or_path", "_attn_implementation"}
)


def _check_known(values: Mapping[str, Any]) -> None:
    unknown = sorted(set(values) - SETTINGS)
    if unknown:
        hint = or_nearest(unknown[0], SETTINGS)
        raise ConfigError(f"{unknown[0]} is no setting of a gpt-oss model{hint}")


def _without(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a file once some settings are to have other values."""
    names = {ALIASES.get(name, name) for name in overrides}
    for group in (ROPE_KEYS, LABEL_KEYS):
        if names & set(group):
            names |= set(group)
    return {name: value for name, value in raw.items() if ALIASES.get(name, name) not in names}


def _agreed(given: Mapping[str, Any], alias: str, target: str) -> Any:  # noqa: ANN401
    value = given[alias]
    if given.get(target, value) != value:
        raise ConfigError(
            f"{alias}={value} and {target}={given[target]} contradict each other; keep one"
        )
    return value


def _jsonable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.to_dict() if hasattr(value, "to_dict") else value
        for name, value in values.items()
    }


def _rope_parameters(scaling: RopeScaling, theta: float) -> dict[str, Any]:
    if scaling.factor <= 1.0:
        return {"rope_type": "default", "rope_theta": theta}
    return {
        "rope_type": "yarn",
        "factor": scaling.factor,
        "beta_fast": scaling.beta_fast,
        "beta_slow": scaling.beta_slow,
        "truncate": scaling.truncate,
        "original_max_position_embeddings": scaling.original_max_position_embeddings,
        "rope_theta": theta,
    }
