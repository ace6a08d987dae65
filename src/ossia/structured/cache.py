"""GrammarCache: compiled grammars, the least recently used of which are forgotten."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache

from ossia.errors import RequestError
from ossia.structured.compiling import CompiledGrammar, compile_grammar
from ossia.structured.explain import refusal
from ossia.structured.grammar import Grammar
from ossia.structured.limits import CACHE_BYTES, COMPILE_SECONDS
from ossia.structured.vocabulary import ll_tokenizer
from ossia.tokenizer import Tokenizer

_NUM_THREADS = 2


class GrammarCache:
    """Compiles grammars on threads of its own, each once however many ask for it at a time.

    Args:
        tokenizer: Of the model.
        max_bytes: Of what is kept, as `CompiledGrammar.num_bytes` counts.
        seconds: That is waited for a grammar. One that takes longer is refused, though kept once it
            is there. What is made once for the vocabulary, before the first one, does not count.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_bytes: int = CACHE_BYTES,
        seconds: float = COMPILE_SECONDS,
    ) -> None:
        self._tokenizer = tokenizer
        self._max_bytes, self._seconds = max_bytes, seconds
        self._lock = threading.Lock()
        self._compiled: OrderedDict[Grammar, CompiledGrammar] = OrderedDict()
        self._compiling: dict[Grammar, Future[CompiledGrammar]] = {}
        self._threads = ThreadPoolExecutor(_NUM_THREADS, "ossia-grammars")
        self._vocabulary: Future[object] | None = None
        self.num_bytes = 0

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._compiled)

    def compiled(self, grammar: Grammar) -> CompiledGrammar:
        """A grammar, compiled now or before.

        Raises:
            RequestError: as of `compile_grammar`, or it takes too long.
        """
        self._wait_for_vocabulary()
        with self._lock:
            if (kept := self._compiled.get(grammar)) is not None:
                self._compiled.move_to_end(grammar)
                return kept
            if (waiting := self._compiling.get(grammar)) is None:
                waiting = self._compiling[grammar] = self._threads.submit(self._compile, grammar)
        field = grammar.field or "grammar"
        try:
            return waiting.result(self._seconds)
        except TimeoutError:
            message = refusal(grammar, f"that takes more than {self._seconds:g} s to compile")
            raise RequestError(f"{message}; make it smaller", field=field) from None
        except RequestError as error:
            # Whoever asked first may hold the same grammar in another field.
            message = str(error).removeprefix(f"{error.field}: ")
            raise RequestError(message, field=field) from None

    def _wait_for_vocabulary(self) -> None:
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = self._threads.submit(ll_tokenizer, self._tokenizer)
        self._vocabulary.result()

    def _compile(self, grammar: Grammar) -> CompiledGrammar:
        try:
            compiled = compile_grammar(self._tokenizer, grammar)
            self._keep(replace(grammar, field=""), compiled)
            return compiled
        finally:
            with self._lock:
                del self._compiling[grammar]

    def _keep(self, grammar: Grammar, compiled: CompiledGrammar) -> None:
        with self._lock:
            self._compiled[grammar] = compiled
            self.num_bytes += compiled.num_bytes
            while self.num_bytes > self._max_bytes:
                _, oldest = self._compiled.popitem(last=False)
                self.num_bytes -= oldest.num_bytes


@lru_cache(maxsize=2)
def grammar_cache(tokenizer: Tokenizer) -> GrammarCache:
    """The one of this process."""
    return GrammarCache(tokenizer)
