"""What an unset setting becomes."""

from __future__ import annotations

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from ossia import GenerationConfig
from ossia.api.generation.resolving import DEFAULTS, new_token_limit, resolve
from ossia.errors import RequestError

NOTHING = GenerationConfig()


def test_unset_sampling_is_openais_recommendation():
    config, _ = resolve(None, GenerationConfig(do_sample=True), {})
    assert (config.do_sample, config.temperature, config.top_p, config.top_k) == (True, 1.0, 1.0, 0)
    assert config.min_p is None


def test_other_defaults_are_those_of_transformers():
    theirs = transformers.GenerationConfig._get_default_generation_params()
    for name, value in DEFAULTS.items():
        if name != "top_k" and name in theirs:
            assert value == theirs[name], name


values = st.one_of(st.none(), st.integers(1, 9))


@given(values, values, values, st.booleans())
def test_the_call_goes_before_its_config_and_that_before_the_models(call, given_, own, named):
    kwargs = {"top_k": call} if named else {}
    config, rest = resolve(GenerationConfig(top_k=given_), GenerationConfig(top_k=own), kwargs)
    asked = [value for value in (call if named else None, given_, own) if value is not None]
    expected = call if named else (asked[0] if asked else None)
    assert config.top_k == (expected or 0)
    assert rest == {}


def test_none_in_the_call_means_unset():
    config, _ = resolve(None, GenerationConfig(eos_token_id=[1], top_k=40), {"eos_token_id": None})
    assert config.eos_token_id is None
    assert config.top_k == 40


def test_asking_for_a_temperature_asks_for_sampling():
    assert resolve(None, NOTHING, {"temperature": 0.7})[0].do_sample
    assert resolve(GenerationConfig(top_p=0.9), NOTHING, {})[0].do_sample
    assert not resolve(None, NOTHING, {})[0].do_sample
    assert not resolve(None, NOTHING, {"temperature": 0.7, "do_sample": False})[0].do_sample
    # What only the checkpoint says does not decide: transformers is greedy then, too.
    assert not resolve(None, GenerationConfig(temperature=0.7), {})[0].do_sample


def test_temperature_0_is_greedy():
    config, _ = resolve(None, GenerationConfig(do_sample=True), {"temperature": 0})
    assert not config.do_sample


def test_a_limit_of_the_call_goes_before_the_other_limit_of_the_model():
    own = GenerationConfig(max_new_tokens=500, min_new_tokens=5)
    config, _ = resolve(None, own, {"max_length": 30, "min_length": 2})
    assert (config.max_length, config.max_new_tokens) == (30, None)
    assert (config.min_length, config.min_new_tokens) == (2, None)
    both, _ = resolve(None, own, {"max_length": 30, "max_new_tokens": 7})
    assert new_token_limit(both, 10, None) == 7


def test_limits():
    def limit(prompt_len, positions=None, **kwargs):
        return new_token_limit(resolve(None, NOTHING, kwargs)[0], prompt_len, positions)

    assert limit(10, max_length=30) == 20
    assert limit(10, max_new_tokens=30) == 30
    assert limit(10) == 20
    assert limit(10, 25) == 15
    with pytest.raises(RequestError, match="max_length"):
        limit(30, max_length=30)


def test_neither_the_models_settings_nor_the_given_ones_change():
    own, given_ = GenerationConfig(top_k=3), GenerationConfig(num_beams=2)
    config, _ = resolve(given_, own, {"top_p": 0.5, "do_sample": True})
    config.top_k = 99
    assert (own, given_) == (GenerationConfig(top_k=3), GenerationConfig(num_beams=2))


def test_transformers_own_class_and_dicts_will_do():
    theirs = transformers.GenerationConfig(num_beams=3, max_new_tokens=4)
    for given_ in (theirs, {"num_beams": 3, "max_new_tokens": 4}):
        config, _ = resolve(given_, NOTHING, {})
        assert (config.num_beams, config.max_new_tokens) == (3, 4)
    with pytest.raises(RequestError, match="generation_config"):
        resolve(7, NOTHING, {})


def test_equal_greedy_continuations_are_refused():
    with pytest.raises(RequestError, match="num_return_sequences"):
        resolve(None, NOTHING, {"num_return_sequences": 2})
    resolve(None, GenerationConfig(do_sample=True), {"num_return_sequences": 2})


def test_caches_that_are_the_same_to_the_caller():
    for name in ("static", "hybrid", "sliding_window"):
        assert (
            resolve(None, NOTHING, {"cache_implementation": name})[0].cache_implementation
            == "dynamic"
        )
    with pytest.raises(RequestError, match="cache_implementation"):
        resolve(None, NOTHING, {"cache_implementation": "dynamic", "use_cache": False})
