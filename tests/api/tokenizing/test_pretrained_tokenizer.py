"""The tokenizer against transformers' on the published files, argument by argument."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia import AutoTokenizer, BatchEncoding
from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer
from ossia.errors import CheckpointError, ModelNotFoundError, RequestError
from ossia.tokenizer import special, vocabulary
from support.fake_hub import fake_hub
from support.tokenizer_folder import write_tokenizer_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer_folder(tmp_path_factory.mktemp("tokenizer") / "files")


@pytest.fixture(scope="module")
def ours(folder: Path) -> PreTrainedTokenizer:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(folder)


def _plain(value: Any) -> Any:
    """Plain data, with the kind and dtype of arrays."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return (type(value).__name__, str(value.dtype), value.tolist())
    if hasattr(value, "items"):
        return {name: _plain(item) for name, item in value.items()}
    return value


TEXTS = [
    "Hello, world",
    "",
    " naïve 🫠🫠 don't\n\n  x",
    "a <|start|>user<|message|>b<|end|><|reserved_200001|>",
    "<|reserved_200500|> and <|nonsense|>",
    "日本語のテキスト 12345678",
]

OPTIONS: list[dict[str, Any]] = [
    {},
    {"split_special_tokens": True},
    {"add_special_tokens": False, "verbose": False},
    {"max_length": 3},
    {"truncation": True, "max_length": 4},
    {"truncation": "only_first", "max_length": 4},
    {"truncation": "longest_first", "max_length": 2},
    {"truncation": False, "padding": False},
    {"padding": "max_length", "max_length": 9},
    {"padding": "max_length", "max_length": 9, "truncation": True, "padding_side": "left"},
    {"padding": "max_length", "max_length": 9, "pad_to_multiple_of": 4},
    {"padding": True, "return_attention_mask": False},
    {"padding": "longest", "pad_to_multiple_of": 8},
    {"padding": "do_not_pad"},
    {"return_token_type_ids": True, "return_special_tokens_mask": True, "return_length": True},
    {"return_offsets_mapping": True, "padding": True, "return_special_tokens_mask": True},
    {"return_offsets_mapping": True, "max_length": 3, "truncation": True},
    {"padding": True, "return_tensors": "pt", "return_offsets_mapping": True},
    {"padding": True, "return_tensors": "np", "return_length": True},
    {"padding": True, "return_tensors": "pt", "padding_side": "left"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("text", [*TEXTS, TEXTS, TEXTS[:1]], ids=range(8))
def test_a_call_gives_what_transformers_gives(
    ours: PreTrainedTokenizer, theirs: Any, text: Any, options: dict[str, Any]
) -> None:
    found, expected = ours(text, **options), theirs(text, **options)
    assert _plain(found) == _plain(expected)
    assert list(found) == list(expected)
    for place in range(len(TEXTS) if isinstance(text, list) and len(text) > 1 else 1):
        assert found.tokens(place) == expected.tokens(place)
        assert found.word_ids(place) == expected.word_ids(place)
        assert found.sequence_ids(place) == expected.sequence_ids(place)
    ids = ours.encode(text, **{k: v for k, v in options.items() if not k.startswith("return_")})
    assert _plain(ids) == _plain(
        theirs.encode(text, **{k: v for k, v in options.items() if not k.startswith("return_")})
    )


@given(
    st.lists(
        st.text(st.sampled_from("ab <|>end 🫠é\n1start'"), max_size=12), min_size=1, max_size=4
    ),
    st.sampled_from([None, 1, 3, 8]),
    st.sampled_from(["left", "right"]),
    st.sampled_from(["left", "right"]),
)
@settings(max_examples=60, deadline=None)
def test_offsets_words_and_cuts_agree_on_any_text(
    ours: PreTrainedTokenizer,
    theirs: Any,
    texts: list[str],
    length: int | None,
    padding_side: str,
    truncation_side: str,
) -> None:
    options: dict[str, Any] = {"padding": True, "return_offsets_mapping": True}
    options |= {"padding_side": padding_side, "truncation": length is not None}
    options |= {} if length is None else {"max_length": length}
    for tokenizer in (ours, theirs):
        tokenizer.truncation_side = truncation_side
    try:
        found, expected = ours(texts, **options), theirs(texts, **options)
    finally:
        for tokenizer in (ours, theirs):
            tokenizer.truncation_side = "right"
    assert _plain(found) == _plain(expected)
    for place, text in enumerate(texts):
        assert found.word_ids(place) == expected.word_ids(place)
        assert found.tokens(place) == expected.tokens(place)
        for char in range(len(text)):
            assert found.char_to_token(place, char) == expected.char_to_token(place, char)
            assert found.char_to_word(place, char) == expected.char_to_word(place, char)
        for word in {word for word in found.word_ids(place) if word is not None}:
            assert found.word_to_tokens(place, word) == expected.word_to_tokens(place, word)
            assert found.word_to_chars(place, word) == expected.word_to_chars(place, word)
        for token in range(len(found.input_ids[place])):
            assert found.token_to_word(place, token) == expected.token_to_word(place, token)
            mine = found.token_to_chars(place, token)
            assert mine == expected.token_to_chars(place, token)


@pytest.mark.parametrize(
    "words", [["Hello", "world 🫠", "", "<|end|>"], [["Hello", "worldly"], ["a"]]], ids=str
)
def test_words_are_encoded_one_by_one(ours: PreTrainedTokenizer, theirs: Any, words: Any) -> None:
    options = {"is_split_into_words": True, "return_offsets_mapping": True, "padding": True}
    found, expected = ours(words, **options), theirs(words, **options)
    assert _plain(found) == _plain(expected)
    for place in range(len(expected.encodings)):
        assert found.word_ids(place) == expected.word_ids(place)


def test_targets_become_labels(ours: PreTrainedTokenizer, theirs: Any) -> None:
    for arguments in ({"text": "a b", "text_target": "c d e"}, {"text_target": ["c", "d e"]}):
        assert _plain(ours(**arguments)) == _plain(theirs(**arguments))


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("text", {}),
        ("text", {"text": 5}),
        ("text", {"text": [5]}),
        ("text", {"text": [("a", "b")]}),
        ("text", {"text": "a", "is_split_into_words": True}),
        ("text_pair", {"text": "a", "text_pair": "b"}),
        ("text_pair_target", {"text": "a", "text_pair_target": "b"}),
        ("stride", {"text": "a", "stride": 1}),
        ("return_overflowing_tokens", {"text": "a", "return_overflowing_tokens": True}),
        ("tokenizer_kwargs", {"text": "a", "tokenizer_kwargs": {"padding": True}}),
        ("padding", {"text": "a", "padding": "much"}),
        ("padding_side", {"text": "a", "padding_side": "top"}),
        ("truncation", {"text": "a", "truncation": "only_second", "max_length": 1}),
        ("max_length", {"text": "a", "truncation": True, "max_length": -1}),
        ("return_tensors", {"text": "a", "return_tensors": "tf"}),
        ("return_tensors", {"text": ["a", "b c"], "return_tensors": "pt"}),
        (
            "pad_to_multiple_of",
            {
                "text": "a",
                "padding": True,
                "truncation": True,
                "max_length": 9,
                "pad_to_multiple_of": 4,
            },
        ),
    ],
    ids=str,
)
def test_what_cannot_be_met_is_refused_by_name(
    ours: PreTrainedTokenizer, field: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(RequestError) as refused:
        ours(**arguments)
    assert refused.value.field == field
    with pytest.raises(TypeError, match="frobnicate"):
        ours("a", frobnicate=1)


def test_every_argument_of_transformers_is_known(theirs: Any) -> None:
    for name in ("__call__", "apply_chat_template", "pad", "decode", "batch_decode"):
        wanted = inspect.signature(getattr(type(theirs), name)).parameters
        known = inspect.signature(getattr(PreTrainedTokenizer, name)).parameters
        missing = wanted.keys() - known.keys() - {"kwargs"}
        assert not missing, (name, missing)
        for parameter in wanted.keys() & known.keys():
            theirs_default = wanted[parameter].default
            assert known[parameter].default == theirs_default, (name, parameter)


DECODED: list[Any] = [
    5,
    [],
    [1, 2, 3],
    [[1, 2], [3]],
    np.array([1, 200_006, 3]),
    torch.tensor([[1, 200_007], [199_999, 3]]),
    torch.tensor(7),
    [np.int64(3), np.int64(200_002)],
    [torch.tensor([3, 4]), torch.tensor([5])],
    {"input_ids": [1, 2]},
    [9255, 100],
]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("ids", DECODED, ids=str)
def test_decoding_agrees(ours: PreTrainedTokenizer, theirs: Any, ids: Any, skip: bool) -> None:
    assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(
        ids, skip_special_tokens=skip
    )
    expected = theirs.batch_decode(ids, skip_special_tokens=skip)
    assert ours.batch_decode(ids, skip_special_tokens=skip) == expected
    assert ours.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=True) == (
        theirs.decode(ids, skip_special_tokens=skip)
    )


