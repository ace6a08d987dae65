"""TurnMasks: what a turn may be written like, as data; and as the masks that the engine asks for.

As data it travels to an engine in another process, which binds it to its own tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from ossia.harmony import HeaderGrammar, HeaderMask, HeaderRules
from ossia.structured import Grammar
from ossia.tokenizer import Tokenizer
from ossia.types import TokenMask

FINAL = "final"
"""The key of the answer's own grammar; those of calls' arguments go by their recipient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMasks:
    """What a turn may be written like.

    Args:
        rules: Which messages may come.
        grammars: What their contents must look like: by `FINAL` for the answer, by recipient,
            such as `functions.f`, for the arguments of calls. Others are free.
    """

    rules: HeaderRules
    grammars: Mapping[str, Grammar] = field(default_factory=dict[str, Grammar])

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        grammars = {name: grammar.to_dict() for name, grammar in self.grammars.items()}
        return {"rules": asdict(self.rules), "grammars": grammars}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TurnMasks:
        """Read the JSON form."""
        rules = dict(raw["rules"])
        for name in ("functions", "builtin_tools"):
            rules[name] = tuple(rules[name])
        grammars = {name: Grammar.from_dict(one) for name, one in raw["grammars"].items()}
        return cls(rules=HeaderRules(**rules), grammars=grammars)


@dataclass(frozen=True)
class BoundMasks:
    """Makes the masks of a request's continuations; the `make_mask` of a Request.

    Args:
        masks: What may be written. An engine elsewhere takes this and binds it anew.
        tokenizer: Of the model.
    """

    masks: TurnMasks
    tokenizer: Tokenizer

    def __call__(self, index: int) -> TokenMask:
        """A mask for one continuation."""
        del index  # all continuations are held to the same
        return HeaderMask(self._header_grammar)

    @cached_property
    def _header_grammar(self) -> HeaderGrammar:
        return HeaderGrammar(self.tokenizer, self.masks.rules)
