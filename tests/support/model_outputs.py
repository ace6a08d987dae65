"""Random model output, as token ids: harmony as it should be, and anything but."""

from __future__ import annotations

from hypothesis import strategies as st

from ossia.tokenizer import special
from support.scripted_engine import TOKENIZER

_SPECIALS = (
    special.START,
    special.END,
    special.MESSAGE,
    special.CHANNEL,
    special.CONSTRAIN,
    special.CALL,
    special.RETURN,
    special.ENDOFTEXT,
    200_050,
)
_WORDS = (
    "assistant",
    "analysis",
    "commentary",
    "final",
    " to=functions.lookup",
    " to=browser.search",
    "user",
    "json",
    "Hi 🙂",
    "{}",
)
_WHOLE = (
    "<|channel|>analysis<|message|>I see.<|end|><|start|>assistant",
    "<|channel|>commentary<|message|>One moment.<|end|><|start|>assistant",
    '<|channel|>commentary to=functions.lookup <|constrain|>json<|message|>{"q":"x"}<|call|>',
    "<|channel|>final<|message|>Naïve 🙂.<|return|>",
)

pieces = st.one_of(
    st.sampled_from(_SPECIALS).map(lambda token_id: [token_id]),
    st.sampled_from(_WORDS).map(TOKENIZER.encode),
    st.integers(0, special.VOCAB_SIZE - 1).map(lambda token_id: [token_id]),
)
"""Single tokens and words, without regard to sense."""

outputs = st.lists(pieces, max_size=40).map(lambda parts: [i for part in parts for i in part])
"""Any order of those."""

likely_outputs = st.lists(
    st.one_of(pieces, st.sampled_from(_WHOLE).map(TOKENIZER.encode_with_special)), max_size=12
).map(lambda parts: [i for part in parts for i in part])
"""The same, with whole messages among it, so that several items come in one answer."""
