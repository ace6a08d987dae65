"""PreTrainedTokenizer: Ossia's tokenizer with transformers' manners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ossia.api.argument_table import refuse_all_but
from ossia.api.tokenizing.arguments import SAVE_PRETRAINED
from ossia.api.tokenizing.chat_templating import ChatTemplating
from ossia.api.tokenizing.special_names import ROLES, SpecialNames
from ossia.api.tokenizing.text_encoding import TextEncoding, refuse_pair
from ossia.api.tokenizing.tokenizer_files import DEFAULTS, TokenizerFiles, write_tokenizer
from ossia.errors import RequestError
from ossia.log import logger
from ossia.tokenizer import Tokenizer, byte_level, special

_log = logger(__name__)
_LARGEST = int(1e30)  # what checkpoints write where they know no limit
_SPECIAL_NAMES = frozenset(special.SPECIAL_TOKENS.values())


class PreTrainedTokenizer(TextEncoding, ChatTemplating, SpecialNames):
    """Text to ids and back, chats to prompts, with the names and results of transformers.

    Names of special tokens in text are the tokens themselves, as there, unless
    `split_special_tokens` says that they are text.

    Args:
        files: What the model's folder says.
        name_or_path: The model's name.
        settings: What is to be otherwise than there; `from_pretrained` explains them.
        now: Tells the time to chat templates.

    Attributes:
        padding_side: "left" or "right".
        truncation_side: "left" or "right".
        model_max_length: Longest text in tokens, as the checkpoint says.
        split_special_tokens: Whether names of special tokens in text are mere text.
        name_or_path: The model's name.
        tokenizer: The tokenizer itself.
    """

    is_fast = True
    clean_up_tokenization_spaces = False  # it would corrupt text of a byte-level tokenizer

    def __init__(
        self,
        files: TokenizerFiles,
        *,
        name_or_path: str = "",
        settings: Mapping[str, Any] | None = None,
        **template_options: Any,  # noqa: ANN401  (`now`)
    ) -> None:
        chosen = {**files.settings, **(settings or {})}
        extra = chosen.get("extra_special_tokens") or chosen.get("additional_special_tokens") or ()
        SpecialNames.__init__(
            self, files.tokenizer, {role: chosen.get(role) for role in ROLES}, extra
        )
        ChatTemplating.__init__(
            self, chosen.get("chat_template", files.chat_template), **template_options
        )
        self.name_or_path = name_or_path
        self._padding_side = self._truncation_side = "right"
        self.padding_side = chosen.get("padding_side", "right")
        self.truncation_side = chosen.get("truncation_side", "right")
        self.model_max_length = int(chosen.get("model_max_length") or _LARGEST)
        self.split_special_tokens = bool(chosen.get("split_special_tokens", False))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Any:  # noqa: ANN401
        """The same as `AutoTokenizer.from_pretrained`."""
        from ossia.api.tokenizing.auto_tokenizer import AutoTokenizer

        return AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def of(cls, tokenizer: Tokenizer, chat_template: str | None = None) -> PreTrainedTokenizer:
        """One over a tokenizer alone."""
        return cls(TokenizerFiles(tokenizer, dict(DEFAULTS), chat_template))

    @property
    def padding_side(self) -> str:
        """Where padding stands: "left", as generation wants it, or "right"."""
        return self._padding_side

    @padding_side.setter
    def padding_side(self, side: str) -> None:
        self._padding_side = _side(side, "padding_side")

    @property
    def truncation_side(self) -> str:
        """Where texts are cut: "left" or "right"."""
        return self._truncation_side

    @truncation_side.setter
    def truncation_side(self, side: str) -> None:
        self._truncation_side = _side(side, "truncation_side")

    @property
    def vocab_size(self) -> int:
        """Ordinary tokens: 199,998. The special ones come on top; see `len`."""
        return special.FIRST_SPECIAL

    def __len__(self) -> int:
        return special.LAST_LISTED + 1

    def __bool__(self) -> bool:
        return True

    @property
    def vocab(self) -> dict[str, int]:
        """The same as `get_vocab()`."""
        return self.get_vocab()

    def get_vocab(self) -> dict[str, int]:
        """Every token, as tokenizer.json writes it, with its id."""
        return self.tokenizer.names()

    def decode(
        self,
        token_ids: Any,  # noqa: ANN401  (an id, ids, lists of ids, an array or a tensor)
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> Any:  # noqa: ANN401  (text, or texts)
        """Ids to text, several texts for a list of lists or a (texts, length) tensor.

        Args:
            token_ids: An id, ids, lists of them, an array or a tensor; or a mapping that holds
                `input_ids`.
            skip_special_tokens: Leave special tokens out instead of writing their names.
            clean_up_tokenization_spaces: Makes no difference: byte-level text needs no mending.

        Raises:
            RequestError: something that is no id.
        """
        if clean_up_tokenization_spaces:
            _log.info("clean_up_tokenization_spaces=True does nothing for a byte-level tokenizer")
        ids = _plain_ids(token_ids)
        if ids and isinstance(ids[0], list):
            return [self.tokenizer.decode(row, skip_special=skip_special_tokens) for row in ids]
        return self.tokenizer.decode(ids, skip_special=skip_special_tokens)

    def batch_decode(
        self,
        sequences: Any,  # noqa: ANN401  (lists of ids, arrays or tensors)
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Ids to texts; a single list of ids gives a list of one text."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else texts

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:  # noqa: ANN401
        """Ids of tokens as tokenizer.json writes them; None for what is none."""
        if isinstance(tokens, str):
            found = self.tokenizer.name_to_id(tokens)
            return None if found is None or found > special.LAST_LISTED else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:  # noqa: ANN401
        """Tokens as tokenizer.json writes them; None for ids that it does not list."""
        listed = _plain_ids(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set[int]()
        names = [self.tokenizer.id_to_name(one) for one in listed if one not in skipped]
        return names[0] if isinstance(ids, int) else names

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """The text of tokens as tokenizer.json writes them."""
        data = b"".join(
            token.encode() if token in _SPECIAL_NAMES else byte_level.to_bytes(token)
            for token in tokens
        )
        return data.decode(errors="replace")

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """None are added."""
        del pair
        return 0

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for ids that are one of `all_special_ids`; without the last argument set, all 0."""
        refuse_pair(token_ids_1, "token_ids_1")
        marked = set(self.all_special_ids) if already_has_special_tokens else set[int]()
        return [int(token_id in marked) for token_id in token_ids_0]

    def save_pretrained(self, save_directory: str | Path, **unsupported: object) -> tuple[str, ...]:
        """Write the files from which `from_pretrained`, ours or transformers', makes this again.

        Args:
            save_directory: A folder; it is made if it is not there.
            unsupported: Refused, with the way round, unless they ask for nothing.

        Returns:
            Paths of the files.

        Raises:
            RequestError: an argument that is not supported.
        """
        refuse_all_but(unsupported, SAVE_PRETRAINED, "save_pretrained")
        settings: dict[str, Any] = {
            **self.special_tokens_map,
            "clean_up_tokenization_spaces": False,
            "model_input_names": list(self.model_input_names),
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "tokenizer_class": "PreTrainedTokenizerFast",
        }
        if self.split_special_tokens:
            settings["split_special_tokens"] = True
        folder = Path(save_directory)
        return write_tokenizer(folder, self.tokenizer, settings, self.chat_template)

    def _named_tokens(self) -> Mapping[str, Any]:
        return self.special_tokens_map

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, "
            f"vocab_size={self.vocab_size}, model_max_length={self.model_max_length}, "
            f"padding_side={self.padding_side!r}, truncation_side={self.truncation_side!r}, "
            f"special_tokens={self.special_tokens_map!r})"
        )


def _side(side: object, field: str) -> str:
    if side not in ("left", "right"):
        raise RequestError(f"{side!r} is neither left nor right", field=field)
    return str(side)


def _plain_ids(token_ids: Any) -> list[Any]:  # noqa: ANN401
    """Ids, or lists of ids, as plain lists."""
    if isinstance(token_ids, Mapping):
        token_ids = token_ids["input_ids"]
    if callable(to_list := getattr(token_ids, "tolist", None)):  # arrays and tensors
        token_ids = to_list()
    if isinstance(token_ids, int):
        return [token_ids]
    if isinstance(token_ids, str) or not isinstance(token_ids, Iterable):
        raise RequestError(f"{token_ids!r} is no sequence of ids", field="token_ids")
    return [_plain_item(item) for item in token_ids]


def _plain_item(item: Any) -> Any:  # noqa: ANN401
    if isinstance(item, int):
        return item
    if getattr(item, "shape", None) == ():
        return int(item)
    return _plain_ids(item)
