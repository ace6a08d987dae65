"""run, chat and generate over a scripted engine: what is shown, where, and in which form."""

from __future__ import annotations

import io
import json
import signal
import sys
from dataclasses import replace

import pytest
import torch

from ossia.api.runtime import ONE_AT_A_TIME, Runtime
from ossia.cli.main import main
from ossia.types import FinishReason
from support.scripted_engine import TOKENIZER, ScriptedEngine

ANSWER = (
    "<|channel|>analysis<|message|>s t r…<|end|>"
    "<|start|>assistant<|channel|>final<|message|>There are 3.<|return|>"
)


@pytest.fixture
def scripted(monkeypatch):
    """Has every model answer with the given scripts; returns the engine and how it was loaded."""

    def install(*scripts, **changes):
        engine = ScriptedEngine(*scripts, **changes)
        engine.loads = []

        def load(model, **options):
            engine.loads.append((model, options))
            return Runtime(TOKENIZER, engine, torch.nn.Linear(1, 1))

        monkeypatch.setattr(Runtime, "load", load)
        return engine

    return install


def _prompt(engine, number: int = 0) -> str:
    return TOKENIZER.decode(engine.requests[number].prompt_ids)


def test_run_prints_the_answer_alone(ossia, scripted):
    engine = scripted(ANSWER)
    result = ossia("run", "How many?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "There are 3.\n", "")
    assert engine.loads[0][0] == "demo"
    assert "<|start|>user<|message|>How many?<|end|>" in _prompt(engine)


def test_run_takes_a_model_and_standard_input(ossia, scripted):
    engine = scripted(ANSWER)
    assert ossia("run", "some/model", "-", stdin="How\nmany?\n").stdout == "There are 3.\n"
    assert engine.loads[0][0] == "some/model"
    assert "<|message|>How\nmany?<|end|>" in _prompt(engine)


def test_run_passes_its_options_on(ossia, scripted):
    engine = scripted(ANSWER)
    options = ["--effort", "high", "--instructions", "Be kind.", "--max-tokens", "99"]
    options += ["--temperature", "0.5", "--top-p", "0.9", "--seed", "7", "--device", "cpu"]
    ossia("run", "Hi", *options, "--dtype", "float32", "--revision", "main")
    sampling = engine.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.5, 0.9, 7)
    assert sampling.max_tokens == 99
    assert "Reasoning: high" in _prompt(engine)
    assert "# Instructions\n\nBe kind." in _prompt(engine)
    loaded = engine.loads[0][1]
    assert (loaded["device"], loaded["dtype"], loaded["revision"]) == ("cpu", "float32", "main")


PRECISION = ["--cpu-weights", "auto", "--cpu-activations", "int8"]


@pytest.mark.parametrize("words", [["run", "Hi"], ["generate", "demo", "Hi"], ["chat"]])
@pytest.mark.parametrize(
    ("options", "chosen"), [([], ("bf16", "full")), (PRECISION, ("auto", "int8"))]
)
def test_the_cpu_s_precision_reaches_the_engine(ossia, scripted, words, options, chosen):
    engine = scripted(ANSWER)
    result = ossia(*words, *options)
    config = engine.loads[0][1]["config"]
    assert (config.cpu_weights, config.cpu_activations) == chosen
    assert config == replace(ONE_AT_A_TIME, cpu_weights=chosen[0], cpu_activations=chosen[1])
    assert result.stderr == ("--cpu-weights auto: nothing is rounded\n" if options else "")


@pytest.mark.parametrize("words", [["run", "Hi"], ["generate", "demo", "Hi"], ["chat"]])
def test_a_gpu_s_precision_reaches_the_engine(ossia, scripted, words):
    engine = scripted(ANSWER)
    assert ossia(*words, "--fp8-weights", "unembedding,attention").exit_code == 0
    config = engine.loads[0][1]["config"]
    assert config == replace(ONE_AT_A_TIME, fp8_weights="unembedding,attention")


def test_auto_says_that_it_has_rounded(ossia, scripted, monkeypatch):
    scripted(ANSWER)
    monkeypatch.setattr("ossia.model.quantizing.is_quantized", lambda _: True)
    assert ossia("run", "Hi", *PRECISION).stderr == "--cpu-weights auto: int8\n"


def test_unset_sampling_is_the_recommendation(ossia, scripted):
    engine = scripted(ANSWER)
    ossia("run", "Hi")
    sampling = engine.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (1.0, 1.0, 0)
    assert (sampling.seed, sampling.max_tokens) == (None, None)


def test_show_reasoning_puts_it_before_the_answer(ossia, scripted):
    scripted(ANSWER)
    assert ossia("run", "Hi", "--show-reasoning").stdout == "s t r…\n\nThere are 3.\n"


