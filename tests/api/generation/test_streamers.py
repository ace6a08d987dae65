"""Streamers: the text as it comes, whole characters only, and errors instead of silence."""

from __future__ import annotations

import asyncio
import queue
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ossia
from ossia.errors import RequestError
from ossia.tokenizer import Tokenizer
from support.generation import prompts, shared_pair

TOKENIZER = Tokenizer.o200k_harmony()


class Pieces(ossia.TextStreamer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pieces: list[str] = []
        self.ended = 0

    def on_finalized_text(self, text, stream_end=False):
        self.pieces.append(text)
        self.ended += stream_end


texts = st.text(st.characters(codec="utf-8"), max_size=60)


@given(texts, st.booleans())
def test_pieces_add_up_and_hold_whole_characters(text, skip):
    ids = TOKENIZER.encode(text)
    streamer = Pieces(TOKENIZER, skip_prompt=skip)
    streamer.put(torch.tensor([TOKENIZER.encode("Prompt: ")]))
    for one in ids:
        streamer.put(torch.tensor([one]))
        if "\ufffd" not in text:
            assert "\ufffd" not in "".join(streamer.pieces)
    streamer.end()
    assert "".join(streamer.pieces) == ("" if skip else "Prompt: ") + text
    assert streamer.ended == 1


@given(st.lists(st.integers(0, 199_997), max_size=80))
def test_any_ids_give_what_decoding_all_of_them_gives(ids):
    streamer = Pieces(TOKENIZER, skip_prompt=True)
    streamer.put(torch.tensor([[1]]))
    for one in ids:
        streamer.put(torch.tensor([one]))
    streamer.end()
    assert "".join(streamer.pieces) == TOKENIZER.decode(ids)


def test_long_texts_are_not_decoded_from_the_start_again():
    class Counts:
        longest = 0

        def decode(self, ids):
            self.longest = max(self.longest, len(ids))
            return TOKENIZER.decode(ids)

    tokenizer = Counts()
    streamer = Pieces(tokenizer)
    ids = TOKENIZER.encode("word and word \u20ac " * 100)
    streamer.put(torch.tensor([ids[:3]]))
    for one in ids[3:]:
        streamer.put(torch.tensor([one]))
    streamer.end()
    assert "".join(streamer.pieces) == TOKENIZER.decode(ids)
    assert tokenizer.longest < 50


def test_a_streamer_can_be_used_again():
    streamer = Pieces(TOKENIZER, skip_prompt=True)
    for _ in range(2):
        streamer.put(torch.tensor([[1, 2]]))
        streamer.put(torch.tensor(TOKENIZER.encode("hi")))
        streamer.end()
    assert "".join(streamer.pieces) == "hihi"


def test_printing(capsys):
    streamer = ossia.TextStreamer(TOKENIZER)
    streamer.put(torch.tensor([TOKENIZER.encode("Hello there")]))
    streamer.end()
    assert capsys.readouterr().out == "Hello there\n"


def test_decode_arguments_are_passed_on():
    class Decodes:
        def decode(self, ids, skip_special_tokens=False):
            return f"<{skip_special_tokens}>"

    streamer = Pieces(Decodes(), skip_special_tokens=True)
    streamer.put(torch.tensor([[1]]))
    assert streamer.pieces == ["<True>"]


def test_several_rows_are_refused():
    with pytest.raises(RequestError, match="streamer"):
        ossia.TextStreamer(TOKENIZER).put(torch.tensor([[1], [2]]))


class Numbers:
    def decode(self, ids, **kwargs):
        return "".join(f"{one} " for one in ids)


def generate_in_thread(streamer, **kwargs):
    model, _ = shared_pair()
    raised = []

    def work():
        try:
            model.generate(streamer=streamer, **kwargs)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, raised


@pytest.mark.parametrize("cache", [None, "dynamic"])
def test_iteration_over_a_call_in_a_thread(cache):
    model, _ = shared_pair()
    ids = prompts(1, 4)
    streamer = ossia.TextIteratorStreamer(Numbers(), skip_prompt=True, timeout=60)
    arguments = {"inputs": ids, "max_new_tokens": 9, "cache_implementation": cache}
    thread, raised = generate_in_thread(streamer, **arguments)
    text = "".join(streamer)
    thread.join()
    assert not raised
    expected = model.generate(ids, max_new_tokens=9)[0, 4:].tolist()
    assert text == Numbers().decode(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        {"inputs": prompts(1, 4), "nonsense": 1},  # before anything runs
        {"inputs": torch.tensor([[1000]])},  # in the engine
        {"inputs": prompts(1, 4), "logits_processor": [lambda ids, scores: 1 / 0]},  # in the loop
    ],
)
def test_an_error_reaches_who_iterates(arguments):
    streamer = ossia.TextIteratorStreamer(Numbers(), skip_prompt=True, timeout=60)
    thread, raised = generate_in_thread(streamer, max_new_tokens=3, **arguments)
    with pytest.raises((RequestError, ZeroDivisionError)) as caught:
        list(streamer)
    thread.join()
    assert raised == [caught.value]


def test_a_timeout_ends_the_wait():
    with pytest.raises(queue.Empty):
        next(ossia.TextIteratorStreamer(Numbers(), timeout=0.01))


def test_asynchronous_iteration():
    async def read():
        streamer = ossia.AsyncTextIteratorStreamer(Numbers(), skip_prompt=True, timeout=60)
        thread, _ = generate_in_thread(streamer, inputs=prompts(1, 4), max_new_tokens=5)
        text = "".join([piece async for piece in streamer])
        await asyncio.to_thread(thread.join)
        failing = ossia.AsyncTextIteratorStreamer(Numbers(), timeout=60)
        thread, _ = generate_in_thread(failing, inputs=prompts(1, 4), nonsense=1)
        with pytest.raises(RequestError, match="nonsense"):
            [piece async for piece in failing]
        await asyncio.to_thread(thread.join)
        with pytest.raises(TimeoutError):
            await anext(ossia.AsyncTextIteratorStreamer(Numbers(), timeout=0.01))
        return text

    text = asyncio.run(read())
    model, _ = shared_pair()
    assert text == Numbers().decode(model.generate(prompts(1, 4), max_new_tokens=5)[0, 4:].tolist())


def test_streamers_of_transformers_that_know_no_failure():
    class Old:
        def put(self, value):
            pass

        def end(self):
            pass

    model, _ = shared_pair()
    with pytest.raises(RequestError, match="nonsense"):
        model.generate(prompts(1, 4), streamer=Old(), nonsense=1)
