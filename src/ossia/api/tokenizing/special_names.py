"""SpecialNames: which of a tokenizer's special tokens begin and end a text and fill it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from ossia.errors import RequestError
from ossia.tokenizer import Tokenizer, special

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_EXTRA = ("additional_special_tokens", "extra_special_tokens")


class _Name:
    """A role's token by name, such as `pad_token`; None where there is none."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __get__(self, owner: SpecialNames | None, kind: object = None) -> str | None:
        return None if owner is None else owner._named.get(self._role)

    def __set__(self, owner: SpecialNames, name: object) -> None:
        owner._set_role(self._role, name)


class _Id:
    """A role's token by id, such as `pad_token_id`."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __get__(self, owner: SpecialNames | None, kind: object = None) -> int | None:
        name = None if owner is None else owner._named.get(self._role)
        return None if owner is None or name is None else owner.tokenizer.name_to_id(name)

    def __set__(self, owner: SpecialNames, token_id: int | None) -> None:
        name = None if token_id is None else owner.tokenizer.id_to_name(token_id)
        if token_id is not None and name is None:
            raise RequestError(f"{token_id} is no token", field=f"{self._role}_id")
        owner._set_role(self._role, name)


class SpecialNames:
    """The part of a tokenizer that names special tokens. All names and ids can be set.

    The vocabulary is the model's: a name must be one of its tokens.

    Args:
        tokenizer: Knows the tokens.
        named: Role to token.
        extra: Further tokens that count as special.
    """

    bos_token, bos_token_id = _Name("bos_token"), _Id("bos_token")
    eos_token, eos_token_id = _Name("eos_token"), _Id("eos_token")
    pad_token, pad_token_id = _Name("pad_token"), _Id("pad_token")
    unk_token, unk_token_id = _Name("unk_token"), _Id("unk_token")
    sep_token, sep_token_id = _Name("sep_token"), _Id("sep_token")
    cls_token, cls_token_id = _Name("cls_token"), _Id("cls_token")
    mask_token, mask_token_id = _Name("mask_token"), _Id("mask_token")
    pad_token_type_id = 0

    def __init__(
        self, tokenizer: Tokenizer, named: Mapping[str, object], extra: Sequence[object] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self._named: dict[str, str] = {}
        self._extra: list[str] = []
        for role, name in named.items():
            self._set_role(role, name)
        self._set_extra(extra)

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Role to token, for the roles that are filled."""
        named: dict[str, Any] = {role: self._named[role] for role in ROLES if role in self._named}
        return named | ({"extra_special_tokens": list(self._extra)} if self._extra else {})

    @property
    def all_special_tokens(self) -> list[str]:
        """The tokens of all roles, each once."""
        named = (self._named[role] for role in ROLES if role in self._named)
        return list(dict.fromkeys([*named, *self._extra]))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [self._known(name, "special token") for name in self.all_special_tokens]

    @property
    def extra_special_tokens(self) -> list[str]:
        """Special tokens without a role."""
        return list(self._extra)

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The special tokens that tokenizer.json lists, by name."""
        return {str(token): token_id for token_id, token in self.added_tokens_decoder.items()}

    @property
    def added_tokens_decoder(self) -> dict[int, tokenizers.AddedToken]:
        """The special tokens that tokenizer.json lists, by id."""
        return {
            token_id: tokenizers.AddedToken(name, special=True, normalized=False)
            for token_id, name in special.SPECIAL_TOKENS.items()
            if token_id <= special.LAST_LISTED
        }

    def get_added_vocab(self) -> dict[str, int]:
        """The same as `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, object],
        replace_extra_special_tokens: bool = True,
    ) -> int:
        """Give roles to tokens.

        Args:
            special_tokens_dict: Role to token; `extra_special_tokens` to a list of them.
            replace_extra_special_tokens: Whether such a list takes the place of the earlier one.

        Returns:
            How many tokens the vocabulary has gained: none.

        Raises:
            RequestError: an unknown role, or a token that the vocabulary does not have.
        """
        for role, value in special_tokens_dict.items():
            if role in _EXTRA:
                earlier = [] if replace_extra_special_tokens else self._extra
                self._set_extra([*earlier, *value])  # type: ignore[misc]
            else:
                self._set_role(role, value)
        return 0

    def add_tokens(self, new_tokens: object, special_tokens: bool = False) -> int:
        """Only tokens that are there already: the vocabulary is the model's.

        Raises:
            RequestError: a token is new.
        """
        del special_tokens
        tokens = [new_tokens] if isinstance(new_tokens, str | tokenizers.AddedToken) else new_tokens
        for token in tokens:  # type: ignore[union-attr]
            self._known(str(token), "new_tokens")
        return 0

    def _set_role(self, role: str, name: object) -> None:
        if role not in ROLES:
            raise RequestError(f"is no role; there are {', '.join(ROLES)}", field=role)
        if isinstance(name, Mapping):  # as tokenizer_config.json may write it
            name = name.get("content")
        if name is None:
            self._named.pop(role, None)
            return
        self._known(str(name), role)
        self._named[role] = str(name)

    def _set_extra(self, names: Sequence[object]) -> None:
        self._extra = list(dict.fromkeys(str(name) for name in names))
        for name in self._extra:
            self._known(name, "extra_special_tokens")

    def _known(self, name: str, field: str) -> int:
        token_id = self.tokenizer.name_to_id(name)
        if token_id is None or token_id > special.LAST_LISTED:
            raise RequestError(
                f"{name!r} is no token of gpt-oss, whose vocabulary is fixed; take one it has, such "
                "as <|endoftext|> or <|reserved_200017|>",
                field=field,
            )
        return token_id
