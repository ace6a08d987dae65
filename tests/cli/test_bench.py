"""`ossia bench`: headings, tables, JSON, traces, refusals."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

import ossia as package
from ossia.bench import ceilings
from ossia.bench.ceilings import Ceilings
from ossia.cli import bench
from ossia.cli.bench_view import show_load_metrics, show_step
from ossia.cli.main import app
from ossia.cli.output import Output
from support import cpu_kernels
from support.scripted_api import DONE, Scripted, scripted_api, text_event, usage_event
from support.serve_process import serving

COMMANDS = ("latency", "throughput", "serve", "kernels", "load")
MEASURED = Ceilings(read_bandwidth=25e9, matrix_rate=2e12)
QUICK = {
    "latency": "--prompt 4 --tokens 3 --repeats 2 --batch 1,2 --depth 0,16",
    "throughput": "--num-prompts 3 --input-len 4 --output-len 3 --max-sequences 2",
    "kernels": "--batch 1,2 --context 9 --repeats 1",
    "load": "--repeats 1",
}


@pytest.fixture(autouse=True)
def _measured(monkeypatch) -> None:
    monkeypatch.setattr(ceilings, "measure_ceilings", lambda _: MEASURED)


def words(command: str, model: str = "random:tiny") -> list[str]:
    return ["bench", command, "--model", model, "--device", "cpu", *QUICK[command].split()]


def strict_json(text: str) -> dict:
    """JSON as other languages read it: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_without_a_command_there_is_help(ossia):
    result = ossia("bench")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.strip() == ossia("bench", "--help").stdout.strip()
    for command in COMMANDS:
        (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"  {command} ")]
        assert not line.endswith("..."), line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_examples_that_are_accepted(ossia, command: str):
    result = ossia("bench", command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: ossia bench {command} ")
    for example in bench.EXAMPLES[command]:
        assert example in result.stdout
        accepted(shlex.split(example))


def accepted(line: list[str]) -> None:
    group = typer.main.get_command(app)
    assert line[:2] == ["ossia", "bench"]
    with group.make_context("ossia", ["bench"]) as context:
        inner = group.get_command(context, "bench")
        inner.get_command(context, line[2]).make_context(line[2], line[3:], parent=context)


@pytest.mark.parametrize("word", ["TTFT", "TPOT", "ITL", "E2EL", "does not count prompts"])
@pytest.mark.parametrize("command", ["throughput", "serve"])
def test_the_help_defines_the_words(ossia, command: str, word: str):
    assert word in " ".join(ossia("bench", command, "--help").stdout.split())


@pytest.mark.parametrize("command", QUICK)
def test_json_says_what_was_measured_with_what(ossia, command: str):
    result = ossia(*words(command), "--json")
    assert result.exit_code == 0, result.stderr
    found = strict_json(result.stdout)
    assert found["command"] == f"ossia bench {command}"
    assert found["ossia"] == package.__version__
    assert {"commit", "date", "python", "torch"} < set(found)
    assert found["device"]["type"] == "cpu"
    assert found["model"]["name"] == "random:tiny"
    assert found["model"]["weight_bytes"] > 50_000_000
    assert found["settings"]["model"] == "random:tiny"
    if command == "load":
        assert found["measured"] is None
        assert len(found["results"]) == 1
    else:
        assert found["measured"] == {"read_bandwidth": 25e9, "matrix_rate": 2e12}
        assert found["model"]["dtype"] == "bfloat16"


@pytest.mark.parametrize("command", QUICK)
def test_a_pasted_result_says_what_it_is(ossia, command: str):
    result = ossia(*words(command))
    assert result.exit_code == 0, result.stderr
    first, device, versions, *rest = result.stdout.splitlines()
    assert first.startswith(f"ossia bench {command}: random:tiny, dtype ")
    assert "weights 51.8 MB" in first
    assert re.fullmatch(r"on .+, \d+ threads?, .+", device)
    assert f"ossia {package.__version__}" in versions
    assert "torch " in versions
    if command != "load":
        assert rest[0] == "measured here: memory reads 25 GB/s, bfloat16 products 2 TFLOP/s"


def test_a_start_as_a_server_s_says_so(ossia):
    assert "as ossia serve starts" not in ossia(*words("load")).stdout
    result = ossia(*words("load"), "--serving")
    assert result.exit_code == 0, result.stderr
    assert "as ossia serve starts: ready is when all is compiled and captured" in result.stdout
    found = strict_json(ossia(*words("load"), "--serving", "--json").stdout)
    assert found["settings"]["serving"] is True


@pytest.mark.parametrize("command", ["latency", "throughput"])
def test_reports_say_which_precision_ran(ossia, command: str):
    cpu_kernels.needed()
    plain = ossia(*words(command)).stdout.splitlines()[0]
    assert ", dense weights bfloat16, activations bfloat16, weights 51.8 MB" in plain
    options = ["--cpu-weights", "int8", "--cpu-activations", "int8"]
    first = ossia(*words(command), *options).stdout.splitlines()[0]
    assert ", dense weights int8, activations int8, weights 3" in first
    found = strict_json(ossia(*words(command), *options, "--json").stdout)
    assert {"dense_weights": "int8", "activations": "int8"}.items() <= found["model"].items()
    assert {"cpu_weights": "int8", "cpu_activations": "int8"}.items() <= found["settings"].items()
    chosen = strict_json(ossia(*words(command), "--cpu-weights", "auto", "--json").stdout)
    assert chosen["settings"]["cpu_weights"] == "auto"
    assert chosen["model"]["dense_weights"] == "bfloat16"


@pytest.mark.parametrize("command", ["latency", "throughput"])
def test_reports_say_how_keys_and_values_are_stored(ossia, command: str):
    first = ossia(*words(command), "--kv-dtype", "int8").stdout.splitlines()[0]
    assert ", KV cache int8, weights " in first
    assert "KV cache" not in ossia(*words(command)).stdout.splitlines()[0]
    refused = ossia(*words(command), "--kv-dtype", "fp8")
    assert refused.exit_code != 0
    assert "kv_dtype='fp8' is for models on CUDA; leave it out" in refused.stderr


@pytest.mark.parametrize("command", ["latency", "throughput"])
def test_long_prompts_in_8_bit_floats_are_refused_on_a_cpu(ossia, command: str):
    refused = ossia(*words(command), "--fp8-prefill")
    assert refused.exit_code != 0
    assert "fp8_prefill: this model or machine needs a CUDA device" in refused.stderr


def test_latency_lists_what_llama_bench_does(ossia):
    lines = ossia(*words("latency")).stdout.splitlines()[5:]
    assert lines[0].split() == ["test", "batch", "depth", "tokens/s", "median", "ms", "share"]
    cases = [tuple(line.split()[:3]) for line in lines[1:]]
    assert cases == [
        (test, batch, depth) for batch in "12" for depth in ("0", "16") for test in ("pp4", "tg3")
    ]
    assert all("±" in line for line in lines[1:])


def test_what_was_measured_before_a_failure_is_shown(ossia):
    """The second batch does not fit the tokens of a pass: its first sequence ends too early."""
    line = "--prompt 8 --tokens 2 --repeats 1 --batch 1,4 --chunk 4"
    result = ossia("bench", "latency", "--model", "random:tiny", "--device", "cpu", *line.split())
    assert result.exit_code == 2
    assert result.stderr.startswith("error: batch: 4 sequences do not make tokens side by side")
    assert [row.split()[:2] for row in result.stdout.splitlines()[6:]] == [
        ["pp8", "1"],
        ["tg2", "1"],
    ]


def test_throughput_prints_the_block_of_peers(ossia):
    result = ossia(*words("throughput")).stdout
    assert re.search(r"^Successful requests: +3$", result, re.MULTILINE)
    assert re.search(r"^Total input tokens: +12$", result, re.MULTILINE)
    assert re.search(r"^Total output tokens: +9$", result, re.MULTILINE)
    for name in ("TTFT", "TPOT", "ITL", "E2EL"):
        for word in ("Mean", "Median", "P99"):
            assert re.search(rf"^{word} {name} \(ms\): +\d+\.\d\d$", result, re.MULTILINE)


def test_kernels_print_a_table_and_the_floor(ossia):
    result = ossia(*words("kernels")).stdout
    assert "1 sequence of 9 tokens, 2.0 experts chosen in a layer; operations" in result
    assert "2 sequences of 9 tokens" in result
    for kernel in ("norm", "q, k, v", "attention", "experts", "unembedding", "argmax"):
        assert len(re.findall(rf"^{kernel} ", result, re.MULTILINE)) == 2
    assert len(re.findall(r"^whole step .* µs to read: \d+\.\d% of the reads$", result, re.MULTILINE)) == 2  # fmt: skip


@pytest.mark.parametrize("command", ["latency", "throughput"])
@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_a_profile_is_a_chrome_trace(ossia, tmp_path, command: str, name: str):
    import gzip

    file = tmp_path / name
    result = ossia(*words(command), "--profile", file, "--json")
    assert (result.exit_code, result.stderr) == (0, f"trace: {file}\n")
    assert strict_json(result.stdout)["settings"]["profile"] == str(file)
    raw = file.read_bytes()
    trace = json.loads(gzip.decompress(raw) if name.endswith("gz") else raw)
    names = {event.get("name") for event in trace["traceEvents"]}
    assert "aten::embedding" in names
    assert names & {"aten::linear", "ossia_run_linear"}, "the matrix products, whose ever"


def test_threads_are_those_of_torch(ossia, monkeypatch):
    import torch

    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    assert ossia(*words("kernels"), "--threads", 3).exit_code == 0
    assert counts == [3]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("latency --batch 1,x", "batch: '1,x' is no list of numbers from 1"),
        ("latency --batch 0", "batch: "),
        ("latency --depth 8", "depth: 8 is no multiple of 16"),
        ("latency --tokens 1", "tokens: 1 is too few"),
        ("latency --cpu-weights int4", "Invalid value for '--cpu-weights'"),
        ("throughput --cpu-activations x", "Invalid value for '--cpu-activations'"),
        ("latency --profile nowhere/trace.json", "profile: "),
        ("latency --dtype int8", "dtype: "),
        ("latency --device tpu", "device: "),
        ("throughput --num-prompts 0", "num-prompts: 0 is too few"),
        ("kernels --context 200000", "context: "),
        ("load --prompt 0", "prompt: "),
        ("serve ftp://x", "url: "),
        ("serve localhost:9 --api responses", "api: "),
        ("serve localhost:9 --goodput ttft", "goodput: "),
        ("serve localhost:9 --request-rate -1", "request-rate: "),
        ("serve localhost:9 --timeout 0 --model m", "timeout: "),
    ],
)
def test_refusals_name_the_field(ossia, line: str, told: str):
    command, *rest = line.split()
    model = [] if command == "serve" else ["--model", "random:tiny"]
    result = ossia("bench", command, *model, *rest)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {told}")
    assert result.stderr.count("\n") == 1


