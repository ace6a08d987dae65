"""TurnMasks: what a turn may be written like, as data; and as the masks that the engine asks for.

As data it travels to an engine in another process, which binds it to its own tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ossia.harmony import FINAL, HeaderGrammar, HeaderMask, HeaderRules, governable
from ossia.structured import Grammar
from ossia.tokenizer import Tokenizer
from ossia.types import TokenMask

if TYPE_CHECKING:
    from ossia.structured.compiling import CompiledGrammar
    from ossia.structured.mask import GrammarMask

__all__ = ["FINAL", "BoundMasks", "TurnMasks"]


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

    def prepare(self) -> None:
        """Compile the grammars, so that the engine does not wait for that when it asks for masks.

        Takes milliseconds as a rule, and up to `COMPILE_SECONDS`; call it on a thread where
        others would wait. What was compiled is kept for later requests.

        Raises:
            RequestError: a grammar cannot be enforced, or is too large; names the field.
        """
        _ = self._header_grammar, self._contents

    def __call__(self, index: int) -> TokenMask:
        """A mask for one continuation.

        Raises:
            RequestError: as in `prepare`, if that was not called.
        """
        del index  # all continuations are held to the same
        return HeaderMask(self._header_grammar, self._content)

    def _content(self, subject: str) -> GrammarMask:
        from ossia.structured.mask import GrammarMask

        return GrammarMask(self._contents[subject])

    @cached_property
    def _contents(self) -> dict[str, CompiledGrammar]:
        wanted = {
            subject: grammar
            for subject, grammar in self.masks.grammars.items()
            if subject in governable(self.masks.rules)
        }
        if not wanted:
            return {}  # and the library is not loaded, which takes its time
        from ossia.structured.cache import grammar_cache

        cache = grammar_cache(self.tokenizer)
        return {
            subject: cache.compiled(grammar if grammar.field else _named(grammar, subject))
            for subject, grammar in wanted.items()
        }

    @cached_property
    def _header_grammar(self) -> HeaderGrammar:
        return HeaderGrammar(self.tokenizer, self.masks.rules, self._contents)


def _named(grammar: Grammar, subject: str) -> Grammar:
    return replace(grammar, field=f"grammars.{subject}")