def test_raw_shows_the_tokens(ossia, scripted):
    scripted(ANSWER)
    assert ossia("run", "Hi", "--raw").stdout == ANSWER + "\n"


def test_json_has_the_four_keys(ossia, scripted):
    scripted(ANSWER)
    result = ossia("run", "Hi", "--json")
    value = json.loads(result.stdout)
    assert value.keys() == {"answer", "reasoning", "finish_reason", "usage", "repairs"}
    assert value["answer"] == "There are 3."
    assert value["reasoning"] == "s t r…"
    assert value["finish_reason"] == "stop"
    assert value["usage"].keys() == {
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "reasoning_tokens",
    }
    assert value["usage"]["output_tokens"] == len(TOKENIZER.encode_with_special(ANSWER))


def test_stop_strings_reach_the_answer(ossia, scripted):
    scripted(ANSWER)
    assert ossia("run", "Hi", "--stop", "3").stdout == "There are \n"


def test_an_answer_that_was_cut_says_so_beside_the_result(ossia, scripted):
    scripted("<|channel|>final<|message|>There")
    result = ossia("run", "Hi")
    assert result.stdout == "There\n"
    assert result.stderr == "(cut off at the token limit; --max-tokens sets it)\n"
    scripted("<|channel|>analysis<|message|>Hm")
    value = json.loads(ossia("run", "Hi", "--json").stdout)
    assert (value["answer"], value["finish_reason"]) == ("", "length")


def test_a_failing_engine_is_one_line(ossia, scripted):
    scripted("", ends=FinishReason.ERROR)
    result = ossia("run", "Hi")
    assert result.exit_code == 1
    assert result.stderr == "error: the engine failed: boom\n"


def test_chat_remembers_and_forgets(ossia, scripted):
    engine = scripted(ANSWER, ANSWER, ANSWER)
    lines = "How many?\n\nAnd now?\n/reset\nAgain?\n/exit\nNever asked.\n"
    result = ossia("chat", "some/model", stdin=lines)
    assert result.exit_code == 0
    assert result.stdout == "There are 3.\n" * 3
    assert result.stderr == "(forgotten)\n"
    assert len(engine.requests) == 3
    assert "How many?" in _prompt(engine, 1)
    assert "There are 3.<|end|>" in _prompt(engine, 1)
    assert "s t r…" not in _prompt(engine, 1)
    assert "How many?" not in _prompt(engine, 2)


def test_chat_ends_with_its_input_and_knows_its_commands(ossia, scripted):
    engine = scripted(ANSWER, ANSWER)
    result = ossia("chat", "--show-reasoning", stdin="/nix\n/etc/passwd is what?\nHi")
    assert result.exit_code == 0
    assert "/nix is unknown: /reset forgets" in result.stderr
    assert result.stdout == "s t r…\n\nThere are 3.\n" * 2
    assert "<|message|>/etc/passwd is what?<|end|>" in _prompt(engine)


