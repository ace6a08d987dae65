"""TextClassificationPipeline: texts to labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ossia.api.argument_table import refuse_all_but
from ossia.api.pipelines.arguments import TEXT_CLASSIFICATION
from ossia.api.pipelines.base import Pipeline, Run
from ossia.errors import RequestError

_FUNCTIONS = ("sigmoid", "softmax", "none")


class TextClassificationPipeline(Pipeline):
    """Gives each text its likeliest label, or several.

    Calls take `top_k` (how many labels; None all), `function_to_apply` ("sigmoid", "softmax" or
    "none"; by default what suits the model's problem) and `tokenizer_kwargs` or the tokenizer's
    options by name. A text gives a list with one `{"label", "score"}`; with `top_k`, so many of
    them, best first. A list of texts gives a list of such.
    """

    task: ClassVar[str] = "text-classification"

    def prepare(self, options: dict[str, Any]) -> Run:
        """See `Pipeline`."""
        top_k = options.pop("top_k", 1) if "top_k" in options else ""
        if top_k != "" and top_k is not None and (type(top_k) is not int or top_k < 1):
            raise RequestError(f"{top_k!r} is neither None nor a number of labels", field="top_k")
        function = self._function(options.pop("function_to_apply", None))
        arguments = {**(options.pop("tokenizer_kwargs", None) or {}), **options}
        refuse_all_but(arguments, TEXT_CLASSIFICATION, "this pipeline")
        for name in arguments.keys() & TEXT_CLASSIFICATION.refused.keys():
            del arguments[name]

        def run(inputs: list[Any]) -> list[Any]:
            encoded = self.tokenizer(
                [_text(one) for one in inputs],
                return_tensors="pt",
                **{"padding": len(inputs) > 1, **arguments},
            ).to(self.device)
            with torch.no_grad():
                logits = self.model(**encoded, use_cache=False).logits.float().cpu()
            return [self._labels(scores, top_k) for scores in _apply(function, logits)]

        return run

    def is_one(self, inputs: Any) -> bool:  # noqa: ANN401
        """A text, or a mapping with one."""
        return isinstance(inputs, str | Mapping)

    def one(self, output: Any, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """A single text gives a list, too."""
        return [output] if isinstance(output, dict) else output

    def _function(self, name: object) -> str:
        if name is not None:
            word = str(getattr(name, "name", name)).lower()
            if word not in _FUNCTIONS:
                raise RequestError(
                    f"{name!r} is none of {', '.join(_FUNCTIONS)}", field="function_to_apply"
                )
            return word
        config = self.model.config
        problem = getattr(config, "problem_type", None)
        if problem == "regression":
            return "none"
        is_multi = problem == "multi_label_classification" or config.num_labels == 1
        return "sigmoid" if is_multi else "softmax"

    def _labels(self, scores: torch.Tensor, top_k: Any) -> Any:  # noqa: ANN401
        named = [
            {"label": self.model.config.id2label[place], "score": score}
            for place, score in enumerate(scores.tolist())
        ]
        named.sort(key=lambda one: -one["score"])  # stable: of equals the first stays first
        return named[0] if top_k == "" else named[:top_k]


def _text(given: Any) -> str:  # noqa: ANN401
    if isinstance(given, Mapping):
        if given.get("text_pair") is not None or not isinstance(given.get("text"), str):
            raise RequestError("give one text; pairs are not supported", field="inputs")
        return str(given["text"])
    if not isinstance(given, str):
        raise RequestError(f"{type(given).__name__} found where a text belongs", field="inputs")
    return given


def _apply(function: str, logits: torch.Tensor) -> torch.Tensor:
    if function == "softmax":
        return logits.softmax(-1)
    return logits.sigmoid() if function == "sigmoid" else logits
