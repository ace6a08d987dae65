from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from ossia.errors import ConfigError
from ossia.server.engine.spec import WorkerSpec
from ossia.server.launch import worker_spec
from ossia.server.options import ModelOptions, serve_options
from ossia.server.settings import ServerSettings


def _options(flags=None, environ=None, text=None, tmp_path=None):
    file = None
    if text is not None:
        file = tmp_path / "serve.toml"
        file.write_text(text)
    return serve_options(flags or {}, environ=environ or {}, config_file=file)


def test_the_defaults_are_those_of_the_settings():
    options = _options()
    assert options.settings == ServerSettings()
    assert options.model == ModelOptions()


def test_a_flag_outdoes_the_environment_and_that_the_file(tmp_path):
    text = 'port = 1\nmax_n = 2\nreasoning = "both"\nmodel = "a"'
    environ = {"OSSIA_SERVE_PORT": "3", "OSSIA_SERVE_MAX_N": "4", "OTHER": "x"}
    options = _options({"port": 5, "max_n": None}, environ, text, tmp_path)
    assert (options.settings.port, options.settings.max_n) == (5, 4)
    assert options.settings.reasoning == "both"
    assert options.model.model == "a"


def test_every_kind_of_value_from_a_file(tmp_path):
    text = (
        'allowed_hosts = ["a", "b"]\nlog_prompts = true\nkeep_alive = 5\nstate_folder = "~/x"\n'
        "max_context = 77"
    )
    options = _options(text=text, tmp_path=tmp_path)
    assert options.settings.allowed_hosts == ("a", "b")
    assert options.settings.log_prompts is True
    assert options.settings.keep_alive == 5.0
    assert options.settings.state_folder == Path.home() / "x"
    assert options.model.max_context == 77


def test_every_kind_of_value_from_the_environment():
    environ = {
        "OSSIA_SERVE_API_KEYS": "a, b",
        "OSSIA_SERVE_LOG_PROMPTS": "yes",
        "OSSIA_SERVE_KEEP_ALIVE": "2.5",
        "OSSIA_SERVE_STATE_FOLDER": "/x",
        "OSSIA_SERVE_LOG_FORMAT": "json",
    }
    settings = _options(environ=environ).settings
    assert settings.api_keys == ("a", "b")
    assert settings.log_prompts is True
    assert (settings.keep_alive, settings.log_format) == (2.5, "json")
    assert settings.state_folder == Path("/x")


def test_an_empty_variable_counts_as_not_given():
    environ = {"OSSIA_SERVE_STATE_FOLDER": "", "OSSIA_SERVE_PORT": ""}
    assert _options(environ=environ) == _options()


def test_keys_from_a_file_join_the_others(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\nfirst\n\n second \n")
    options = _options({"api_keys": ("given",), "api_key_file": file})
    assert options.settings.api_keys == ("given", "first", "second")
    file.write_text("# none\n")
    with pytest.raises(ConfigError, match="holds no key"):
        _options({"api_key_file": file})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("prt = 1", "did you mean port", id="name"),
        pytest.param('port = "1"', "of type int", id="type"),
        pytest.param("port = true", "of type int", id="bool"),
        pytest.param("port = 70000", "0 to 65535", id="range"),
        pytest.param("allowed_hosts = [1]", "list of strings", id="list"),
        pytest.param('reasoning = "all"', "known: raw", id="choice"),
        pytest.param('cpu_weights = "int4"', "known: bf16, int8, auto", id="precision"),
        pytest.param("port = ", "serve.toml", id="no-toml"),
        pytest.param("max_queue = 0", "above 0", id="zero"),
        pytest.param('tls_key = "k"', "tls_certificate", id="key-alone"),
        pytest.param("drain_timeout = -1", "drain_timeout is -1.0; .*not be below 0", id="drain"),
        pytest.param("drain_timeout = nan", "drain_timeout is nan", id="nan"),
        pytest.param("keep_alive = nan", "keep_alive is nan", id="nan-above-0"),
        pytest.param("request_timeout = inf", "request_timeout is infinite", id="infinite"),
        pytest.param('allowed_origins = ["x.org"]', "'x.org' is no origin", id="no-scheme"),
        pytest.param('allowed_origins = ["https://x.org/a"]', "is no origin", id="path"),
        pytest.param('allowed_hosts = ["https://x.org"]', "is no name", id="url-as-host"),
        pytest.param('allowed_hosts = ["x.org:80"]', "is no name", id="host-with-port"),
    ],
)
def test_nonsense_in_a_file_is_refused(tmp_path, text, told):
    with pytest.raises(ConfigError, match=told):
        _options(text=text, tmp_path=tmp_path)


def test_every_kind_of_origin_and_host_is_taken():
    origins = ("*", "null", "https://x.org/", "http://[::1]:3000", "chrome-extension://abc")
    hosts = ("*", "gpu.lan", "x_1", "::1", "[::1]", "10.0.0.1")
    settings = _options({"allowed_origins": origins, "allowed_hosts": hosts, "drain_timeout": 0.0})
    assert settings.settings.allowed_origins == origins


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("LOG_PROMPTS", "maybe"), ("NOTHING", "1"), ("LOG_FORMAT", "xml")],
)
def test_nonsense_in_the_environment_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"OSSIA_SERVE_{name}"):
        _options(environ={f"OSSIA_SERVE_{name}": value})


def test_no_name_means_two_options():
    names = [each.name for kind in (ModelOptions, ServerSettings) for each in fields(kind)]
    assert len(names) == len(set(names))


def test_a_deterministic_engine_can_be_asked_for():
    assert not worker_spec(_options().model).engine.deterministic
    for options in (
        _options({"deterministic": True}),
        _options(environ={"OSSIA_SERVE_DETERMINISTIC": "yes"}),
    ):
        spec = WorkerSpec.from_json(worker_spec(options.model).to_json())
        assert spec.engine.deterministic


def test_long_prompts_in_8_bit_floats_can_be_asked_for(tmp_path):
    for options in (
        _options({"fp8_prefill": True}),
        _options(environ={"OSSIA_SERVE_FP8_PREFILL": "yes"}),
        _options(text="fp8_prefill = true\n", tmp_path=tmp_path),
    ):
        assert worker_spec(options.model).engine.fp8_prefill


@pytest.mark.parametrize("where", ["flag", "environment", "file"])
def test_precision_reaches_the_engine_s_config(tmp_path, where):
    given = {"cpu_weights": "auto", "cpu_activations": "int8", "kv_dtype": "int8"}
    given |= {"fp8_weights": "unembedding,attention"}
    options = {
        "flag": lambda: _options(given),
        "environment": lambda: _options(
            environ={f"OSSIA_SERVE_{name.upper()}": value for name, value in given.items()}
        ),
        "file": lambda: _options(
            text="".join(f'{name} = "{value}"\n' for name, value in given.items()),
            tmp_path=tmp_path,
        ),
    }[where]()
    spec = worker_spec(options.model)
    assert WorkerSpec.from_json(spec.to_json()) == spec
    assert not spec.engine.fp8_prefill
    assert {name: getattr(spec.engine, name) for name in given} == given
