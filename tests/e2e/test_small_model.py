"""From checkpoint files to text with everything real but the weights."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ossia.api.conversation import respond, respond_async
from ossia.api.dialogue import Dialogue
from ossia.api.events import Done, TokenDrawn
from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.api.models.causal_lm import GptOssForCausalLM
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.api.runtime import Runtime
from ossia.api.text_generation import generate_text
from ossia.cli.main import main
from ossia.engine.async_engine import AsyncEngine
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.harmony import Message
from ossia.model.heads import CausalLM
from ossia.tokenizer.special import LAST_LISTED
from ossia.types import SamplingParams
from support.folders import write_tiny_folder

COMMAND = str(Path(sys.executable).with_name("ossia"))
PROMPT = "The quick brown fox jumps over the lazy dog, again and again."
GREEDY = ["--temperature", "0", "--limit", "6"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("e2e") / "tiny")


def _greedy_by_hand(model: GptOssForCausalLM, ids: list[int], count: int) -> list[int]:
    """Without cache or engine: the likeliest named token of the whole sequence, again and again."""
    prompt_len = len(ids)
    with torch.inference_mode():
        for _ in range(count):
            logits = model(torch.tensor([ids])).logits[0, -1, : LAST_LISTED + 1]
            ids = [*ids, int(logits.argmax())]
    return ids[prompt_len:]


def test_the_engine_draws_the_argmax_of_the_model(folder):
    runtime = Runtime.load(str(folder), dtype="float64", device="cpu")
    ids = runtime.tokenizer.encode(PROMPT)
    sampling = SamplingParams(temperature=0, max_tokens=6)
    pieces = list(generate_text(runtime.engine, runtime.tokenizer, ids, sampling=sampling))
    model = GptOssForCausalLM.from_pretrained(folder, dtype="float64")
    drawn = [piece.token_id for piece in pieces if piece.token_id is not None]
    assert drawn == _greedy_by_hand(model, ids, 6)


def test_every_layout_and_format_says_the_same(folder, tmp_path, capsys):
    main(["convert", str(folder), str(tmp_path / "original"), "--layout", "original"])
    main(["convert", str(folder), str(tmp_path / "dense"), "--experts", "dense"])
    capsys.readouterr()
    said = set()
    for model in (folder, tmp_path / "original", tmp_path / "dense"):
        options = ["--dtype", "float64", "--device", "cpu", *GREEDY]
        assert main(["generate", str(model), PROMPT, *options]) == 0
        said.add(capsys.readouterr().out)
    assert len(said) == 1
    assert said.pop().strip()


def test_a_seed_repeats_an_answer_and_another_gives_another(folder, capsys):
    said = []
    for seed in ("1", "1", "2"):
        options = ["--seed", seed, "--max-tokens", "6", "--raw", "--device", "cpu"]
        assert main(["run", str(folder), "Hi", *options]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_a_dialogue_reuses_what_was_computed(folder):
    runtime = Runtime.load(str(folder), device="cpu")
    dialogue = Dialogue(runtime, opening_messages(), sampling=SamplingParams(max_tokens=3, seed=0))
    usages = []
    for question in ("How are you today?", "And tomorrow?"):
        *_, done = dialogue.ask(question)
        assert isinstance(done, Done)
        usages.append(done.usage)
    assert usages[0].cached_tokens == 0
    assert usages[1].cached_tokens >= 48, "the opening is the same"


def test_conversations_side_by_side_are_answered_as_alone(folder):
    sampling = SamplingParams(temperature=0, max_tokens=5)
    source = find_model(str(folder))
    network = load_module(CausalLM, source, dtype="float64")
    core = EngineCore(network, EngineConfig(max_sequences=4, max_context=256))
    tokenizer = source.tokenizer()
    conversations = [
        [*opening_messages(), user_message(question)] for question in ("One?", "Two, or three?")
    ]

    async def answer(engine: AsyncEngine, messages: list[Message]) -> list[int]:
        events = respond_async(engine, tokenizer, Question(messages, sampling=sampling))
        return [event.token_id async for event in events if isinstance(event, TokenDrawn)]

    async def answer_all() -> list[list[int]]:
        async with AsyncEngine(core) as engine:
            return await asyncio.gather(*(answer(engine, each) for each in conversations))

    alone = [
        [
            event.token_id
            for event in respond(SyncEngine(core), tokenizer, Question(messages, sampling=sampling))
            if isinstance(event, TokenDrawn)
        ]
        for messages in conversations
    ]
    assert asyncio.run(answer_all()) == alone
    assert [len(ids) for ids in alone] == [5, 5]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}


def test_the_installed_command_reads_pipes_and_prints_json(folder):
    done = subprocess.run(
        [COMMAND, "run", str(folder), "-", "--json", "--max-tokens", "4"],
        input="How many?\n",
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    value = json.loads(done.stdout)
    assert value["usage"]["output_tokens"] == 4
    assert value["finish_reason"] == "length"


def test_text_streams_and_ctrl_c_ends_it(folder):
    process = subprocess.Popen(
        [COMMAND, "generate", str(folder), "Once", "--limit", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(1), "something comes long before the end"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == b""