def test_what_is_no_id_is_refused(ours: PreTrainedTokenizer) -> None:
    for wrong in ("text", None, [-100], [300_000], 1.5):
        with pytest.raises(RequestError):
            ours.decode(wrong)


def test_rows_without_a_token_show_their_name(ours: PreTrainedTokenizer) -> None:
    """transformers drops them, so that an output is not what the model gave."""
    assert ours.decode([200_500]) == "<|reserved_200500|>"
    assert ours.decode([200_500], skip_special_tokens=True) == ""


def test_tokens_and_ids_convert_alike(ours: PreTrainedTokenizer, theirs: Any) -> None:
    ids = theirs("Hi 🫠 <|start|><|end|>")["input_ids"]
    tokens = theirs.convert_ids_to_tokens(ids)
    assert ours.convert_ids_to_tokens(ids) == tokens == ours.tokenize("Hi 🫠 <|start|><|end|>")
    assert ours.convert_ids_to_tokens(torch.tensor(ids)) == tokens
    assert ours.convert_ids_to_tokens(ids[0]) == tokens[0]
    marked = [*ids, special.RETURN, special.ENDOFTEXT]
    assert ours.convert_ids_to_tokens(marked, skip_special_tokens=True) == (
        theirs.convert_ids_to_tokens(marked, skip_special_tokens=True)
    )
    for wanted in (tokens, tokens[0], ["<|return|>", "never a token", "<|reserved_200500|>"]):
        assert ours.convert_tokens_to_ids(wanted) == theirs.convert_tokens_to_ids(wanted)
    assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)
    for seen in (False, True):
        assert ours.get_special_tokens_mask(marked, already_has_special_tokens=seen) == (
            theirs.get_special_tokens_mask(marked, already_has_special_tokens=True)
            if seen
            else [0] * len(marked)
        )


