"""TokenClassificationPipeline: the labels of a text's tokens, words or phrases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from ossia.api.argument_table import refuse_all_but
from ossia.api.pipelines.arguments import TOKEN_CLASSIFICATION
from ossia.api.pipelines.base import Pipeline, Run
from ossia.api.pipelines.entities import STRATEGIES, ScoredToken, Scores, grouped, worded
from ossia.api.tokenizing.encoded_text import EncodedText
from ossia.errors import RequestError


class TokenClassificationPipeline(Pipeline):
    """Finds the labelled tokens of a text.

    Calls take `aggregation_strategy` ("none", "simple", "first", "average" or "max"),
    `ignore_labels` (["O"]), and `is_split_into_words` with `delimiter` (" ") for texts given as
    lists of words. A text gives a list of entities: `{"entity", "score", "index", "word", "start",
    "end"}` for tokens, `{"entity_group", "score", "word", "start", "end"}` for phrases.
    """

    task: ClassVar[str] = "token-classification"

    def prepare(self, options: dict[str, Any]) -> Run:
        """See `Pipeline`."""
        refuse_all_but(options, TOKEN_CLASSIFICATION, "this pipeline")
        given = options.get("aggregation_strategy") or "none"
        strategy = str(getattr(given, "name", given)).lower()
        if strategy not in STRATEGIES:
            raise RequestError(
                f"{given!r} is none of {', '.join(STRATEGIES)}", field="aggregation_strategy"
            )
        ignored = options.get("ignore_labels")
        ignored = ["O"] if ignored is None else ignored
        words = bool(options.get("is_split_into_words"))
        delimiter = options.get("delimiter")
        delimiter = " " if delimiter is None else delimiter

        def run(inputs: list[Any]) -> list[Any]:
            found = self._scored(inputs, words, delimiter)
            return [self._entities(tokens, strategy, ignored) for tokens in found]

        return run

    def is_one(self, inputs: Any) -> bool:  # noqa: ANN401
        """A text, or a list of words where that was said."""
        if self._takes_words and isinstance(inputs, list | tuple):
            return bool(inputs) and isinstance(inputs[0], str)
        return isinstance(inputs, str)

    def one(self, output: Any, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """A list of words is a batch of one, as in transformers."""
        return [output] if options.get("is_split_into_words") else output

    def __call__(self, inputs: Any, **options: Any) -> Any:  # noqa: ANN401
        """See `Pipeline`."""
        chosen = {**self._options, **options}
        self._takes_words = bool(chosen.get("is_split_into_words"))
        return super().__call__(inputs, **options)

    _takes_words = False

    def _scored(self, inputs: list[Any], is_words: bool, delimiter: str) -> list[list[ScoredToken]]:
        for one in inputs:
            if isinstance(one, str) is is_words:
                wanted = "a list of words" if is_words else "a text"
                raise RequestError(
                    f"{type(one).__name__} found in place of {wanted}", field="inputs"
                )
        encoded = self.tokenizer(
            inputs, is_split_into_words=is_words, padding=len(inputs) > 1, return_tensors="pt"
        )
        with torch.no_grad():
            columns = {name: column.to(self.device) for name, column in encoded.items()}
            scores = self.model(**columns).logits.float().softmax(-1).cpu().numpy()
        return [
            self._tokens(text, scores[row], one, delimiter)
            for row, (text, one) in enumerate(zip(encoded.encodings or (), inputs, strict=True))
        ]

    def _tokens(
        self,
        text: EncodedText,
        scores: Scores,
        given: str | Sequence[str],
        delimiter: str,
    ) -> list[ScoredToken]:
        starts: list[int] = []
        if not isinstance(given, str):
            place = 0
            for word in given:
                starts.append(place)
                place += len(word) + len(delimiter)
        sentence = given if isinstance(given, str) else delimiter.join(given)
        tokens: list[ScoredToken] = []
        for place, (name, span, word, is_text) in enumerate(
            zip(text.tokens, text.offsets, text.word_ids, text.attention_mask, strict=True)
        ):
            if not is_text or word is None:
                continue  # padding
            shift = starts[word] if starts else 0
            start, end = span[0] + shift, span[1] + shift
            inside = start > 0 and " " not in sentence[start - 1 : start + 1]
            tokens.append(ScoredToken(name or "", scores[place], start, end, place, inside))
        return tokens

    def _entities(
        self, tokens: list[ScoredToken], strategy: str, ignored: list[str]
    ) -> list[dict[str, Any]]:
        names: Mapping[int, str] = self.model.config.id2label
        as_text = self.tokenizer.convert_tokens_to_string
        if strategy in ("none", "simple"):
            entities = [token.entity(names) for token in tokens]
        else:
            entities = worded(tokens, strategy, names, as_text)
        if strategy != "none":
            # Words are text already.
            entities = grouped(entities, as_text if strategy == "simple" else "".join)
        return [
            entity
            for entity in entities
            if entity.get("entity") not in ignored and entity.get("entity_group") not in ignored
        ]