def test_serve_takes_the_first_model_and_the_key(ossia, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    sound = Scripted([text_event("a b"), text_event("c", "stop"), usage_event(3, 4), DONE])
    with scripted_api(sound) as api:
        result = ossia("bench", "serve", api.address, "--num-prompts", 3, "--json")
    assert result.exit_code == 0, result.stderr
    found = strict_json(result.stdout)
    assert found["model"] == {"name": "first/model", "server": api.address, "api": "completions"}
    assert (found["settings"]["request_rate"], found["device"]) == (None, None)
    assert (found["results"]["completed"], found["results"]["output_tokens"]) == (3, 12)
    assert found["results"]["tokens_per_piece"] == 2
    assert len(api.asked) == 4  # and one before
    for _, body, headers in api.asked:
        assert (body["model"], headers["authorization"]) == ("first/model", "Bearer secret")
        assert "ignore_eos" not in body


def test_serve_tells_of_failures(ossia):
    busy = Scripted(status=503, body=b'{"error": {"message": "busy"}}')
    options = ["--num-prompts", 4, "--input-len", 3, "--model", "m"]
    sound = Scripted([text_event("a", "stop"), DONE])
    with scripted_api(sound, busy, sound) as api:  # the first is the warm-up's
        some = ossia("bench", "serve", api.address, *options)
    assert some.exit_code == 0
    assert "1 failed: answered 503: busy" in some.stdout
    with scripted_api(busy) as api:
        every = ossia("bench", "serve", api.address, *options, "--warm-ups", 0)
        first = ossia("bench", "serve", api.address, *options)
    assert every.exit_code == 1
    assert re.search(r"^Failed requests: +4$", every.stdout, re.MULTILINE)
    assert re.search(r"^Mean TTFT \(ms\): +-$", every.stdout, re.MULTILINE)
    assert "4 failed: answered 503: busy" in every.stdout
    assert (first.exit_code, first.stdout) == (1, "")
    assert first.stderr == f"error: {api.address} answered 503: busy\n"


@pytest.fixture(scope="module")
def demo_server(tmp_path_factory):
    """The real `ossia serve demo`."""
    command = [sys.executable, "-m", "ossia", "serve", "demo", "--port", "0", "--device", "cpu"]
    with serving(command, tmp_path_factory.mktemp("serve") / "log") as address:
        yield address


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_real_server_under_load(ossia, demo_server: str, api: str):
    sizes = ["--num-prompts", 6, "--input-len", 12, "--output-len", 7, "--max-concurrency", 3]
    goodput = ["--goodput", "e2el:600000"]
    result = ossia(
        "bench", "serve", demo_server, "--api", api, *sizes, *goodput, "--ignore-eos", "--json"
    )
    assert result.exit_code == 0, result.stderr
    found = strict_json(result.stdout)["results"]
    assert (found["completed"], found["failed"]) == (6, 0)
    assert found["output_tokens"] == 6 * 7
    if api == "completions":
        assert found["input_tokens"] == 6 * 12
        assert found["goodput"] == pytest.approx(6 / found["duration"])
    else:
        assert found["input_tokens"] > 6 * 12  # the template's tokens, too
    assert found["peak_concurrent_requests"] <= 3
    assert found["ttft_ms"] is None or found["ttft_ms"]["minimum"] > 0


def test_views_of_what_cannot_be_measured_here(capsys):
    """A step as a graph, and figures that there are none of."""
    from ossia.bench.kernel_time import KernelTime, StepTimes
    from ossia.bench.load_metrics import LoadMetrics

    kernel = KernelTime.of("qkv", 24, 12e-6, 29.5e6, 3e12, in_place=11e-6)
    step = StepTimes.of("graph", 1, 129, 4.0, [kernel], 1.5e-3, 3.7e9, 3e12)
    show_step(Output(), step, Ceilings(3e12, 8e14))
    shown = capsys.readouterr().out
    assert "launches of one CUDA graph" in shown
    assert re.search(r"^qkv +24 +12\.00 +11\.00 +288\.0 +29\.500 +2458\.33 +81\.9%$", shown, re.MULTILINE)  # fmt: skip
    assert math.isclose(step.share, 3.7e9 / 1.5e-3 / 3e12)
    show_load_metrics(Output(), LoadMetrics.of([], 1.0))
    assert re.search(r"^P99 ITL \(ms\): +-$", capsys.readouterr().out, re.MULTILINE)


PAGE = Path(__file__).parents[2] / "docs" / "bench.md"
PAGE_COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for line in block.splitlines()
]
LARGE = [line for line in PAGE_COMMANDS if "20b" in line]
WITHOUT_SIZES = [line for line in PAGE_COMMANDS if len(line.split()) == 3]
SIZED = [line for line in PAGE_COMMANDS if line not in LARGE + WITHOUT_SIZES]


def test_the_page_has_every_command_and_option(ossia):
    text = PAGE.read_text()
    for command in COMMANDS:
        assert any(line.split()[2] == command for line in SIZED + WITHOUT_SIZES)
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert any(option in ossia("bench", one, "--help").stdout for one in COMMANDS), option
    for line in PAGE_COMMANDS:
        accepted(shlex.split(line))


@pytest.mark.parametrize(
    "line", [*SIZED, *(pytest.param(line, marks=pytest.mark.slow) for line in WITHOUT_SIZES)]
)
def test_commands_of_the_page_run(ossia, request, tmp_path, monkeypatch, line: str):
    monkeypatch.chdir(tmp_path)
    given = shlex.split(line)[1:]
    if given[1] == "serve":
        address = request.getfixturevalue("demo_server")
        given = [word.replace("http://localhost:8000", address) for word in given]
        given = [word.replace("localhost:8000", address.removeprefix("http://")) for word in given]
    result = ossia(*given)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"ossia bench {given[1]}: demo, ")
    assert not re.search(r"^Failed requests: +[1-9]", result.stdout, re.MULTILINE)
    if "--profile" in given:
        assert (tmp_path / "trace.json").stat().st_size > 10_000
