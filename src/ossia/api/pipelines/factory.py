"""pipeline: a task's pipeline over a model, by name or as an object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ossia.api.argument_table import refuse
from ossia.api.model_source import DEMO, find_model
from ossia.api.pipelines.arguments import PIPELINE
from ossia.api.pipelines.base import Pipeline
from ossia.api.pipelines.text_classification import TextClassificationPipeline
from ossia.api.pipelines.text_generation import TextGenerationPipeline
from ossia.api.pipelines.token_classification import TokenClassificationPipeline
from ossia.api.tokenizing.auto_tokenizer import AutoTokenizer
from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.errors import RequestError
from ossia.log import logger

_log = logger(__name__)
_PIPELINES: dict[str, type[Pipeline]] = {
    one.task: one
    for one in (TextGenerationPipeline, TextClassificationPipeline, TokenClassificationPipeline)
}
_ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
# A task, and the model class it needs.
_CLASSES = {
    "text-generation": "GptOssForCausalLM",
    "text-classification": "GptOssForSequenceClassification",
    "token-classification": "GptOssForTokenClassification",
}
_HUB = ("cache_dir", "local_files_only", "force_download")


def pipeline(
    task: str | None = None,
    model: Any = None,  # noqa: ANN401  (a name, a folder or a model)
    config: Any = None,  # noqa: ANN401
    tokenizer: Any = None,  # noqa: ANN401  (a name, a folder or a tokenizer)
    feature_extractor: None = None,
    image_processor: None = None,
    video_processor: None = None,
    processor: None = None,
    revision: str | None = None,
    use_fast: bool = True,
    token: str | bool | None = None,
    device: int | str | torch.device | None = None,
    device_map: Any = None,  # noqa: ANN401
    dtype: Any = "auto",  # noqa: ANN401
    trust_remote_code: bool | None = None,
    model_kwargs: dict[str, Any] | None = None,
    pipeline_class: None = None,
    **kwargs: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401  (the task's pipeline)
    """Make a pipeline.

    Args:
        task: "text-generation", "text-classification" (or "sentiment-analysis") or
            "token-classification" (or "ner"); None finds out by the model.
        model: A hub id, a folder, `demo`, `random:...`, or a model; None is `demo`.
        config: For the model, in place of its own.
        tokenizer: A name, a folder, a tokenizer or `(name, arguments)`; None is the model's.
        feature_extractor: Not supported: gpt-oss reads text alone. So the next three.
        image_processor: Not supported.
        video_processor: Not supported.
        processor: Not supported.
        revision: Branch, tag or commit of a hub id.
        use_fast: There is one tokenizer, the fast one.
        token: Access token of the hub.
        device: A GPU's number, -1 for the CPU, or a device; None is the first GPU, or else the CPU.
        device_map: As in `from_pretrained`, in place of `device`.
        dtype: What floating-point weights become; "auto" keeps the checkpoint's.
        trust_remote_code: Makes no difference: no code of a repository is run.
        model_kwargs: Further arguments of `from_pretrained`.
        pipeline_class: Not supported; make the class yourself.
        kwargs: `torch_dtype` (older name of `dtype`), `batch_size`, `local_files_only`, and options
            for all calls.

    Raises:
        RequestError: an argument is unknown or cannot be met; names it.
        OssiaError: what loading a model raises.
    """
    given = {
        "feature_extractor": feature_extractor,
        "image_processor": image_processor,
        "video_processor": video_processor,
        "processor": processor,
        "use_fast": use_fast,
        "pipeline_class": pipeline_class,
    }
    refuse(given | kwargs, PIPELINE.refused)
    kwargs = {name: kwargs[name] for name in kwargs if name not in PIPELINE.refused}
    if device is not None and device_map is not None:
        raise RequestError("is given beside device; keep one", field="device_map")
    dtype = _dtype(dtype, kwargs.pop("torch_dtype", None))
    found = None if task is None else known_task(task)
    model = _model_or_demo(model, found)
    extras = dict(model_kwargs or {})
    hub = {"revision": revision, "token": token}
    hub["local_files_only"] = kwargs.pop("local_files_only", None)
    hub |= {name: extras[name] for name in _HUB if name in extras}
    hub = {name: value for name, value in hub.items() if value is not None}
    is_name = isinstance(model, str | Path)
    if not is_name:
        loading = {"config": config, "device_map": device_map, "dtype": dtype} | hub | extras
        _refuse_loading(loading)
    found = found or (_task_of_name(str(model), hub) if is_name else _task_of_model(model))
    source = tokenizer if tokenizer is not None else model if is_name else _name_of(model)
    shared = hub if source is model else {k: v for k, v in hub.items() if k != "revision"}
    used = _tokenizer(source, shared)
    if is_name:
        options = {"config": config, "dtype": dtype, **_places(device, device_map), **hub}
        if "torch_dtype" in extras and dtype == "auto":
            del options["dtype"]
        if "device_map" in extras and device is None:
            del options["device"]
        model = _model_class(found).from_pretrained(str(model), **(options | extras))
    elif device is not None:
        model = model.to(_place(device))
    if trust_remote_code:
        _log.info("trust_remote_code makes no difference: no code of a repository is run")
    return _PIPELINES[found](model, used, **kwargs)


def _refuse_loading(arguments: Mapping[str, object]) -> None:
    """Refuse what says how to load, for a model that is loaded."""
    for name, value in arguments.items():
        if value not in (None, "auto") and name not in ("token", "local_files_only"):
            raise RequestError("says how to load, and the model is loaded already", field=name)


def _places(device: Any, device_map: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"device": _place(device)} if device_map is None else {"device_map": device_map}


def _dtype(dtype: Any, older: Any) -> Any:  # noqa: ANN401
    """The dtype by either of its names."""
    if older is not None and dtype not in ("auto", older):
        raise RequestError("is given beside dtype; keep one", field="torch_dtype")
    return dtype if older is None else older


def _model_or_demo(model: Any, task: str | None) -> Any:  # noqa: ANN401
    if model is not None:
        return model
    if task not in (None, "text-generation"):
        raise RequestError(f"name one that was trained for {task}", field="model")
    _log.warning("no model is named, so it is %s", DEMO)
    return DEMO


def known_task(task: str) -> str:
    """A task by its own name.

    Raises:
        RequestError: there is no such task; names those that there are.
    """
    known = _ALIASES.get(task, task)
    if known not in _PIPELINES:
        raise RequestError(
            f"{task!r} is none of {', '.join((*_PIPELINES, *_ALIASES))}", field="task"
        )
    return known


def _task_of_name(name: str, hub: dict[str, Any]) -> str:
    """By the architecture that config.json names."""
    options = {k: v for k, v in hub.items() if k in ("revision", "cache_dir")}
    token = hub.get("token")
    source = find_model(
        name,
        **options,
        token=token if isinstance(token, str) else None,
        download=not hub.get("local_files_only", False),
    )
    file = None if source.folder is None else source.folder / "config.json"
    if file is None or not file.is_file():
        return "text-generation"
    architectures = json.loads(file.read_text(encoding="utf-8")).get("architectures") or ()
    by_class = {class_name: task for task, class_name in _CLASSES.items()}
    return next((by_class[one] for one in architectures if one in by_class), "text-generation")


def _task_of_model(model: Any) -> str:  # noqa: ANN401
    names = {one.__name__ for one in type(model).__mro__}
    for task, class_name in _CLASSES.items():
        if class_name in names:
            return task
    raise RequestError(f"{type(model).__name__} is no model of a pipeline", field="model")


def _name_of(model: Any) -> str:  # noqa: ANN401
    """What the tokenizer of a model object is found by."""
    for owner in (model, model.config):
        for attribute in ("name_or_path", "_name_or_path"):
            if name := getattr(owner, attribute, None):
                return str(name)
    return "random:tiny"  # every gpt-oss model has the vocabulary that the package holds


def _tokenizer(source: Any, hub: dict[str, Any]) -> PreTrainedTokenizer:  # noqa: ANN401
    if isinstance(source, PreTrainedTokenizer):
        return source
    arguments = dict(hub)
    if isinstance(source, tuple):
        source, own = source
        arguments |= own
    if not isinstance(source, str | Path):
        raise RequestError(
            f"{type(source).__name__} is none of ours; use ossia.AutoTokenizer", field="tokenizer"
        )
    return AutoTokenizer.from_pretrained(source, **arguments)


def _place(device: int | str | torch.device | None) -> str | torch.device:
    if device is None:
        return "auto"
    if isinstance(device, str) and device.lstrip("-").isdigit():
        device = int(device)
    if not isinstance(device, int):
        return device
    if device >= 0 and not torch.cuda.is_available():
        _log.warning("device=%d is a GPU, and there is none; the CPU runs it", device)
    return f"cuda:{device}" if device >= 0 and torch.cuda.is_available() else "cpu"


def _model_class(task: str) -> Any:  # noqa: ANN401
    import ossia  # its table knows where classes live

    return getattr(ossia, _CLASSES[task])
