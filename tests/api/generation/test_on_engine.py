"""The engine path: when it is taken, and that it gives what the module loop gives."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ossia
from ossia.api.generation import on_engine
from ossia.api.generation.choosing import Ends
from ossia.api.generation.prompt import read_prompt
from ossia.api.generation.resolving import resolve
from ossia.errors import OssiaError, RequestError
from ossia.tokenizer import special
from support.generation import EOS, PAD, prompts, shared_pair, small_lm


def why_not(model, inputs=((10, 11),), arguments=None, **kwargs):
    config, options = resolve(None, model.generation_config, kwargs)
    prompt = read_prompt(
        [list(row) for row in inputs] if isinstance(inputs, tuple) else inputs,
        options,
        pad_id=PAD,
        eos_ids=EOS,
        bos_id=None,
        device=torch.device("cpu"),
    )
    ends = Ends(eos_ids=EOS, pad_id=PAD, max_length=prompt.input_ids.shape[1] + 5)
    return on_engine.why_not(model, config, prompt, ends, arguments or {})


def test_what_the_engine_serves():
    model, _ = shared_pair()
    assert why_not(model) is None
    assert why_not(model, ((10,), (11, 12))) is None
    assert why_not(model, do_sample=True, top_k=3, top_p=0.5, min_p=0.1, temperature=2.0) is None
    assert why_not(model, repetition_penalty=1.2, min_new_tokens=3, max_time=9.0) is None
    assert why_not(model, do_sample=True, num_return_sequences=4, stop_strings="a") is None
    assert why_not(model, arguments={"streamer": object()}) is None
    assert why_not(model, temperature=0.0, typical_p=0.5, do_sample=False) is None


@pytest.mark.parametrize(
    ("arguments", "settings_", "word"),
    [
        ({"logits_processor": [print]}, {}, "logits_processor"),
        ({"stopping_criteria": [print]}, {}, "stopping_criteria"),
        ({"prefix_allowed_tokens_fn": print}, {}, "prefix_allowed_tokens_fn"),
        ({"assistant_model": object()}, {}, "assistant_model"),
        ({"past_key_values": object()}, {}, "past_key_values"),
        ({"position_ids": object()}, {}, "position_ids"),
        ({"synced_gpus": True}, {}, "synced_gpus"),
        ({}, {"num_beams": 2}, "num_beams"),
        ({}, {"use_cache": False}, "use_cache"),
        ({}, {"bad_words_ids": [[1]]}, "bad_words_ids"),
        ({}, {"return_dict_in_generate": True}, "return_dict_in_generate"),
        ({}, {"typical_p": 0.5}, "typical_p"),
        ({}, {"temperature": 101.0}, "temperature"),
        ({}, {"prompt_lookup_num_tokens": 2}, "prompt_lookup_num_tokens"),
    ],
)
def test_what_it_does_not_serve_and_why(arguments, settings_, word):
    model, _ = shared_pair()
    assert word in why_not(model, arguments=arguments, **settings_)


def test_what_depends_on_rows_and_model():
    model = small_lm()
    assert "streamer" in why_not(model, ((10,), (11,)), {"streamer": object()})
    holes = {"input_ids": [[10, 11, 12]], "attention_mask": [[1, 0, 1]]}
    assert "padding" in why_not(model, holes)
    assert "padding" in why_not(model, holes | {"attention_mask": [[1, 1, 0]]})
    model.config.max_position_embeddings = 6
    assert "context" in why_not(model)
    model.config.max_position_embeddings = 64
    handle = model.register_forward_hook(lambda *args: None)
    assert "hooked" in why_not(model)
    handle.remove()
    assert why_not(model) is None
    model.forward = model.forward
    assert "replaced" in why_not(model)

    class Own(ossia.GptOssForCausalLM):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    own = Own(model.config)
    own.generation_config = model.generation_config
    assert "of its own" in why_not(own)


lists = st.lists(st.lists(st.integers(7, 96), min_size=1, max_size=20), min_size=1, max_size=4)


@settings(max_examples=15)
@given(
    rows=lists,
    seed=st.integers(0, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    options=st.fixed_dictionaries(
        {"max_new_tokens": st.integers(1, 25)},
        optional={
            "repetition_penalty": st.floats(0.7, 1.8),
            "min_new_tokens": st.integers(1, 5),
            "min_length": st.integers(1, 30),
            "eos_token_id": st.one_of(st.none(), st.lists(st.integers(0, 96), min_size=1)),
            "prefill_chunk_size": st.integers(1, 8),
        },
    ),
)
def test_greedy_ids_are_those_of_the_module_loop(rows, seed, dtype, options):
    model = MODELS[seed, dtype]
    by_engine = model.generate(rows, cache_implementation="paged", **options)
    by_module = model.generate(rows, cache_implementation="dynamic", **options)
    assert torch.equal(by_engine, by_module)


MODELS = {
    (seed, dtype): small_lm(seed, dtype=dtype)
    for seed in range(4)
    for dtype in (torch.float32, torch.float64)
}


def test_the_engine_is_taken_wherever_it_can(monkeypatch):
    model, _ = shared_pair()
    taken = []
    run = on_engine.EngineCall.run
    monkeypatch.setattr(on_engine.EngineCall, "run", lambda self: taken.append(1) or run(self))
    model.generate(prompts(2, 3), max_new_tokens=2)
    assert taken == [1]
    model.generate(prompts(2, 3), max_new_tokens=2, num_beams=2)
    model.generate(prompts(2, 3), max_new_tokens=2, cache_implementation="dynamic")
    assert taken == [1]
    with pytest.raises(RequestError, match="cache_implementation: num_beams=2"):
        model.generate(prompts(2, 3), max_new_tokens=2, num_beams=2, cache_implementation="paged")


@pytest.mark.parametrize("cache", ["paged", "dynamic"])
def test_the_seed_of_torch_makes_calls_repeat(cache):
    model, _ = shared_pair()
    options = {"do_sample": True, "max_new_tokens": 12, "num_return_sequences": 3}
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model.generate(prompts(2, 3), cache_implementation=cache, **options).tolist())
        drawn.append(model.generate(prompts(2, 3), cache_implementation=cache, **options).tolist())
    assert drawn[:2] == drawn[2:4]
    assert drawn[0] != drawn[1]
    assert drawn[:2] != drawn[4:]
    assert len({tuple(row) for row in drawn[0]}) == 6  # all continuations differ


def test_more_continuations_than_one_request_may_have():
    model, _ = shared_pair()
    ids = model.generate([[10]], do_sample=True, num_return_sequences=130, max_new_tokens=2)
    assert ids.shape == (130, 3)


@pytest.mark.parametrize("cache", ["paged", "dynamic"])
def test_todays_weights_are_used(cache):
    model = small_lm(2)
    before = model.generate(prompts(1, 4), max_new_tokens=8, cache_implementation=cache)
    with torch.no_grad():
        model.lm_head.weight[50] += 3.0 * model.lm_head.weight.norm(dim=-1).max()
        model.model.embed_tokens.weight.mul_(-1)
    after = model.generate(prompts(1, 4), max_new_tokens=8, cache_implementation=cache)
    assert not torch.equal(before, after)
    other = small_lm(2)
    other.load_state_dict(model.state_dict())
    assert torch.equal(
        after, other.generate(prompts(1, 4), max_new_tokens=8, cache_implementation="dynamic")
    )


def test_nothing_of_the_engine_stays(monkeypatch):
    model = small_lm()
    cores = []
    make = on_engine.EngineCore

    def watched(*args, **kwargs):
        core = make(*args, **kwargs)
        cores.append(weakref.ref(core))
        return core

    monkeypatch.setattr(on_engine, "EngineCore", watched)
    gc.disable()  # not even until the next collection
    try:
        model.generate(prompts(2, 4), max_new_tokens=3)
        assert [core() for core in cores] == [None]
    finally:
        gc.enable()
    assert set(vars(model)) == set(vars(small_lm()))


@pytest.mark.parametrize("cache", ["paged", "dynamic"])
def test_streams_give_the_prompt_and_then_each_token(cache):
    class Notes(ossia.BaseStreamer):
        def __init__(self):
            self.shapes, self.ids, self.ended = [], [], 0

        def put(self, value):
            self.shapes.append(tuple(value.shape))
            self.ids += value.flatten().tolist()

        def end(self):
            self.ended += 1

    model, _ = shared_pair()
    notes = Notes()
    ids = model.generate(
        prompts(1, 4), max_new_tokens=5, streamer=notes, cache_implementation=cache
    )
    assert notes.ids == ids[0].tolist()
    assert notes.shapes == [(1, 4), *[(1,)] * (ids.shape[1] - 4)]
    assert notes.ended == 1


class Letters:
    """Every id is one character."""

    def decode(self, ids):
        return "".join(chr(64 + one) for one in ids)


def test_stop_strings_end_rows_on_their_own():
    model, _ = shared_pair()
    ids = prompts(2, 4)
    options = {"max_new_tokens": 12, "eos_token_id": None}
    plain = model.generate(ids, **options)
    stop = Letters().decode(plain[0, 7:9].tolist())
    by_engine, by_module = (
        model.generate(
            ids,
            stop_strings=[stop],
            tokenizer=Letters(),
            cache_implementation=cache,
            pad_token_id=PAD,
            **options,
        )
        for cache in ("paged", "dynamic")
    )
    assert torch.equal(by_engine, by_module)
    assert by_engine[0].tolist() == plain[0, :9].tolist() + [PAD] * (by_engine.shape[1] - 9)


def test_stop_strings_end_sampled_continuations_on_their_own():
    model, _ = shared_pair()
    letters = [chr(64 + one) for one in range(20, 40)]
    rows = model.generate(
        prompts(2, 4),
        stop_strings=letters,
        tokenizer=Letters(),
        do_sample=True,
        num_return_sequences=3,
        max_new_tokens=12,
        eos_token_id=None,
        pad_token_id=PAD,
        cache_implementation="paged",
    )[:, 4:].tolist()
    for row in rows:
        first = next((at for at, one in enumerate(row) if 20 <= one < 40), len(row))
        assert set(row[first + 1 :]) <= {PAD}
    assert any(PAD in row for row in rows)


def test_stop_strings_need_a_tokenizer():
    model, _ = shared_pair()
    for cache in (None, "dynamic"):
        with pytest.raises(RequestError, match=r"stop_strings: .*tokenizer="):
            model.generate(
                prompts(1, 2), stop_strings="a", max_new_tokens=2, cache_implementation=cache
            )


@pytest.mark.parametrize("cache", ["paged", "dynamic"])
def test_time_runs_out_behind_a_token(cache):
    model, _ = shared_pair()
    ids = model.generate(
        prompts(2, 3),
        max_new_tokens=5000,
        max_time=0.0,
        eos_token_id=None,
        pad_token_id=PAD,
        cache_implementation=cache,
    )
    assert ids.shape == (2, 4)


@pytest.mark.parametrize("cache", ["paged", "dynamic"])
def test_tokens_without_a_name_are_never_drawn(cache):
    model = small_lm(num_hidden_layers=1, vocab_size=special.VOCAB_SIZE, hidden_size=32)
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight[special.LAST_LISTED + 1 :] = 1.0
        model.lm_head.weight[:, ::2] *= -1
    torch.manual_seed(0)
    for options in ({}, {"do_sample": True, "num_return_sequences": 20}, {"num_beams": 2}):
        if cache == "paged" and "num_beams" in options:
            continue
        ids = model.generate([[11]], max_new_tokens=3, cache_implementation=cache, **options)
        assert int(ids.max()) <= special.LAST_LISTED
    # With another vocabulary nobody knows which ids have names.
    own = model.generate(
        [[11]],
        max_new_tokens=1,
        cache_implementation="dynamic",
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
    )
    assert own.scores[0][0, special.LAST_LISTED + 1 :].isneginf().all()
    assert own.logits[0].isfinite().all()


def test_scores_that_are_no_numbers():
    model = small_lm()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(OssiaError, match="not finite"):
        model.generate([[11]], max_new_tokens=1)
    with pytest.raises(RequestError, match="NaN"):
        model.generate([[11]], max_new_tokens=1, do_sample=True, cache_implementation="dynamic")