ATTRIBUTES = [
    *("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "pad_token_type_id"),
    *("all_special_tokens", "all_special_ids", "special_tokens_map", "vocab_size"),
    *("padding_side", "truncation_side", "model_max_length", "is_fast", "chat_template"),
    *("added_tokens_encoder", "clean_up_tokenization_spaces", "name_or_path"),
]


def test_attributes_are_the_same(ours: PreTrainedTokenizer, theirs: Any) -> None:
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert list(ours.model_input_names) == theirs.model_input_names
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab() == ours.vocab
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    decoder = theirs.added_tokens_decoder
    assert {i: str(token) for i, token in ours.added_tokens_decoder.items()} == {
        i: str(token) for i, token in decoder.items()
    }
    assert ours.num_special_tokens_to_add() == theirs.num_special_tokens_to_add()
    assert "vocab_size=199998" in repr(ours)


def test_roles_can_be_set_to_tokens_there_are(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer.pad_token_id == special.RETURN
    assert tokenizer(["a", "b c"], padding=True)["input_ids"][0][-1] == special.RETURN
    tokenizer.pad_token_id = special.ENDOFTEXT
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.add_special_tokens({"sep_token": "<|end|>"}) == 0
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<|call|>"]}) == 0
    assert tokenizer.extra_special_tokens == ["<|call|>"]
    assert tokenizer.sep_token_id == special.END
    assert {special.END, special.CALL} <= set(tokenizer.all_special_ids)
    assert tokenizer.add_tokens(["<|call|>"]) == 0
    for field, change in (
        ("pad_token", lambda: setattr(tokenizer, "pad_token", "[PAD]")),
        ("pad_token_id", lambda: setattr(tokenizer, "pad_token_id", 500_000)),
        ("new_tokens", lambda: tokenizer.add_tokens("<new one>")),
        ("padding_side", lambda: setattr(tokenizer, "padding_side", "top")),
        ("chat_template", lambda: setattr(tokenizer, "chat_template", {"default": ""})),
        ("mood_token", lambda: tokenizer.add_special_tokens({"mood_token": "<|end|>"})),
    ):
        with pytest.raises(RequestError) as refused:
            change()
        assert refused.value.field == field
    tokenizer.pad_token = None
    with pytest.raises(RequestError, match="pad_token"):
        tokenizer(["a", "b c"], padding=True)


PADDED: list[tuple[Any, dict[str, Any]]] = [
    ({"input_ids": [1, 2]}, {"padding": "max_length", "max_length": 5}),
    ({"input_ids": [[1, 2], [3]], "attention_mask": [[1, 1], [1]]}, {}),
    ([{"input_ids": [1, 2]}, {"input_ids": [3]}], {"return_tensors": "pt"}),
    (
        [{"input_ids": [1, 2]}, {"input_ids": [3]}],
        {"padding_side": "left", "max_length": 4, "verbose": False},
    ),
    ([{"input_ids": [1]}, {"input_ids": [3, 4]}], {"pad_to_multiple_of": 4}),
    ([{"input_ids": torch.tensor([1, 2])}, {"input_ids": torch.tensor([3])}], {}),
    ([{"input_ids": np.array([1, 2]), "label": 3}, {"input_ids": np.array([3]), "label": 4}], {}),
    (
        [{"input_ids": [1], "special_tokens_mask": [0], "token_type_ids": [0]}] * 2,
        {"padding": False},
    ),
    (
        [
            {"input_ids": [1], "special_tokens_mask": [0], "token_type_ids": [0]},
            {"input_ids": [1, 2], "special_tokens_mask": [0, 0], "token_type_ids": [0, 0]},
        ],
        {"return_attention_mask": False},
    ),
    ({"input_ids": []}, {}),
]


@pytest.mark.parametrize("case", range(len(PADDED)))
def test_pad_does_what_data_collators_expect(
    ours: PreTrainedTokenizer, theirs: Any, case: int
) -> None:
    inputs, options = PADDED[case]
    given = copy.deepcopy(inputs)
    found = ours.pad(inputs, **options)
    assert str(inputs) == str(given), "what was given stays as it is"
    assert _plain(found) == _plain(theirs.pad(given, **options))


def test_pad_refuses_what_it_cannot_fill(ours: PreTrainedTokenizer) -> None:
    for field, inputs in (
        ("input_ids", {"labels": [1]}),
        ("encoded_inputs", []),
        ("encoded_inputs", {"input_ids": [[1], [2]], "attention_mask": [[1]]}),
    ):
        with pytest.raises(RequestError) as refused:
            ours.pad(inputs)
        assert refused.value.field == field


def test_a_data_collator_of_transformers_takes_it(ours: PreTrainedTokenizer) -> None:
    from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

    rows = [dict(ours(text)) for text in ("a b c", "d")]
    batch = DataCollatorWithPadding(ours)([dict(row) for row in rows])
    assert batch["input_ids"].tolist()[1][1:] == [special.ENDOFTEXT] * 2
    for row in rows:
        row["labels"] = [1] * len(row["input_ids"])
    batch = DataCollatorForTokenClassification(ours)(rows)
    assert batch["labels"].tolist()[1] == [1, -100, -100]


def test_an_encoding_is_many_things(ours: PreTrainedTokenizer, theirs: Any) -> None:
    found = ours(["a b", "c"], padding=True, return_tensors="pt")
    expected = theirs(["a b", "c"], padding=True, return_tensors="pt")
    assert found.input_ids is found["input_ids"]
    assert {**found}.keys() == {"input_ids", "attention_mask"}
    assert found[0].ids == expected[0].ids
    assert found[1].attention_mask == expected[1].attention_mask
    assert [one.tokens for one in found[0:2]] == [one.tokens for one in expected[0:2]]
    assert len(found.encodings) == 2
    assert (found.n_sequences, found.is_fast) == (expected.n_sequences, expected.is_fast)
    assert found.to("meta") is found
    assert found["input_ids"].device.type == "meta"
    bare = BatchEncoding({"input_ids": [[1], [2]]})
    assert bare[0:1] == {"input_ids": [[1]]}
    assert bare.convert_to_tensors("np")["input_ids"].shape == (2, 1)
    with pytest.raises(KeyError):
        bare[0]
    with pytest.raises(RequestError, match="not made from text"):
        bare.tokens()
    with pytest.raises(AttributeError, match="pixel_values"):
        _ = bare.pixel_values
    copied = pickle.loads(pickle.dumps(ours("a b")))
    assert copied == ours("a b")
    assert copied.tokens() == ours("a b").tokens()


def test_it_travels_and_copies(ours: PreTrainedTokenizer) -> None:
    packaged = AutoTokenizer.from_pretrained("random:tiny")
    packed = pickle.dumps(packaged)
    assert len(packed) < 100_000
    for twin in (pickle.loads(packed), pickle.loads(pickle.dumps(ours))):
        assert twin("naïve <|end|>") == ours("naïve <|end|>")
        assert twin.chat_template == ours.chat_template
    assert repr(pickle.loads(packed)) == repr(packaged)
    assert packaged.tokenizer.to_json() == vocabulary.tokenizer_json()
    other = copy.deepcopy(ours)
    other.padding_side = "left"
    assert ours.padding_side == "right"
    assert other.tokenizer is ours.tokenizer


def test_saved_files_give_it_back_to_both(
    ours: PreTrainedTokenizer, tmp_path: Path, theirs: Any
) -> None:
    import transformers

    changed = copy.deepcopy(ours)
    changed.padding_side, changed.pad_token, changed.model_max_length = "left", "<|end|>", 77
    changed.chat_template = "{{ messages[0].content }}"
    written = changed.save_pretrained(save_directory=tmp_path / "saved")
    assert sorted(Path(path).name for path in written) == [
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for tokenizer in (
        AutoTokenizer.from_pretrained(tmp_path / "saved"),
        transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"),
    ):
        assert (tokenizer.padding_side, tokenizer.pad_token) == ("left", "<|end|>")
        assert (tokenizer.model_max_length, tokenizer.chat_template) == (77, changed.chat_template)
        text = "naïve <|start|> 🫠"
        assert tokenizer(text)["input_ids"] == theirs(text)["input_ids"]
    theirs.save_pretrained(tmp_path / "by_them")
    assert AutoTokenizer.from_pretrained(tmp_path / "by_them")("é") == ours("é")
    with pytest.raises(RequestError, match="push_to_hub"):
        ours.save_pretrained(tmp_path, push_to_hub=True)


def test_settings_given_by_name_win(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(
        folder,
        padding_side="left",
        truncation_side="left",
        model_max_length=3,
        chat_template="{{ 1 }}",
        pad_token="<|end|>",
        split_special_tokens=True,
        use_fast=True,
        trust_remote_code=True,
        clean_up_tokenization_spaces=False,
        add_bos_token=False,
    )
    assert tokenizer(["a", "b c d e"], padding=True, truncation=True)["input_ids"] == [
        [special.END, special.END, 64],
        tokenizer.tokenizer.encode("b c d e")[-3:],
    ]
    assert len(tokenizer("<|end|>")["input_ids"]) > 1
    assert tokenizer.apply_chat_template([{"role": "user"}], tokenize=False) == "1"


def test_roles_can_be_given_by_name(folder: Path) -> None:
    roles = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")
    named: dict[str, Any] = {f"{role}_token": "<|end|>" for role in roles}
    tokenizer = AutoTokenizer.from_pretrained(folder, **named, extra_special_tokens=["<|call|>"])
    for name in ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token"):
        assert getattr(tokenizer, name) == "<|end|>", name
    assert tokenizer.mask_token_id == special.END
    assert tokenizer.extra_special_tokens == ["<|call|>"]
    older = AutoTokenizer.from_pretrained(folder, additional_special_tokens=["<|call|>"])
    assert older.extra_special_tokens == ["<|call|>"]


def test_a_slip_of_the_pen_is_refused_with_the_nearest_name(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"^pading_side: .*did you mean padding_side\?"):
        AutoTokenizer.from_pretrained(folder, pading_side="left")


@pytest.mark.parametrize(
    "argument",
    [
        {"use_fast": False},
        {"add_bos_token": True},
        {"gguf_file": "x.gguf"},
        {"proxies": {"http": "x"}},
        {"use_auth_token": "x"},
        {"frobnicate": 1},
        {"padding_side": "top"},
        {"pad_token": "[PAD]"},
        {"tokenizer_type": "bert"},
    ],
    ids=str,
)
def test_from_pretrained_refuses_by_name(folder: Path, argument: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as refused:
        AutoTokenizer.from_pretrained(folder, **argument)
    assert refused.value.field == next(iter(argument))


def test_from_pretrained_refuses_other_models_and_positions(folder: Path) -> None:
    import transformers

    for arguments, options in (
        ((folder, "more"), {}),
        ((folder,), {"config": transformers.BertConfig()}),
    ):
        with pytest.raises(RequestError):
            AutoTokenizer.from_pretrained(*arguments, **options)
    assert AutoTokenizer.from_pretrained(folder, config=transformers.GptOssConfig()).is_fast
    with pytest.raises(RequestError, match="from_pretrained"):
        AutoTokenizer()
    with pytest.raises(ModelNotFoundError):
        AutoTokenizer.from_pretrained("./nowhere")


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="tokenizer_config"):
        AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": [{"name": "x"}]}))
    with pytest.raises(CheckpointError, match="several chat templates"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_a_subfolder_can_hold_it(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(
        pretrained_model_name_or_path=folder.parent, subfolder=folder.name
    )
    assert tokenizer.model_max_length == 131_072


def test_of_a_hub_repository_only_small_files_are_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    content = {name: (folder / name).read_bytes() for name in names}
    content |= {"config.json": b"{}", "model.safetensors": b"heavy"}
    with fake_hub(content) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        options: dict[str, Any] = {"cache_dir": tmp_path, "token": "secret"}
        tokenizer = AutoTokenizer.from_pretrained(hub.repo_id, **options)
        assert tokenizer.name_or_path == hub.repo_id
        assert tokenizer("a <|end|>")["input_ids"] == [64, 220, special.END]
        assert set(hub.fetched()) == {*names, "config.json"}
        assert "Bearer secret" in hub.tokens
        hub.requests.clear()
        again = AutoTokenizer.from_pretrained(hub.repo_id, local_files_only=True, **options)
        assert again.chat_template == tokenizer.chat_template
        assert not hub.requests
        AutoTokenizer.from_pretrained(hub.repo_id, force_download=True, **options)
        assert set(hub.fetched()) == {*names, "config.json"}
        with pytest.raises(ModelNotFoundError, match="no revision"):
            AutoTokenizer.from_pretrained(hub.repo_id, revision="nope", **options)
        with pytest.raises(ModelNotFoundError, match="not in"):
            AutoTokenizer.from_pretrained("o/other", local_files_only=True, **options)
