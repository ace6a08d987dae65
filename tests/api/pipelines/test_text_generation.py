"""Text generation against transformers' pipeline: shapes and, greedily, values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.pipelines.text_generation import ReturnType

from ossia import GenerationConfig, pipeline
from ossia.api.pipelines.text_generation import TextGenerationPipeline
from ossia.errors import RequestError
from support.folders import write_tiny_folder
from support.scripted_engine import TOKENIZER
from support.tokenizer_folder import write_tokenizer_folder
from support.transformers_version import only_5

CHAT = [{"role": "user", "content": "Hi there"}]
LONG_CHAT = [{"role": "system", "content": "Be kind."}, *CHAT]
PREFILL = [*CHAT, {"role": "assistant", "content": "Well, "}]
GREEDY = {"do_sample": False, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_folder(
        tmp_path_factory.mktemp("pipeline") / "tiny",
        max_position_embeddings=256,
        expert_format="dense",
    )
    return write_tokenizer_folder(folder, model_max_length=256)


@pytest.fixture(scope="module")
def ours(folder: Path) -> TextGenerationPipeline:
    return pipeline("text-generation", model=folder, dtype="float32", device=-1)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    import transformers

    return transformers.pipeline("text-generation", model=str(folder), dtype="float32", device=-1)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": ("San Francisco is", {}),
    "texts": (["San Francisco is", "a", "The end of"], {}),
    "one text in a list": (["a"], {}),
    "chat": (CHAT, {}),
    "chats": ([CHAT, LONG_CHAT], {}),
    "prefill": (PREFILL, {}),
    "no prefill": (PREFILL, {"continue_final_message": False}),
    "prefills": ([PREFILL, CHAT], {"return_full_text": False}),
    "new text": ("San Francisco is", {"return_full_text": False}),
    "new texts": (["San Francisco is", "a"], {"return_full_text": False}),
    "new text of a chat": (CHAT, {"return_full_text": False}),
    "tensors": ("San Francisco is", {"return_tensors": True}),
    "tensors of chats": ([CHAT, LONG_CHAT], {"return_tensors": True}),
    "text, said so": ("a", {"return_text": True}),
    "type": ("a b", {"return_type": ReturnType.NEW_TEXT}),
    "type of ids": (["a b"], {"return_type": ReturnType.TENSORS}),
    "special tokens": ("a b", {"skip_special_tokens": False}),
    "cleaning": ("a b", {"clean_up_tokenization_spaces": True}),
    "prefix": ("b c", {"prefix": "a "}),
    "cut": (
        "a b c d e f",
        {"tokenizer_encode_kwargs": {"truncation": True, "max_length": 4}, "return_tensors": True},
    ),
    "length of all": ("a b c", {"max_length": 7, "max_new_tokens": None}),
    "hole": ("a " * 300, {"handle_long_generation": "hole"}),
    "template's variables": (CHAT, {"tokenizer_encode_kwargs": {"reasoning_effort": "high"}}),
    "tools": (
        CHAT,
        {"tools": [{"type": "function", "function": {"name": "f", "description": "F."}}]},
    ),
    "beams": ("a b", {"num_beams": 2}),
    "several beams": (["a b", "c"], {"num_beams": 2, "num_return_sequences": 2}),
    "batches": (["a", "b c", "d"], {"batch_size": 2}),
    "end token": ("a b", {"eos_token_id": 64}),
    "no padding": ("a", {"padding": False, "add_special_tokens": False}),
}


_ONLY_5 = {
    "length of all": "takes max_new_tokens=256 for given",
    "tools": "passes tools on to generate",
    "batches": "pads on the right",
}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=only_5(_ONLY_5[case]) if case in _ONLY_5 else ()) for case in CASES],
)
def test_it_gives_what_transformers_gives(
    ours: TextGenerationPipeline, theirs: Any, case: str
) -> None:
    inputs, options = CASES[case]
    options = {**GREEDY, **options}
    options = {name: value for name, value in options.items() if value is not None}
    assert ours(inputs, **options) == theirs(inputs, **options)


def test_shorter_rows_end_where_they_end(ours: TextGenerationPipeline, theirs: Any) -> None:
    """An end token that comes at different places in the rows of one batch."""
    free = ours(["a b", "San Francisco is"], **GREEDY, return_tensors=True)
    ids = [row[0]["generated_token_ids"] for row in free]
    options: dict[str, Any] = {**GREEDY, "eos_token_id": ids[0][4], "return_tensors": True}
    found = ours(["a b", "San Francisco is"], **options)
    assert found == theirs(["a b", "San Francisco is"], **options)
    assert len(found[0][0]["generated_token_ids"]) == 5


@only_5("goes on behind a stop string until all rows have ended")
def test_stop_strings_end_each_row_apart(ours: TextGenerationPipeline, theirs: Any) -> None:
    free = ours(["a b", "c"], **GREEDY, return_full_text=False)
    stop = free[0][0]["generated_text"][2:5]
    # Theirs spends seconds a call on the vocabulary, so each kind of input has one kind of output.
    for inputs, returns in (("a b", {}), (["a b", "c"], {"return_tensors": True})):
        options = {**GREEDY, **returns, "stop_sequence": stop}
        assert ours(inputs, **options) == theirs(inputs, **options)


def test_sampling_is_openais_recommendation_unless_said_otherwise(
    ours: TextGenerationPipeline,
) -> None:
    config = ours.generation_config
    assert (config.max_new_tokens, config.do_sample) == (256, True)
    assert config.temperature in (None, 1.0)
    assert config.top_k in (None, 0)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(ours("a", max_new_tokens=8, num_return_sequences=3))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len({one["generated_text"] for one in runs[0]}) == 3
    assert ours.tokenizer.padding_side == "left"


def test_a_generation_config_can_be_given(ours: TextGenerationPipeline) -> None:
    config = GenerationConfig(do_sample=False, max_new_tokens=3, eos_token_id=[200_002])
    (output,) = ours("a b", generation_config=config, return_tensors=True)
    assert len(output["generated_token_ids"]) == 2 + 3
    (same,) = ours("a b", return_tensors=True, generate_kwargs={"generation_config": config})
    assert output == same


def test_generators_and_datasets_are_read_as_they_go(ours: TextGenerationPipeline) -> None:
    asked = []

    def prompts():
        for text in ("a", "b c", "d"):
            asked.append(text)
            yield text

    outputs = ours(prompts(), batch_size=1, **GREEDY)
    assert asked == []
    first = next(outputs)
    assert asked == ["a"]
    assert [first, *outputs] == ours(["a", "b c", "d"], **GREEDY)

    class Dataset:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, place: int) -> str:
            return ["a", "b c", "d"][place]

    assert list(ours(Dataset(), **GREEDY)) == ours(["a", "b c", "d"], **GREEDY)


def test_an_empty_text_begins_with_the_first_token(
    ours: TextGenerationPipeline, theirs: Any
) -> None:
    found = ours(text_inputs="", **GREEDY)
    assert found == theirs("", **GREEDY)


REPLY = (
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f"
    ' <|constrain|>json<|message|>{"a": 1}<|call|>'
)


def _saying(ours: TextGenerationPipeline, monkeypatch: pytest.MonkeyPatch, text: str) -> list[Any]:
    calls: list[Any] = []

    def generate(input_ids: list[list[int]], **options: Any) -> torch.Tensor:
        calls.append((input_ids, options))
        width = max(map(len, input_ids))
        new = TOKENIZER.encode_with_special(text)
        return torch.tensor([[199_999] * (width - len(ids)) + ids + new for ids in input_ids])

    monkeypatch.setattr(ours.model, "generate", generate)
    return calls


def test_replies_can_be_parted(
    ours: TextGenerationPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _saying(ours, monkeypatch, REPLY)
    (output,) = ours(
        CHAT,
        parse_harmony=True,
        reasoning_effort="high",
        model_identity="You are Ossia.",
        builtin_tools=["python"],
    )
    *before, message = output["generated_text"]
    assert before == CHAT
    assert message.pop("tool_calls")[0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert message == {"role": "assistant", "content": "", "thinking": "Hm."}
    prompt = TOKENIZER.decode(calls[0][0][0])
    assert "Reasoning: high" in prompt
    assert "You are Ossia." in prompt
    assert "## python" in prompt
    (named,) = ours(CHAT, parse_harmony="reasoning_content", return_full_text=False)
    assert named["generated_text"]["reasoning_content"] == "Hm."
    (plain,) = ours(CHAT)
    assert plain["generated_text"][-1]["content"] == (
        'analysisHm.assistantcommentary to=functions.f json{"a": 1}'
    )


def test_a_prefill_is_part_of_the_parted_reply(
    ours: TextGenerationPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    _saying(ours, monkeypatch, "hello.<|return|>")
    (output,) = ours(PREFILL, parse_harmony=True)
    assert output["generated_text"] == [
        *CHAT,
        {"role": "assistant", "content": "Well, hello."},
    ]


def test_all_prompts_of_a_call_run_together(
    ours: TextGenerationPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _saying(ours, monkeypatch, "x")
    ours(["a", "b c", "d"])
    assert [len(ids) for ids, _ in calls] == [3]
    calls.clear()
    ours(["a", "b c", "d"], batch_size=2)
    assert [len(ids) for ids, _ in calls] == [2, 1]
    calls.clear()
    ours(["a", "b c"], max_length=9)
    assert [len(ids) for ids, _ in calls] == [1, 1], "a length counts each prompt's own tokens"


def test_an_assistant_changes_nothing_but_the_time(
    ours: TextGenerationPipeline,
) -> None:
    pipe = pipeline(
        model=ours.model, tokenizer=ours.tokenizer, assistant_model=ours.model, device=-1
    )
    assert pipe("a b", **GREEDY) == ours("a b", **GREEDY)
    assert ours("a b", assistant_model=ours.model, **GREEDY) == ours("a b", **GREEDY)


def test_documents_need_a_template_that_shows_them(ours: TextGenerationPipeline) -> None:
    documents = [{"title": "t", "text": "x"}]
    with pytest.raises(RequestError, match="documents: this chat template shows none"):
        ours(CHAT, documents=documents, **GREEDY)
    source = "{{ documents[0].text }}"
    (output,) = ours(
        CHAT,
        documents=documents,
        tokenizer_encode_kwargs={"chat_template": source},
        return_tensors=True,
        **GREEDY,
    )
    assert output["generated_token_ids"][0] == ours.tokenizer("x")["input_ids"][0]


def test_a_streamer_sees_the_text(ours: TextGenerationPipeline, capsys: Any) -> None:
    from ossia import TextStreamer

    (output,) = ours("a b", streamer=TextStreamer(ours.tokenizer), **GREEDY)
    assert capsys.readouterr().out.strip() == output["generated_text"].strip()


@pytest.mark.parametrize(
    ("field", "inputs", "options"),
    [
        ("return_tensors", "a", {"return_full_text": True, "return_tensors": True}),
        ("return_text", "a", {"return_tensors": True, "return_text": True}),
        ("return_type", "a", {"return_type": 7}),
        ("handle_long_generation", "a", {"handle_long_generation": "cut"}),
        ("handle_long_generation", "a", {"handle_long_generation": "hole", "max_new_tokens": 400}),
        ("parse_harmony", "a", {"parse_harmony": 3}),
        ("output_scores", "a", {"output_scores": True}),
        ("frobnicate", "a", {"frobnicate": 1}),
        ("batch_size", "a", {"batch_size": 0}),
        ("text_inputs", [5], {}),
        ("text_inputs", [["a", "b"]], {}),
        ("inputs", 5, {}),
    ],
    ids=str,
)
def test_what_cannot_be_met_is_refused_by_name(
    ours: TextGenerationPipeline, field: str, inputs: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(RequestError) as refused:
        ours(inputs, **options)
    assert refused.value.field == field
