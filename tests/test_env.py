"""Environment variables: defaults, and nonsense refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossia.env import (
    cache_folder,
    colour,
    cpu_isa,
    cpu_pin,
    debug,
    let_waiting_threads_sleep,
    log_level,
    threads_chosen,
)
from ossia.errors import ConfigError


def test_the_cache_folder_is_where_the_user_says() -> None:
    assert cache_folder({"OSSIA_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}) == Path("/a/b")
    assert cache_folder({"OSSIA_CACHE": "~/b"}) == Path.home() / "b"


def test_the_cache_folder_follows_the_desktop_standard() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/ossia")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / "ossia"
    assert cache_folder({}) == Path.home() / ".cache" / "ossia"


def test_a_relative_cache_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="OSSIA_CACHE='here' is not an absolute path"):
        cache_folder({"OSSIA_CACHE": "here"})


@pytest.mark.parametrize(("value", "shown"), [("", False), ("0", False), ("1", True), ("y", True)])
def test_tracebacks_are_shown_on_request(value: str, shown: bool) -> None:
    assert debug({"OSSIA_DEBUG": value}) is shown
    assert debug({}) is False


def test_the_log_level_is_none_or_a_known_one() -> None:
    assert log_level({}) is None
    assert log_level({"OSSIA_LOG": ""}) is None
    assert log_level({"OSSIA_LOG": "INFO"}) == "info"
    with pytest.raises(ConfigError, match="OSSIA_LOG='loud' is not one of debug, info"):
        log_level({"OSSIA_LOG": "loud"})


def test_colour_may_be_declined() -> None:
    assert colour({})
    assert colour({"NO_COLOR": ""})
    assert not colour({"NO_COLOR": "1"})
    assert not colour({"TERM": "dumb"})


def test_threads_of_cpu_kernels_are_kept_to_cores_unless_the_user_says_no() -> None:
    assert cpu_pin({})
    assert cpu_pin({"OSSIA_CPU_PIN": ""})
    assert cpu_pin({"OSSIA_CPU_PIN": "1"})
    assert not cpu_pin({"OSSIA_CPU_PIN": "0"})
    with pytest.raises(ConfigError, match="OSSIA_CPU_PIN='no' is neither 0 nor 1"):
        cpu_pin({"OSSIA_CPU_PIN": "no"})


def test_threads_may_be_chosen() -> None:
    assert not threads_chosen({})
    assert threads_chosen({"OMP_NUM_THREADS": "4"})
    assert threads_chosen({"MKL_NUM_THREADS": "4"})


def test_waiting_threads_sleep_unless_the_user_says_otherwise() -> None:
    environ: dict[str, str] = {}
    let_waiting_threads_sleep(environ)
    assert environ == {"OMP_WAIT_POLICY": "PASSIVE"}
    environ["OMP_WAIT_POLICY"] = "ACTIVE"
    let_waiting_threads_sleep(environ)
    assert environ == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_the_instruction_set_is_none_or_a_known_one() -> None:
    assert cpu_isa({}) is None
    assert cpu_isa({"OSSIA_CPU_ISA": "AVX2"}) == "avx2"
    assert cpu_isa({"OSSIA_CPU_ISA": "off"}) == "off"
    with pytest.raises(ConfigError, match="OSSIA_CPU_ISA='sse' is not one of portable, avx2"):
        cpu_isa({"OSSIA_CPU_ISA": "sse"})
