"""CompiledGrammar: a grammar that masks can be made of."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

from llguidance import LLMatcher, LLParserLimits

from ossia.errors import RequestError
from ossia.structured.explain import explain, refusal
from ossia.structured.grammar import Grammar, GrammarKind
from ossia.structured.lark import problem_of
from ossia.structured.limits import (
    FIRST_MASK_SECONDS,
    MAX_SOURCE_BYTES,
    MAX_WHITESPACE,
    PARSER_LIMITS,
)
from ossia.structured.repeats import costly_pattern
from ossia.structured.schema import SchemaError, prepare_schema
from ossia.structured.vocabulary import ll_tokenizer
from ossia.tokenizer import Tokenizer, special

_WHOLE, _REST = divmod(special.FIRST_SPECIAL, 8)
_END_BYTE, _END_BIT = divmod(special.RETURN, 8)
_BASE_BYTES = 2**18
_BYTES_A_CHARACTER = 64
_TRIED_TOKENS = 6  # of a text that is tried
_TOO_SLOW = "takes too long for each token; make it smaller, or its repeats shorter"


class NextTokens(NamedTuple):
    """What may come next.

    Args:
        bits: The ordinary tokens: bit i % 8 of byte i // 8 stands for id i. No other bits are set.
        may_end: Whether the text is complete.
    """

    bits: bytes
    may_end: bool


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """What masks start from; never moved on itself.

    Args:
        matcher: At the begin of a text.
        first: What a text may begin with.
        num_bytes: Of memory, estimated from the size of the source.
    """

    matcher: LLMatcher
    first: NextTokens
    num_bytes: int


def compile_grammar(tokenizer: Tokenizer, grammar: Grammar) -> CompiledGrammar:
    """Compile a grammar; takes a millisecond as a rule, and up to a second.

    Args:
        tokenizer: Of the model.
        grammar: What a text must look like.

    Raises:
        RequestError: it cannot be enforced, says nothing that could be written, or is too large.
    """
    field = grammar.field or "grammar"
    source = _library_source(grammar, field)
    matcher = _matcher(tokenizer, source)
    if matcher.is_error():
        raise RequestError(explain(grammar, matcher.get_error()), field=field)
    try:
        next_tokens(matcher)  # the first one makes states that copies then share
        copy, begun = matcher.deep_copy(), time.thread_time()
        first = next_tokens(copy)
    except ValueError as error:
        raise RequestError(explain(grammar, str(error)), field=field) from None
    if time.thread_time() - begun > FIRST_MASK_SECONDS:
        raise RequestError(refusal(grammar, f"that {_TOO_SLOW}"), field=field)
    if grammar.kind is GrammarKind.JSON_SCHEMA:
        place = costly_pattern(grammar.source, lambda text: _is_bearable(tokenizer, text))
        if place is not None:
            message = f"with a 'pattern' (at {place}) that {_TOO_SLOW}"
            raise RequestError(refusal(grammar, message), field=field)
    if not first.may_end and not any(first.bits):
        raise RequestError(refusal(grammar, "that no text matches"), field=field)
    num_bytes = _BASE_BYTES + _BYTES_A_CHARACTER * len(source)
    return CompiledGrammar(matcher, first, num_bytes)


def next_tokens(matcher: LLMatcher) -> NextTokens:
    """What may come next; lets other threads run meanwhile.

    Raises:
        ValueError: the grammar has become too complex on the way.
    """
    bits = matcher.compute_bitmask()
    if matcher.is_error():
        raise ValueError(matcher.get_error().partition("\n")[0])
    # The bit of the end is set as well where nothing at all can come.
    may_end = bool(bits[_END_BYTE] >> _END_BIT & 1) and matcher.is_accepting()
    last = bits[_WHOLE] & ((1 << _REST) - 1)
    return NextTokens(bits[:_WHOLE] + bytes([last]), may_end)


def _matcher(tokenizer: Tokenizer, source: str) -> LLMatcher:
    limits = LLParserLimits(**PARSER_LIMITS)
    return LLMatcher(ll_tokenizer(tokenizer), source, log_level=0, limits=limits)


def _is_bearable(tokenizer: Tokenizer, text: str) -> bool:
    """Whether a text of a schema can be written within an array.

    There it has less work to spare than at the begin of all, and some limits show late: as a token
    that is refused after all, or a few tokens on. What the library cannot do at all is left to be
    said of the schema as a whole.
    """
    array = f'{{"type": "array", "minItems": 1, "items": {text}}}'
    matcher = _matcher(tokenizer, _json_source(array, strict=True))
    try:
        if not matcher.is_error():
            next_tokens(matcher)
        if matcher.is_error() or not matcher.consume_tokens(tokenizer.encode('["')):
            return True
        next_tokens(matcher)
        begun = time.thread_time()
        following = next_tokens(matcher.deep_copy())
        if time.thread_time() - begun > FIRST_MASK_SECONDS:
            return False
        longest = int.from_bytes(following.bits, "little").bit_length() - 1  # they come last
        for _ in range(_TRIED_TOKENS):
            if longest < 0 or not following.bits[longest // 8] >> longest % 8 & 1:
                return True
            if not matcher.consume_token(longest):
                return False
            following = next_tokens(matcher)
    except ValueError:
        return False
    return True


def _library_source(grammar: Grammar, field: str) -> str:
    """The grammar as llguidance reads it, after our own checks."""
    most = MAX_SOURCE_BYTES[grammar.kind]
    if len(grammar.source.encode("utf-8", "surrogatepass")) > max(most, 1):
        raise RequestError(refusal(grammar, f"of more than {most:,} bytes"), field=field)
    try:
        grammar.source.encode()
    except UnicodeEncodeError:
        raise RequestError(refusal(grammar, "with half a surrogate pair"), field=field) from None
    match grammar.kind:
        case GrammarKind.REGEX:
            return LLMatcher.grammar_from_regex(grammar.source)
        case GrammarKind.LARK:
            if (problem := problem_of(grammar.source)) is not None:
                raise RequestError(refusal(grammar, problem), field=field)
            return LLMatcher.grammar_from_lark(grammar.source)
        case GrammarKind.JSON_OBJECT:
            return _json_source('{"type": "object"}', strict=True)
        case GrammarKind.JSON_SCHEMA:
            try:
                schema = prepare_schema(grammar.source, strict=grammar.strict)
                return _json_source(schema, strict=grammar.strict)
            except SchemaError as error:
                raise RequestError(refusal(grammar, str(error)), field=field) from None


def _json_source(schema: str, *, strict: bool) -> str:
    whitespace = rf"[\x20\x0A\x0D\x09]{{1,{MAX_WHITESPACE}}}"
    return LLMatcher.grammar_from_json_schema(
        schema, overrides={"whitespace_pattern": whitespace, "lenient": not strict}
    )
