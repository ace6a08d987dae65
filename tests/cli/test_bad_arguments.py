"""Whatever is wrong: one line that says what to do, the right exit code, nothing on stdout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

REFUSED, USAGE, BROKEN, NOT_FOUND = 1, 2, 3, 4

BAD_ARGUMENTS = {
    "unknown command": (["rnu"], USAGE, r"No such command 'rnu'.*see `ossia --help`"),
    "unknown option": (["run", "--efort", "low", "hi"], USAGE, r"--efort.*see `ossia run --help`"),
    "option without value": (["run", "hi", "--seed"], USAGE, r"--seed"),
    "effort typo": (["run", "hi", "--effort", "hgih"], USAGE, r"'hgih'.*low.*medium.*high"),
    "max tokens negative": (["run", "hi", "--max-tokens", "-1"], USAGE, r"max_tokens: -1"),
    "max tokens zero": (["run", "hi", "--max-tokens", "0"], USAGE, r"max_tokens: 0"),
    "max tokens no number": (["run", "hi", "--max-tokens", "many"], USAGE, r"'--max-tokens'"),
    "temperature negative": (["run", "hi", "-t", "-0.1"], USAGE, r"temperature: -0.1 is not betw"),
    "temperature no number": (["run", "hi", "-t", "warm"], USAGE, r"'--temperature'"),
    "temperature nan": (["chat", "-t", "nan"], USAGE, r"temperature: nan"),
    "top-p zero": (["run", "hi", "--top-p", "0"], USAGE, r"top_p: 0.0 is not between"),
    "top-p above one": (["generate", "hi", "--top-p", "1.1"], USAGE, r"top_p: 1.1 is not between"),
    "seed negative": (["run", "hi", "--seed", "-5"], USAGE, r"seed: -5 is not an integer from 0"),
    "limit negative": (["generate", "hi", "--limit", "-1"], USAGE, r"limit"),
    "raw and json": (["run", "hi", "--raw", "--json"], USAGE, r"--raw and --json exclude"),
    "output without a task": (["run", "hi", "--output", "o.json"], USAGE, r"output: is for --task"),
    "input without a task": (["run", "hi", "--input", "i.txt"], USAGE, r"input: is for --task"),
    "column without a task": (["run", "hi", "--column", "x"], USAGE, r"column: is for --task"),
    "format without a task": (["run", "hi", "--format", "csv"], USAGE, r"format: is for --task"),
    "overwriting without a task": (["run", "hi", "--overwrite"], USAGE, r"overwrite: is for --tas"),
    "revision of the demo": (
        ["run", "demo", "hi", "--revision", "x"],
        USAGE,
        r"revision: is for hub repositories, and demo comes with Ossia; leave it out",
    ),
    "revision of random weights": (
        ["generate", "random:tiny", "hi", "--revision", "x"],
        USAGE,
        r"revision: is for hub repositories, and random:tiny comes",
    ),
    "no prompt": (["run"], USAGE, r"prompt: missing; say what to ask, or -"),
    "model without prompt": (["run", "random:tiny"], USAGE, r"prompt: missing.*ask random:tiny"),
    "empty prompt": (["run", "demo", ""], USAGE, r"prompt: is empty"),
    "blank prompt": (["run", "  "], USAGE, r"prompt: is empty"),
    "empty standard input": (["run", "demo", "-"], USAGE, r"prompt: is empty"),
    "prompt and standard input": (["run", "demo", "hi", "-"], USAGE, r"unexpected extra argument"),
    "prompt twice": (["generate", "demo", "hi", "-p", "ho"], USAGE, r"prompt: given twice"),
    "unknown model": (["run", "gpt-5", "hi"], NOT_FOUND, r"'gpt-5' is no folder, no hub id"),
    "empty model": (["run", "", "hi"], NOT_FOUND, r"'' is no folder, no hub id"),
    "missing folder": (["run", "./nowhere", "hi"], NOT_FOUND, r"\./nowhere: no such folder"),
    "model not downloaded": (
        ["run", "openai/gpt-oss-20b", "hi"],
        NOT_FOUND,
        r"was not downloaded; run `ossia pull openai/gpt-oss-20b`",
    ),
    "unknown random preset": (
        ["chat", "random:9b"],
        BROKEN,
        r"known: random:20b, random:120b, random:tiny",
    ),
    "file as model": (["run", "{file}", "hi"], BROKEN, r"is a file; give the folder"),
    "empty folder as model": (["run", "{empty}", "hi"], BROKEN, r"holds no files"),
    "unknown device": (["run", "{tiny}", "hi", "--device", "tpu"], USAGE, r"device: 'tpu' is not"),
    "absent device": (["run", "{tiny}", "hi", "--device", "cuda:99"], USAGE, r"device: .*CUDA"),
    "unsupported device": (
        ["run", "{tiny}", "hi", "--device", "meta"],
        USAGE,
        r"no numbers on meta; use auto, cpu or cuda",
    ),
    "dtype typo": (["run", "{tiny}", "hi", "--dtype", "bf16"], USAGE, r"dtype: 'bf16' is not one"),
    "cpu weights typo": (
        ["run", "hi", "--cpu-weights", "int4"],
        USAGE,
        r"'int4'.*bf16.*int8.*auto",
    ),
    "cpu activations typo": (["chat", "--cpu-activations", "x"], USAGE, r"'x'.*full.*int8"),
    "int8 of another dtype": (
        ["run", "{tiny}", "hi", "--device", "cpu", "--dtype", "float32", "--cpu-weights", "int8"],
        BROKEN,
        r"cpu_weights='int8': .*needs a model in bfloat16; leave it out",
    ),
    "parts of a model that are none": (
        ["run", "hi", "--fp8-weights", "experts"],
        USAGE,
        r"'experts'.*none.*unembedding.*unembedding,attention",
    ),
    "8-bit floats on a CPU": (
        ["run", "{tiny}", "hi", "--device", "cpu", "--fp8-weights", "unembedding"],
        BROKEN,
        r"fp8_weights='unembedding': .*needs a CUDA device; leave it out",
    ),
    "empty stop string": (["run", "{tiny}", "hi", "--stop", ""], USAGE, r"stop: a stop string is"),
    "prompt too long": (
        ["run", "{short}", "hi " * 99],
        USAGE,
        r"leave no room.*shorten the prompt",
    ),
    "text too long": (
        ["generate", "{short}", "hi " * 99],
        USAGE,
        r"leave no room.*shorten the pro",
    ),
    "convert onto itself": (["convert", "{tiny}", "{tiny}"], BROKEN, r"is not empty"),
    "convert into a full folder": (["convert", "{tiny}", "{full}"], BROKEN, r"is not empty"),
    "overwrite what is no checkpoint": (
        ["convert", "{tiny}", "{full}", "--overwrite"],
        BROKEN,
        r"holds no config\.json",
    ),
    "convert onto a file": (["convert", "{tiny}", "{file}"], BROKEN, r"is a file; choose a folder"),
    "convert nothing": (["convert", "./nowhere", "{empty}"], NOT_FOUND, r"no such folder"),
    "layout typo": (["convert", "{tiny}", "{empty}", "--layout", "orig"], USAGE, r"'orig'"),
    "experts typo": (["convert", "{tiny}", "{empty}", "--experts", "fp8"], USAGE, r"'fp8'"),
    "convert dtype typo": (["convert", "{tiny}", "{empty}", "--dtype", "x"], USAGE, r"dtype: 'x'"),
    "convert without target": (["convert", "{tiny}"], USAGE, r"Missing argument"),
    "pull of no id": (["pull", "not an id"], NOT_FOUND, r"not an id"),
    "pull of the demo": (
        ["pull", "demo"],
        USAGE,
        r"model: demo comes with Ossia and needs no down",
    ),
    "pull of random weights": (["pull", "random:20b"], USAGE, r"random:20b comes with Ossia"),
    "pull offline": (["pull", "openai/gpt-oss-20b", "--offline"], NOT_FOUND, r"gpt-oss-20b is not"),
    "pull without a hub": (["pull", "openai/gpt-oss-20b"], NOT_FOUND, r"openai/gpt-oss-20b"),
    "inspect a text file": (["inspect", "{file}"], BROKEN, r"is a file; give the folder"),
    "inspect another model": (["inspect", "{bert}"], BROKEN, r"model_type is 'bert'"),
    "inspect without config": (["inspect", "{bare}"], BROKEN, r"config\.json: is missing"),
    "inspect truncated weights": (["inspect", "{cut}"], BROKEN, r"model\.safetensors.*truncated"),
    "inspect a Git LFS pointer": (["inspect", "{lfs}"], BROKEN, r"Git LFS pointer.*ossia pull"),
    "inspect GGUF": (["inspect", "{gguf}"], BROKEN, r"holds GGUF files"),
    "render nothing": (["render"], USAGE, r"Missing argument.*ossia render --help"),
    "render a missing file": (["render", "nowhere.json"], USAGE, r"source: nowhere.json: no such"),
    "render a folder": (["render", "{empty}"], USAGE, r"source: .*is a folder; give a file, or -"),
    "render what is no JSON": (["render", "{file}"], REFUSED, r"not JSON"),
    "render empty input": (["render", "-"], REFUSED, r"not JSON"),
    "render no messages": (["render", "{config}"], REFUSED, r"no list of messages"),
    "render an unknown role": (["render", "{narrator}"], REFUSED, r"unknown role 'narrator'"),
    "render with missing tools": (
        ["render", "{chat}", "--tools", "nowhere.json"],
        USAGE,
        r"tools: nowhere.json: no such file",
    ),
    "render with broken tools": (["render", "{chat}", "--tools", "{file}"], REFUSED, r"not JSON"),
    "render with no tools": (
        ["render", "{chat}", "--tools", "{config}"],
        REFUSED,
        r"a tool.*needs a 'name'",
    ),
    "render for nothing": (["render", "{chat}", "--for", "fun"], USAGE, r"'fun'.*completion"),
    "render a day that is none": (
        ["render", "{chat}", "--date", "tomorrow"],
        USAGE,
        r"date: 'tomorrow' is no date; write it as",
    ),
    "render an unknown difference": (
        ["render", "{chat}", "--as-library", "x"],
        USAGE,
        r"as-library: 'x' is no difference; known: all, old-reasoning",
    ),
    "render an unknown builtin": (["render", "{chat}", "--builtin", "shell"], USAGE, r"'shell'"),
    "render two forms": (
        ["render", "{chat}", "--tokens", "--json"],
        USAGE,
        r"--tokens and --json exclude",
    ),
    "settings of harmony's own form": (
        ["render", "{harmony}", "--effort", "low"],
        USAGE,
        r"reasoning_effort: only for chats",
    ),
    "parse nothing": (["parse"], USAGE, r"Missing argument"),
    "parse a missing file": (["parse", "nowhere.txt"], USAGE, r"nowhere.txt: no such file"),
    "parse what is no list of ids": (["parse", "{file}", "--ids"], REFUSED, r"not a list of token"),
    "parse as both": (["parse", "{file}", "--ids", "--text"], USAGE, r"--ids and --text exclude"),
    "parse from an unknown role": (["parse", "{file}", "--begins", "x"], USAGE, r"'x'.*assistant"),
    "inspect two models": (["inspect", "demo", "demo"], USAGE, r"unexpected extra argument"),
    "inspect for no size": (
        ["inspect", "demo", "--memory", "lots"],
        USAGE,
        r"--memory: 'lots' is no size.*5GB",
    ),
}


@pytest.fixture
def places(tmp_path, tiny_folder, short_folder) -> dict[str, Path]:
    """Folders and files in every state of disrepair, by name."""
    names = ("empty", "full", "bert", "bare", "cut", "lfs", "gguf")
    places = {name: tmp_path / name for name in names}
    for folder in places.values():
        folder.mkdir()
    places["file"] = tmp_path / "notes.txt"
    places["file"].write_text("notes")
    (places["full"] / "letters.txt").write_text("Dear all")
    (places["gguf"] / "model.gguf").write_bytes(b"GGUF")
    chats = {
        "chat": [{"role": "user", "content": "Hi"}],
        "narrator": [{"role": "narrator", "content": "Hi"}],
        "harmony": [{"role": "assistant", "content": "Hi", "channel": "final"}],
    }
    for name, chat in chats.items():
        places[name] = tmp_path / f"{name}.json"
        places[name].write_text(json.dumps(chat))
    weights, config = tiny_folder / "model.safetensors", tiny_folder / "config.json"
    for name in ("bert", "bare"):
        (places[name] / weights.name).symlink_to(weights)
    for name in ("cut", "lfs"):
        (places[name] / config.name).symlink_to(config)
    (places["bert"] / config.name).write_text(json.dumps({"model_type": "bert"}))
    (places["cut"] / weights.name).write_bytes(weights.read_bytes()[:100_000])
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (places["lfs"] / weights.name).write_bytes(pointer)
    places["config"] = config
    return places | {"tiny": tiny_folder, "short": short_folder}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS
)
def test_bad_argument(ossia, places, tmp_path, monkeypatch, arguments, exit_code, message):
    monkeypatch.chdir(tmp_path)
    result = ossia(*[re.sub(r"^\{(\w+)\}$", lambda m: str(places[m[1]]), arg) for arg in arguments])
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line
    assert result.exit_code == exit_code
    assert list(places["empty"].iterdir()) == [], "nothing is left behind"


def test_the_table_is_long_enough():
    assert len(BAD_ARGUMENTS) >= 25


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu(ossia, tiny_folder):
    result = ossia("run", tiny_folder, "hi", "--device", "cuda")
    assert result.exit_code == USAGE
    assert result.stderr == "error: device: this torch finds no CUDA device; see `ossia doctor`\n"


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--cpu-weights", r"needs all weights on the CPU; leave"),
        ("--cpu-activations", r"on the CPU"),
    ],
)
def test_int8_on_a_gpu(ossia, tiny_folder, option, told):
    result = ossia("run", tiny_folder, "hi", "--device", "cuda", option, "int8")
    assert (result.exit_code, result.stdout) == (BROKEN, "")
    (line,) = result.stderr.splitlines()
    assert re.search(told, line)


def test_standard_input_that_is_no_text(ossia):
    result = ossia("run", "-", stdin=b"\xff\xfe\x00")
    assert result.exit_code == USAGE
    assert result.stderr == "error: prompt: standard input is no UTF-8 text\n"


@pytest.mark.parametrize(
    ("variable", "value"), [("OSSIA_LOG", "loud"), ("OSSIA_CACHE", "relative/folder")]
)
def test_bad_environment(ossia, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    result = ossia("run", "demo", "hi")
    assert result.exit_code == BROKEN
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {variable}='{value}' is not")
