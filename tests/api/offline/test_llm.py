"""LLM: vLLM's offline API over a tiny model, and over scripts where the words matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ossia import LLM, CompletionOutput, RequestOutput, SamplingParams, TokensPrompt
from ossia.errors import ConfigError, EngineClosedError, OssiaError, RequestError
from ossia.model.quantizing import is_quantized
from ossia.tokenizer import special
from ossia.types import FinishReason
from support import cpu_kernels
from support.folders import write_tiny_folder
from support.scripted_engine import TOKENIZER, ScriptedEngine

GREEDY = SamplingParams(temperature=0, max_tokens=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("llm") / "tiny", max_position_embeddings=256)


@pytest.fixture(scope="module")
def llm(folder: Path) -> LLM:
    return LLM(folder, dtype="float64", device="cpu", max_num_seqs=8)


def _ids(outputs: list[RequestOutput]) -> list[list[list[int]]]:
    return [[one.token_ids for one in output.outputs] for output in outputs]


def test_every_form_of_a_prompt_gives_the_same(llm: LLM):
    text = "San Francisco is a"
    ids = TOKENIZER.encode(text)
    forms: list[Any] = [
        text,
        [text],
        ids,
        [ids],
        {"prompt": text},
        [{"prompt": text}],
        TokensPrompt(prompt_token_ids=ids),
        [TokensPrompt(prompt_token_ids=ids, prompt=text)],
    ]
    expected = _ids(llm.generate(text, GREEDY))
    for form in forms:
        (output,) = llm.generate(form, GREEDY, use_tqdm=False)
        assert _ids([output]) == expected
        assert output.prompt_token_ids == ids
        assert output.prompt == (text if "San" in str(form) else None)
    (output,) = llm.generate(prompt_token_ids=[ids], sampling_params=GREEDY)
    assert _ids([output]) == expected


def test_a_batch_is_what_each_prompt_gives_alone(llm: LLM):
    prompts = ["a", "b c d", "San Francisco is a <|end|>"]
    params = [
        GREEDY,
        SamplingParams(temperature=0, max_tokens=3),
        SamplingParams(seed=3, n=3, max_tokens=5),
    ]
    together = llm.generate(prompts, params)
    alone = [llm.generate(*pair)[0] for pair in zip(prompts, params, strict=True)]
    assert _ids(together) == _ids(alone)
    assert [output.request_id for output in together] == sorted(
        (output.request_id for output in together), key=int
    )
    assert [len(output.outputs) for output in together] == [1, 1, 3]
    assert together[2].prompt_token_ids[-1] == special.END
    kwargs = {"split_special_tokens": True}
    (plain,) = llm.generate(prompts[2], GREEDY, tokenization_kwargs=kwargs)
    assert special.END not in plain.prompt_token_ids
    assert all(one.finished() for output in together for one in output.outputs)


def test_the_default_is_sixteen_tokens(llm: LLM):
    (output,) = llm.generate("a")
    assert output.finished
    (one,) = output.outputs
    assert (len(one.token_ids), one.finish_reason, one.stop_reason) == (16, "length", None)
    assert one.text == llm.get_tokenizer().decode(one.token_ids, skip_special_tokens=True)
    assert (one.index, one.cumulative_logprob, one.logprobs) == (0, None, None)
    assert llm.get_default_sampling_params().max_tokens == 16


def test_logprobs_are_the_models(llm: LLM):
    params = SamplingParams(temperature=0, max_tokens=3, logprobs=2, prompt_logprobs=1)
    (output,) = llm.generate("San Francisco is a", params)
    (one,) = output.outputs
    assert one.logprobs is not None
    assert output.prompt_logprobs is not None
    assert output.prompt_logprobs[0] is None
    assert len(output.prompt_logprobs) == len(output.prompt_token_ids)
    for token_id, by_id in zip(one.token_ids, one.logprobs, strict=True):
        best = by_id[token_id]
        assert (len(by_id), best.rank) == (2, 1)
        assert best.decoded_token == TOKENIZER.decode([token_id])
        assert best.logprob == max(each.logprob for each in by_id.values())
    total = sum(by_id[i].logprob for i, by_id in zip(one.token_ids, one.logprobs, strict=True))
    assert one.cumulative_logprob == pytest.approx(total)
    network = llm._engine.core._runner._model  # type: ignore[attr-defined]
    from ossia.model.batch import ForwardBatch

    with torch.no_grad():
        ids = output.prompt_token_ids + one.token_ids
        scores = network(ForwardBatch.from_sequences([ids]))[:, : special.LAST_LISTED + 1]
    scores = scores.log_softmax(-1)  # rows without a token are never drawn
    place = len(output.prompt_token_ids) - 1
    assert one.logprobs[0][one.token_ids[0]].logprob == pytest.approx(
        float(scores[place, one.token_ids[0]]), abs=1e-9
    )
    second = output.prompt_token_ids[1]
    assert output.prompt_logprobs[1] is not None
    assert output.prompt_logprobs[1][second].logprob == pytest.approx(
        float(scores[0, second]), abs=1e-9
    )


def test_restrictions_hold(llm: LLM):
    allowed = [3, 4, 5]
    params = SamplingParams(max_tokens=12, allowed_token_ids=allowed, ignore_eos=True, seed=0)
    (one,) = llm.generate("a", params)[0].outputs
    assert set(one.token_ids) <= set(allowed)
    word = TOKENIZER.decode([3])
    params = SamplingParams(max_tokens=12, allowed_token_ids=allowed, bad_words=[word], seed=0)
    (one,) = llm.generate("a", params)[0].outputs
    assert set(one.token_ids) <= {4, 5}
    params = SamplingParams(max_tokens=4, logit_bias={7: 100})
    (one,) = llm.generate("a", params)[0].outputs
    assert one.token_ids == [7] * 4


def test_prompts_can_be_cut_from_the_left(llm: LLM):
    ids = list(range(10, 30))
    cut = SamplingParams(temperature=0, max_tokens=3, truncate_prompt_tokens=5)
    (output,) = llm.generate({"prompt_token_ids": ids}, cut)
    assert output.prompt_token_ids == ids[-5:]
    most = SamplingParams(temperature=0, max_tokens=1, truncate_prompt_tokens=-1)
    (output,) = llm.generate({"prompt_token_ids": ids * 50}, most)
    assert len(output.prompt_token_ids) == 255


def test_a_seed_makes_a_run_repeatable(folder: Path):
    runs = []
    for seed in (5, 5, 6):
        llm = LLM(folder, device="cpu", seed=seed)
        runs.append(_ids(llm.generate(["a", "a"], SamplingParams(max_tokens=8))))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0][0] != runs[0][1]


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("prompts", lambda llm: llm.generate(5)),
        ("prompts", lambda llm: llm.generate([None])),
        ("prompts", lambda llm: llm.generate({})),
        ("multi_modal_data", lambda llm: llm.generate({"prompt": "a", "multi_modal_data": {}})),
        ("prompt_ids", lambda llm: llm.generate("")),
        ("prompt_ids", lambda llm: llm.generate(["a", [1, 999_999]])),
        ("sampling_params", lambda llm: llm.generate(["a", "b"], [GREEDY])),
        ("lora_request", lambda llm: llm.generate("a", lora_request=object())),
        ("priority", lambda llm: llm.generate("a", priority=[1, 2])),
        (
            "allowed_token_ids",
            lambda llm: llm.generate("a", SamplingParams(allowed_token_ids=[-1])),
        ),
        ("messages", lambda llm: llm.chat([])),
        ("tool_choice", lambda llm: llm.chat([{"role": "user"}], tool_choice="none")),
        ("embed", lambda llm: llm.embed("a")),
        ("encode", lambda llm: llm.encode("a")),
        ("beam_search", lambda llm: llm.beam_search("a")),
        ("mm_processor_kwargs", lambda llm: llm.chat([{"role": "user"}], mm_processor_kwargs={})),
        (
            "chat_template_content_format",
            lambda llm: llm.chat([{"role": "user"}], chat_template_content_format="x"),
        ),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(llm: LLM, field: str, call: Any):
    with pytest.raises(RequestError) as refused:
        call(llm)
    assert refused.value.field == field
    assert not llm._engine.core.has_work
    assert len(llm.generate("a", GREEDY)) == 1, "later calls are served"
    with pytest.raises(AttributeError):
        _ = llm.nonsense


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tensor_parallel_size", 2),
        ("pipeline_parallel_size", 2),
        ("enable_lora", True),
        ("quantization", "awq"),
        ("cpu_offload_gb", 4),
        ("speculative_config", {}),
        ("gpu_memory_utilization", 1.5),
        ("gpu_memory_utilization", "much"),
        ("generation_config", "x"),
        ("frobnicate", 1),
    ],
)
def test_options_are_met_or_refused_by_name(folder: Path, name: str, value: Any):
    with pytest.raises(RequestError) as refused:
        LLM(folder, **{name: value})
    assert refused.value.field == name


def test_options_reach_the_engine(folder: Path):
    llm = LLM(
        folder,
        tokenizer="random:tiny",
        dtype="float32",
        device="cpu",
        max_model_len=32,
        max_num_seqs=3,
        max_num_batched_tokens=64,
        enable_prefix_caching=False,
        block_size=8,
        tensor_parallel_size=1,
        gpu_memory_utilization=0.5,
        trust_remote_code=True,
        enforce_eager=True,
        quantization="mxfp4",
        generation_config="vllm",
    )
    config = llm._engine.core.config
    assert (config.max_context, config.max_sequences, config.page_size) == (32, 3, 8)
    assert (config.max_batch_tokens, config.prefix_reuse) == (64, False)
    assert (config.memory_share, config.cuda_graphs) == (0.5, False)
    assert config.valid_token_ids_end == special.LAST_LISTED + 1
    with pytest.raises(RequestError, match="within 32"):
        llm.generate([list(range(40))], GREEDY)
    assert (config.cpu_weights, config.cpu_activations) == ("bf16", "full")
    usual = LLM(folder, device="cpu")._engine.core.config
    assert (usual.memory_share, usual.cuda_graphs) == (0.9, True)
    given = LLM(folder, device="cpu", kv_cache_memory_bytes=2**26)._engine.core.config
    assert (given.memory_share, given.kv_cache_bytes) == (None, 2**26)
    assert LLM(folder, device="cpu", max_num_seqs=4000)._engine.core.limits.max_batch_tokens == 4000


def test_deterministic_answers_do_not_depend_on_the_others(folder: Path):
    llm = LLM(folder, device="cpu", deterministic=True, max_num_seqs=8)
    assert llm._engine.core.config.deterministic
    prompts = [list(range(idx, 3 * idx + 5)) for idx in range(8)]
    together = llm.generate(prompts, GREEDY)
    assert _ids(together) == [_ids(llm.generate([prompt], GREEDY))[0] for prompt in prompts]


def test_the_cpu_s_precision_is_the_callers_choice(folder: Path):
    cpu_kernels.needed()
    rounded = LLM(folder, device="cpu", cpu_weights="int8", cpu_activations="int8")
    core = rounded._engine.core
    assert (core.config.cpu_weights, core.config.cpu_activations) == ("int8", "int8")
    assert is_quantized(core._runner._model)  # type: ignore[attr-defined]
    assert len(_ids(rounded.generate("a", GREEDY))[0][0]) == 6
    with pytest.raises(ConfigError, match="cpu_weights is 'int4'; known: bf16, int8, auto"):
        LLM(folder, device="cpu", cpu_weights="int4")
    with pytest.raises(ConfigError, match=r"fp8_weights='unembedding': .* needs a CUDA device"):
        LLM(folder, device="cpu", fp8_weights="unembedding")
    with pytest.raises(ConfigError, match=r"fp8_prefill: .* needs a CUDA device of compute cap"):
        LLM(folder, device="cpu", fp8_prefill=True)


@pytest.fixture
def scripted(llm: LLM, monkeypatch: pytest.MonkeyPatch):
    def install(*scripts: Any, **changes: Any) -> tuple[LLM, ScriptedEngine]:
        engine = ScriptedEngine(*scripts, **changes)
        monkeypatch.setattr(llm, "_engine", engine)
        return llm, engine

    return install


@pytest.mark.parametrize(
    ("changes", "text", "reason", "stop_reason"),
    [
        ({}, "Hello world, hello", "stop", None),
        ({"stop": "world"}, "Hello ", "stop", "world"),
        ({"stop": ["nope", " world"]}, "Hello", "stop", " world"),
        ({"stop": "world", "include_stop_str_in_output": True}, "Hello world", "stop", "world"),
        ({"include_stop_str_in_output": True}, "Hello world, hello", "stop", None),
        (
            {"include_stop_str_in_output": True, "skip_special_tokens": False},
            "Hello world, hello<|return|>",
            "stop",
            None,
        ),
        ({"skip_special_tokens": False}, "Hello world, hello", "stop", None),
        ({"stop_token_ids": [2375]}, "Hello", "stop", 2375),
        ({"max_tokens": 2}, "Hello world", "length", None),
        ({"detokenize": False}, "", "stop", None),
        ({"stop": "world", "min_tokens": 2}, "Hello world, hello", "stop", None),
        ({"ignore_eos": True}, "Hello world, hello more", "length", None),
    ],
)
def test_how_a_text_ends(scripted: Any, changes: Any, text: str, reason: str, stop_reason: Any):
    llm, _ = scripted("Hello world, hello<|return|> more")
    assert TOKENIZER.encode(" world") == [2375]
    (output,) = llm.generate("x", SamplingParams(**({"max_tokens": None} | changes)))
    (one,) = output.outputs
    assert (one.text, one.finish_reason, one.stop_reason) == (text, reason, stop_reason)


def test_a_stop_string_frees_the_engine_only_when_all_have_ended(llm: LLM):
    params = SamplingParams(n=4, max_tokens=40, seed=1, ignore_eos=True)
    (free,) = llm.generate("a", params)
    stop = free.outputs[0].text[3:6]
    params.stop = [stop]
    (output,) = llm.generate("a", params)
    assert output.outputs[0].stop_reason == stop
    for one, whole in zip(output.outputs, free.outputs, strict=True):
        begin = whole.text.find(stop)
        assert one.text == (whole.text if begin < 0 else whole.text[:begin])
        assert one.token_ids == whole.token_ids[: len(one.token_ids)]
    assert not llm._engine.core.has_work


def test_a_failing_engine_is_an_error(scripted: Any):
    llm, _ = scripted("Hi", ends=FinishReason.ERROR)
    with pytest.raises(EngineClosedError, match="boom"):
        llm.generate("x")


HELLO = [{"role": "user", "content": "Hello <|end|>"}]
ANSWER = (
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi!"
    "<|return|>"
)
CALL = '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1, "b": 2}<|call|>'


def _prompt(engine: ScriptedEngine, number: int = 0) -> str:
    return TOKENIZER.decode(engine.requests[number].prompt_ids)


def test_a_chat_is_answered_with_its_parts(scripted: Any):
    llm, engine = scripted(ANSWER)
    (output,) = llm.chat(HELLO, reasoning_effort="high", use_tqdm=False)
    (one,) = output.outputs
    assert isinstance(one, CompletionOutput)
    assert one.text == "analysisHm.assistantfinalHi!"
    assert (one.reply.content, one.reply.reasoning) == ("Hi!", "Hm.")
    assert "Reasoning: high" in _prompt(engine)
    assert _prompt(engine).endswith(
        "<|start|>user<|message|>Hello <|end|><|end|><|start|>assistant"
    )
    ids = list(engine.requests[0].prompt_ids)
    assert ids.count(special.END) == 2, "what a user writes is text"
    assert engine.requests[0].sampling.max_tokens is None
    assert set(engine.requests[0].sampling.stop_token_ids) == {200_002, 199_999, 200_012}


def test_chats_are_answered_together(scripted: Any):
    llm, engine = scripted(ANSWER, "<|channel|>final<|message|>Yes<|return|>")
    outputs = llm.chat([HELLO, HELLO], SamplingParams(max_tokens=50))
    assert [output.outputs[0].reply.content for output in outputs] == ["Hi!", "Yes"]
    assert engine.requests[1].sampling.max_tokens == 50


def test_the_last_message_can_be_continued(scripted: Any):
    llm, engine = scripted("ore.<|return|>")
    chat = [*HELLO, {"role": "assistant", "content": "Some m"}]
    (output,) = llm.chat(chat, continue_final_message=True)
    assert _prompt(engine).endswith("<|channel|>final<|message|>Some m")
    assert output.outputs[0].text == "ore."
    assert output.outputs[0].reply.content == "Some more."


def add(a: int, b: int) -> int:
    """Add numbers.

    Args:
        a: One.
        b: Another.
    """
    return a + b


SCHEMA = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}


def test_a_schema_s_call_is_the_caller_s(scripted: Any):
    llm, engine = scripted(CALL)
    (output,) = llm.chat(HELLO, tools=[SCHEMA], chat_template_kwargs={"builtin_tools": ["python"]})
    (one,) = output.outputs
    assert (one.finish_reason, one.stop_reason) == ("tool_calls", special.CALL)
    assert [(call.name, call.arguments) for call in one.reply.tool_calls] == [
        ("add", '{"a": 1, "b": 2}')
    ]
    assert "type add = (_:" in _prompt(engine)
    assert "## python" in _prompt(engine)
    message = one.reply.to_message()
    again = llm.get_tokenizer().apply_chat_template([*HELLO, message], tokenize=False)
    assert (
        'to=functions.add<|channel|>commentary <|constrain|>json<|message|>{"a": 1, "b": 2}<|call|>'
        in again
    )


def test_a_function_is_run_and_the_model_goes_on(scripted: Any):
    llm, engine = scripted(
        "<|channel|>analysis<|message|>Add.<|end|><|start|>assistant<|channel|>commentary"
        "<|message|>One moment.<|end|><|start|>assistant" + CALL,
        "<|channel|>final<|message|>It is 3.<|return|>",
    )
    (output,) = llm.chat(HELLO, tools=[add], reasoning_effort="low")
    (one,) = output.outputs
    assert (one.text, one.finish_reason) == ("It is 3.", "stop")
    reply = one.reply
    assert (reply.content, reply.reasoning) == ("It is 3.", "Add.")
    assert [call.name for call in reply.tool_calls] == ["add"]
    assert [(result.output, result.failed) for result in reply.tool_results] == [("3", False)]
    assert len(reply.messages) == 5
    assert "<|start|>functions.add to=assistant<|channel|>commentary<|message|>3<|end|>" in _prompt(
        engine, 1
    )
    assert "Reasoning: low" in _prompt(engine)
    assert list(engine.requests[0].prompt_ids) == output.prompt_token_ids


def test_several_chats_run_their_functions_in_rounds(scripted: Any):
    answer = "<|channel|>final<|message|>Done {}.<|return|>"
    llm, engine = scripted(CALL, answer.format(1), CALL, answer.format(2), answer.format(3))
    outputs = llm.chat([HELLO] * 3, tools=[add, SCHEMA | {"function": {"name": "other"}}])
    texts = [output.outputs[0].text for output in outputs]
    assert texts == ["Done 2.", "Done 1.", "Done 3."]
    assert [len(output.outputs[0].reply.tool_results) for output in outputs] == [1, 0, 1]
    assert len(engine.requests) == 5


def test_a_call_of_the_callers_own_tool_ends_the_loop(scripted: Any):
    llm, _ = scripted(CALL.replace("add", "other"))
    (output,) = llm.chat(HELLO, tools=[add, SCHEMA | {"function": {"name": "other"}}])
    (one,) = output.outputs
    assert one.finish_reason == "tool_calls"
    assert not one.reply.tool_results


def test_a_tool_that_raises_tells_the_model(scripted: Any):
    def broken(a: int) -> int:
        """Break.

        Args:
            a: What.
        """
        raise ValueError(f"no {a}")

    llm, engine = scripted(
        CALL.replace("add", "broken").replace(', "b": 2', ""), "<|channel|>final<|message|>Oh."
    )
    (output,) = llm.chat(HELLO, tools=[broken])
    assert output.outputs[0].reply.tool_results[0].failed
    assert "Error: ValueError: no 1" in _prompt(engine, 1)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("tools", {"chat_template": "{{ 1 }}"}),
        ("tools", {"continue_final_message": True}),
        ("tools", {"add_generation_prompt": False}),
        ("bad_words", {"sampling_params": SamplingParams(bad_words=["x"])}),
        ("n", {"sampling_params": SamplingParams(n=2)}),
        ("documents", {"documents": []}),
        ("tool_choice", {"tool_choice": "nonsense"}),
    ],
)
def test_what_functions_cannot_go_with(scripted: Any, field: str, options: dict[str, Any]):
    llm, _ = scripted(ANSWER)
    with pytest.raises(OssiaError) as refused:
        llm.chat(HELLO, tools=[add], **options)
    if isinstance(refused.value, RequestError):
        assert refused.value.field == field


def test_a_forced_function_is_called(scripted: Any):
    llm, engine = scripted(CALL, "<|channel|>final<|message|>3<|return|>")
    llm.chat(HELLO, tools=[add], tool_choice="add")
    assert engine.requests[0].make_mask is not None
