"""PreTrainedModel: how all model classes are made, loaded and saved."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import torch

from ossia.api.argument_table import refuse, refuse_all_but
from ossia.api.model_source import ModelSource, find_model, in_subfolder
from ossia.api.models.arguments import FROM_PRETRAINED, SAVE_PRETRAINED
from ossia.api.models.attn_names import checked_attention
from ossia.api.models.config import GptOssConfig
from ossia.api.models.device_map import parse_bytes
from ossia.api.models.load_options import (
    check_kernels,
    check_spread,
    checked_options,
    one_dtype,
    say_no_code_is_run,
)
from ossia.api.models.manners import ModelManners
from ossia.api.models.quantization import Mxfp4Config
from ossia.api.models.saving import save_model
from ossia.api.models.weights import canonical_names, load_weights
from ossia.api.placement import Dtype
from ossia.checkpoint.head import Head, HeadKind
from ossia.config import ModelConfig
from ossia.distributed import DistributedConfig
from ossia.errors import RequestError
from ossia.log import logger

_log = logger(__name__)


class PreTrainedModel(ModelManners):
    """A model with a config, whose parameters are named as in transformers."""

    config_class: ClassVar[type[GptOssConfig]] = GptOssConfig
    head_kind: ClassVar[HeadKind] = "none"
    hf_device_map: dict[str, str]

    @classmethod
    def from_config(
        cls,
        config: GptOssConfig | ModelConfig,
        *,
        dtype: Dtype | None = None,
        torch_dtype: Dtype | None = None,
        attn_implementation: str | None = None,
    ) -> Self:
        """A new model with initialised weights, in training mode.

        Args:
            config: Its shape; copied.
            dtype: Of the floats; None is the config's, or else torch's default.
            torch_dtype: The same, under its old name.
            attn_implementation: As in `from_pretrained`.

        Raises:
            ConfigError: a config that contradicts itself.
            RequestError: an unknown dtype or attention.
        """
        config = copy.deepcopy(as_config(config))
        config._attn_implementation = checked_attention(attn_implementation)
        model = cls(config)
        wanted = one_dtype(dtype, torch_dtype) or config.dtype
        config.dtype = wanted or torch.get_default_dtype()
        return model if wanted is None else model.to(wanted)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *model_args: object,
        config: GptOssConfig | str | Path | None = None,
        dtype: Dtype | None = None,
        torch_dtype: Dtype | None = None,
        device_map: str | int | torch.device | Mapping[str, Any] | None = None,
        device: torch.device | str | int | None = None,
        max_memory: Mapping[Any, Any] | None = None,
        attn_implementation: str | None = None,
        experts_implementation: str | None = None,
        use_kernels: bool = False,
        quantization_config: Mxfp4Config | Mapping[str, Any] | None = None,
        tp_plan: str | Mapping[str, str] | None = None,
        tp_size: int | None = None,
        distributed_config: DistributedConfig | Mapping[str, Any] | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        token: str | bool | None = None,
        subfolder: str | None = None,
        generation_config: Any = None,  # noqa: ANN401  (transformers' class will do)
        key_mapping: Mapping[str, str] | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        low_cpu_mem_usage: bool | None = None,
        trust_remote_code: bool | None = None,
        **overrides: Any,  # noqa: ANN401
    ) -> Self:
        """Load a checkpoint, in evaluation mode.

        On the CPU weights stay views on the files, unless another dtype is asked for. MXFP4
        experts stay packed unless they are to be dequantised.

        Args:
            pretrained_model_name_or_path: A folder of either layout, a hub id, `demo`, or
                `random:20b|120b|tiny`.
            *model_args: None are taken.
            config: In place of the checkpoint's, or the name of a model that has it; must have the
                checkpoint's shape.
            dtype: What floating-point weights become: a torch dtype or its name; "auto" or None
                keeps the checkpoint's.
            torch_dtype: The same, under its old name.
            device_map: "auto": the first GPU, or else the CPU; where a GPU is too small, the
                experts of the last layers stay in CPU memory and are sent one by one when chosen.
                Or a device; or devices by module name, of which one is a GPU and the CPU takes
                layers (of which it holds the experts).
            device: "cpu", "cuda", "cuda:1" or "auto", in place of `device_map`; by default the CPU.
            max_memory: Bytes or sizes such as "20GiB" by device: what "auto" may use.
            attn_implementation: A name that transformers knows; Ossia's own attention runs.
            experts_implementation: A name that transformers knows; Ossia's own experts run.
            use_kernels: Accepted: Ossia always takes the best kernels that a device runs.
            quantization_config: `Mxfp4Config(dequantize=True)` expands packed experts to `dtype`,
                which makes them trainable; `Mxfp4Config()` packs dense ones.
            tp_plan: "auto": accepted; one process holds the whole model.
            tp_size: Likewise.
            distributed_config: Likewise.
            revision: Branch, tag or commit of a hub id.
            cache_dir: Where hub files are kept.
            local_files_only: Never download.
            force_download: Download hub files again.
            token: Access token of the hub; True is the one that was logged in with.
            subfolder: Where in a folder the checkpoint is.
            generation_config: Settings of `generate`, in place of the checkpoint's.
            key_mapping: Regular expressions on tensor names in the files, with what to put there.
            ignore_mismatched_sizes: A head of another size is replaced by a new one.
            output_loading_info: Return a pair: the model, and which tensors were missing or left
                over.
            low_cpu_mem_usage: Accepted: memory never holds more than the model.
            trust_remote_code: Accepted: no code of a repository is ever run.
            **overrides: Settings of the config, such as `num_labels` or `use_cache`. Arguments of
                transformers that are not supported are refused, unless they ask for nothing.

        Raises:
            ModelNotFoundError: nothing has this name.
            CheckpointError: the files are damaged or not what config.json promises, or hold
                tensors that the class lacks or misses.
            ConfigError: config.json is not of gpt-oss, or contradicts itself.
            CapacityError: the memory is too small.
            RequestError: an argument that is unknown, cannot be met, or contradicts another.
        """
        del low_cpu_mem_usage
        refuse({"model_args": model_args or None}, FROM_PRETRAINED.refused)
        say_no_code_is_run(trust_remote_code)
        check_kernels(use_kernels, experts_implementation)
        check_spread(tp_plan, tp_size, distributed_config)
        name = in_subfolder(pretrained_model_name_or_path, subfolder)
        hub = {"revision": revision, "cache_dir": cache_dir, "token": token}
        if isinstance(config, str | Path):
            config = GptOssConfig.from_pretrained(config, local_files_only=local_files_only, **hub)
        options = checked_options(
            dtype=dtype,
            torch_dtype=torch_dtype,
            device_map=device_map,
            device=device,
            max_memory=max_memory,
            attn_implementation=attn_implementation,
            quantization_config=quantization_config,
            config=config,
            overrides=overrides,
            key_mapping=key_mapping,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        source = find_model(
            name, download=not local_files_only, force_download=force_download, **hub
        )
        model, info, placement = load_weights(cls, source, options)
        model._take_generation_settings(source, generation_config)
        if device_map is not None:
            model.hf_device_map = placement.as_map()
        return (model, info.to_dict()) if output_loading_info else model  # type: ignore[return-value]

    def save_pretrained(
        self,
        save_directory: str | Path,
        is_main_process: bool = True,
        state_dict: Mapping[str, torch.Tensor] | None = None,
        *,
        max_shard_size: int | str = "5GB",
        **unsupported: Any,  # noqa: ANN401
    ) -> None:
        """Write config.json, generation_config.json and the weights, as transformers reads them.

        Packed experts stay packed. Other files in the folder stay; older weights are replaced once
        the new ones are complete.

        Args:
            save_directory: The folder; made if need be.
            is_main_process: False writes nothing: another process does.
            state_dict: In place of the model's own.
            max_shard_size: Bytes, or text such as "5GB", at which files are split.
            **unsupported: Refused, with the way round, unless they ask for nothing.

        Raises:
            CheckpointError: tensors that a checkpoint of this class does not have, or lacks; or a
                disk that refuses.
            RequestError: an argument that is not supported.
        """
        refuse_all_but(unsupported, SAVE_PRETRAINED, "save_pretrained")
        if not is_main_process:
            return
        limit = parse_bytes(max_shard_size, "max_shard_size")
        config = self._config_to_save()
        state = self.state_dict() if state_dict is None else state_dict
        save_model(
            Path(save_directory),
            config.to_model_config(),
            self._canonical(state),
            head=self.head(),
            raw_config=config.to_dict(),
            generation_config=self._generation_settings(),
            max_shard_bytes=limit,
        )

    def push_to_hub(self, *arguments: object, **options: object) -> NoReturn:
        """Refused: nothing is uploaded."""
        del arguments, options
        raise RequestError(
            "Ossia uploads nothing; save_pretrained(FOLDER), then `hf upload OWNER/NAME FOLDER`",
            field="push_to_hub",
        )

    def head(self) -> Head:
        """What is on top of the decoder."""
        labelled = self.head_kind.endswith("classification")
        return Head(self.head_kind, self.config.num_labels if labelled else 0)

    def _config_to_save(self) -> GptOssConfig:
        config = copy.deepcopy(self.config)
        config.architectures = [self.head().architecture]
        config.dtype = self.dtype
        return config

    def _canonical(self, state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        names = canonical_names(self)
        for name, tensor in state.items():
            yield names.get(name, name), tensor

    def _generation_settings(self) -> Mapping[str, Any]:
        """What generation_config.json holds; nothing for models that do not generate."""
        return {}

    def _take_generation_settings(self, source: ModelSource, given: object) -> None:
        """Take what was given, or read generation_config.json; only where the model generates."""
        del source
        if given is not None:
            raise RequestError(
                f"{type(self).__name__} does not generate; leave it out", field="generation_config"
            )


def as_config(config: GptOssConfig | ModelConfig) -> GptOssConfig:
    """The mutable kind of a config, whichever is given."""
    return GptOssConfig.from_model_config(config) if isinstance(config, ModelConfig) else config