def test_ctrl_c_stops_an_answer_and_the_chat_goes_on(ossia, scripted, monkeypatch):
    engine = scripted(ANSWER, ANSWER)
    stream = engine.stream

    def pressed_after_some_tokens(request):
        for count, output in enumerate(stream(request)):
            if count == 14 and len(engine.requests) == 1:
                signal.raise_signal(signal.SIGINT)
            yield output

    monkeypatch.setattr(engine, "stream", pressed_after_some_tokens)
    result = ossia("chat", stdin="One?\nTwo?\n")
    assert result.exit_code == 0
    assert result.stderr == "(stopped)\n"
    cut, whole = result.stdout.splitlines()
    assert "There are 3.".startswith(cut)
    assert cut
    assert whole == "There are 3."
    assert f"<|channel|>final<|message|>{cut}<|end|>" in _prompt(engine, 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_ends_the_program(ossia, scripted, monkeypatch):
    engine = scripted(ANSWER)

    def impatient(request):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        yield

    monkeypatch.setattr(engine, "stream", impatient)
    assert ossia("chat", stdin="One?\n").exit_code == 130


def test_errors_end_a_chat_in_a_pipe_but_not_one_with_a_person(ossia, scripted, monkeypatch):
    scripted("<|channel|>", ANSWER, ends=FinishReason.ERROR)
    result = ossia("chat", stdin="One?\nTwo?\n")
    assert (result.exit_code, result.stdout) == (1, "")
    scripted("<|channel|>", ANSWER, ends=FinishReason.ERROR)
    monkeypatch.setattr("ossia.cli.line_reader.LineReader.__init__", _as_a_person)
    result = ossia("chat", stdin="One?\nTwo?\n")
    assert (result.exit_code, result.stdout) == (0, "There are 3.\n")
    assert "error: the engine failed: boom\n> " in result.stderr


def _as_a_person(reader, output, leave) -> None:
    reader.is_interactive, reader._output, reader._leave = True, output, leave
    reader._editing = None


def test_a_terminal_sees_that_the_model_thinks_until_there_is_text(scripted, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    for option in ((), ("--json",)):
        scripted(ANSWER)
        assert main(["run", "Hi", *option]) == 0
        shown = stderr.getvalue()
        assert "reading the question" in shown
        assert "thinking: 9 tokens" in shown
        assert ("thinking: 19 tokens" in shown) is bool(option)
        assert shown.endswith("\r\x1b[2K")
        stderr.truncate(stderr.seek(0))
    scripted("<|channel|>", ends=FinishReason.ERROR)
    assert main(["run", "Hi"]) == 1
    assert stderr.getvalue().endswith("\r\x1b[2Kerror: the engine failed: boom\n")


def test_generate_continues_raw_text(ossia, scripted):
    engine = scripted(" a lamb.<|endoftext|>")
    result = ossia("generate", "Mary had<|end|>")
    assert (result.exit_code, result.stdout, result.stderr) == (0, " a lamb.\n", "")
    request = engine.requests[0]
    assert request.prompt_ids == tuple(TOKENIZER.encode("Mary had<|end|>"))
    assert request.sampling.temperature == 0
    assert request.sampling.max_tokens is None


@pytest.mark.parametrize(
    "words", [["a/model", "Mary"], ["a/model", "-p", "Mary"], ["a/model", "-"], ["-p", "Mary"]]
)
def test_generate_takes_its_prompt_from_anywhere(ossia, scripted, words):
    engine = scripted("!")
    assert ossia("generate", *words, "-l", "1", stdin="Mary\n").stdout == "!\n"
    assert _prompt(engine) == "Mary"
    assert engine.loads[0][0] == ("a/model" if "a/model" in words else "demo")
    assert engine.requests[0].sampling.max_tokens == 1


def test_generate_reads_special_tokens_only_when_told(ossia, scripted):
    engine = scripted("!")
    ossia("generate", "<|start|>user", "--special")
    assert engine.requests[0].prompt_ids[0] == 200_006


def test_generate_prints_log_probabilities(ossia, scripted):
    scripted(" a lamb<|endoftext|>")
    lines = ossia("generate", "Mary", "--logprobs").stdout.splitlines()
    assert lines == ["' a'\t-0.500000", "' lamb'\t-0.500000", "'<|endoftext|>'\t-0.500000"]


def test_generate_prints_json(ossia, scripted):
    scripted(" a lamb<|endoftext|>")
    value = json.loads(ossia("generate", "Mary", "--json").stdout)
    assert value == {
        "text": " a lamb",
        "finish_reason": "stop",
        "usage": {"input_tokens": 1, "output_tokens": 3},
    }
    scripted("!")
    value = json.loads(ossia("generate", "Mary", "--json", "--logprobs").stdout)
    assert value["tokens"] == [{"id": 0, "text": "!", "logprob": -0.5}]
    assert value["finish_reason"] == "length"


def test_a_terminal_sees_no_control_characters_of_the_model(ossia, scripted, monkeypatch):
    said = "<|channel|>final<|message|>\x1b[2Jgone\r\n\ttab é<|return|>"
    scripted(said)
    assert ossia("run", "Hi").stdout == "\x1b[2Jgone\r\n\ttab é\n", "a file gets what was said"
    scripted(said)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    assert ossia("run", "Hi").stdout == "\\x1b[2Jgone\\x0d\n\ttab é\n"


@pytest.mark.parametrize("command", ["run", "chat"])
def test_reasoning_can_be_forbidden(ossia, scripted, command):
    engine = scripted(ANSWER, ANSWER)
    thinks = "<|channel|>analysis"
    for options in ([], ["--no-reasoning"]):
        words = [command, "Hi"] if command == "run" else [command]
        assert ossia(*words, *options, stdin="Hi\n").exit_code == 0
    for request, may_think in zip(engine.requests, (True, False), strict=True):
        mask = request.make_mask(0)
        for token in TOKENIZER.encode_with_special(thinks):
            allowed = mask.allowed()
            is_allowed = token // 8 < len(allowed) and bool(allowed[token // 8] >> token % 8 & 1)
            mask.accept(token)
        assert is_allowed == may_think


def test_json_counts_what_was_mended(ossia, scripted):
    scripted("analysis<|message|>Hm<|end|>commentary<|start|>assistant<|message|>3<|return|>")
    value = json.loads(ossia("run", "Hi", "--json").stdout)
    assert value["answer"] == "3"
    assert value["repairs"] == {"missing channel": 2, "stray tokens": 1}
