"""Prompt: what `generate` is to continue, in whatever form it was given, as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ossia.api.models.cache import checked_cache
from ossia.errors import RequestError
from ossia.log import logger, warn_once

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Rows to continue, on the model's device.

    Args:
        input_ids: int64 (rows, seq): what the output begins with; seq is 0 for embeddings alone.
        attention_mask: int64 (rows, past + seq): 0 at padding.
        position_ids: int64 (rows, past + seq).
        inputs_embeds: (rows, seq, hidden) that go in instead of ids.
        past_len: Leading columns of the mask that a cache holds already.
        new_len: Columns that are still to be computed.
        device: Where the output is to be.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    inputs_embeds: torch.Tensor | None
    past_len: int
    new_len: int
    device: torch.device

    @property
    def length(self) -> int:
        """Columns of the prompt that count for length limits."""
        if self.inputs_embeds is not None:
            return self.inputs_embeds.shape[1]
        return self.input_ids.shape[1]

    @property
    def is_left_padded(self) -> bool:
        """Whether padding, if there is any, comes before everything else, and no row is empty."""
        steps = self.attention_mask.diff(dim=1)
        return bool((steps >= 0).all()) and bool((self.attention_mask[:, -1] == 1).all())

    def repeat(self, times: int) -> Prompt:
        """Each row several times, copies beside each other."""
        if times == 1:
            return self

        def each(x: torch.Tensor) -> torch.Tensor:
            return x.repeat_interleave(times, dim=0)

        return replace(
            self,
            input_ids=each(self.input_ids),
            attention_mask=each(self.attention_mask),
            position_ids=each(self.position_ids),
            inputs_embeds=None if self.inputs_embeds is None else each(self.inputs_embeds),
        )


def read_prompt(
    inputs: Any,
    options: dict[str, Any],
    *,
    pad_id: int | None,
    eos_ids: tuple[int, ...],
    bos_id: int | None,
    device: torch.device,
) -> Prompt:
    """Understand the prompt of a call.

    Args:
        inputs: The positional argument: ids (tensor, array, list, list of lists of any lengths),
            or a mapping such as a BatchEncoding.
        options: Other arguments; `input_ids`, `attention_mask`, `position_ids` and
            `inputs_embeds` are taken out; `past_key_values` is looked at.
        pad_id: What rows of different lengths are padded with, and what counts as padding.
        eos_ids: Tokens that end a text; if `pad_id` is one of them, padding is not guessed.
        bos_id: The prompt when there is none.
        device: Where the model is.

    Raises:
        RequestError: no prompt, two prompts, or shapes that do not fit.
    """
    if isinstance(inputs, Mapping):
        options.update({name: value for name, value in inputs.items() if name not in options})
        inputs = None
    ids = _one_of(inputs, options.pop("input_ids", None))
    mask, positions = options.pop("attention_mask", None), options.pop("position_ids", None)
    embeds = options.pop("inputs_embeds", None)
    where = ids.device if isinstance(ids, torch.Tensor) else device
    rows, made_mask = _rows(ids, embeds, bos_id, pad_id, device)
    if made_mask is not None and mask is not None:
        raise RequestError(
            "rows of different lengths are padded for you; leave the mask out, or pad both",
            field="attention_mask",
        )
    embeds = None if embeds is None else embeds.to(device)
    cache = checked_cache(options.get("past_key_values"))
    past = 0 if cache is None else cache.get_seq_length()
    mask = _mask(mask if made_mask is None else made_mask, rows, embeds, past, pad_id, eos_ids)
    new_len = mask.shape[1] - past
    _check(rows, mask, embeds, new_len, past)
    return Prompt(
        input_ids=rows,
        attention_mask=mask,
        position_ids=_positions(positions, mask, new_len),
        inputs_embeds=embeds,
        past_len=past,
        new_len=new_len,
        device=where,
    )


def _one_of(inputs: Any, input_ids: Any) -> Any:
    if inputs is not None and input_ids is not None:
        raise RequestError("was given beside `inputs`; keep one", field="input_ids")
    return inputs if inputs is not None else input_ids


def _rows(
    ids: Any,
    embeds: torch.Tensor | None,
    bos_id: int | None,
    pad_id: int | None,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """int64 (rows, seq), and the mask where rows had to be padded."""
    if ids is None:
        if embeds is not None:
            return torch.zeros(len(embeds), 0, dtype=torch.int64, device=device), None
        if bos_id is None:
            raise RequestError("there is no prompt; pass ids, or set bos_token_id", field="inputs")
        ids = [[bos_id]]
    if isinstance(ids, str):
        ids = [ids]
    if isinstance(ids, list | tuple):
        return _from_lists([_as_list(row) for row in ids], pad_id, device)
    rows = torch.as_tensor(ids)
    if rows.is_floating_point() or rows.dtype == torch.bool or rows.dim() not in (1, 2):
        raise RequestError(
            f"{rows.dtype} of {rows.dim()} dimensions are no token ids; pass text through the "
            "tokenizer, embeddings as inputs_embeds=",
            field="inputs",
        )
    if rows.numel() == 0 and embeds is None:
        raise RequestError("the prompt is empty; pass at least one token id", field="inputs")
    return rows.reshape(-1, rows.shape[-1]).to(device=device, dtype=torch.int64), None


def _as_list(row: Any) -> Any:
    return row.tolist() if hasattr(row, "tolist") else row


def _from_lists(
    rows: list[Any], pad_id: int | None, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rows of any lengths, padded in front."""
    if rows and all(isinstance(one, int) for one in rows):
        rows = [rows]
    for row in rows:
        if not isinstance(row, list | tuple) or not all(type(one) is int for one in row):
            raise RequestError(
                f"{str(row)[:60]!r} is no list of token ids; pass text through the tokenizer",
                field="inputs",
            )
    if not rows or not all(rows):
        raise RequestError("a prompt is empty; pass at least one token id", field="inputs")
    longest = max(map(len, rows))
    if all(len(row) == longest for row in rows):
        return torch.tensor(rows, dtype=torch.int64, device=device), None
    fill = 0 if pad_id is None else pad_id  # the mask hides it, so any id will do
    padded = [[fill] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(padded, device=device), torch.tensor(mask, device=device)


def _mask(
    mask: Any,
    rows: torch.Tensor,
    embeds: torch.Tensor | None,
    past: int,
    pad_id: int | None,
    eos_ids: tuple[int, ...],
) -> torch.Tensor:
    """int64 (rows, past + new)."""
    if mask is not None:
        mask = torch.as_tensor(mask, device=rows.device)
        if mask.dim() == 1:
            mask = mask[None]
        if mask.dim() != 2:
            raise RequestError(f"has {mask.dim()} dimensions, not 2", field="attention_mask")
        return (mask != 0).long()
    if embeds is not None:
        return torch.ones(embeds.shape[:2], dtype=torch.int64, device=rows.device)
    if rows.shape[1] <= past:  # nothing but new tokens
        rows = torch.cat((rows.new_full((len(rows), past), -1), rows), dim=1)
    is_pad = rows == (-1 if pad_id is None else pad_id)
    if pad_id in eos_ids:
        if len(rows) > 1 and bool(is_pad[:, 0].any()):
            warn_once(
                _log,
                "rows begin with the padding token, which also ends texts: pass attention_mask if "
                "it is padding",
            )
        return torch.ones_like(rows)
    return (~is_pad).long() if bool(is_pad.any()) else torch.ones_like(rows)


def _check(
    rows: torch.Tensor, mask: torch.Tensor, embeds: torch.Tensor | None, new_len: int, past: int
) -> None:
    length = rows.shape[1] if embeds is None else embeds.shape[1]
    if len(mask) != len(rows) or mask.shape[1] not in (length, past + length):
        raise RequestError(
            f"{tuple(mask.shape)} does not cover {past} remembered and {tuple(rows.shape)} new ids",
            field="attention_mask",
        )
    if embeds is not None and (len(embeds) != len(rows) or embeds.dim() != 3):
        raise RequestError(
            f"{tuple(embeds.shape)} does not fit {len(rows)} rows", field="inputs_embeds"
        )
    if new_len < 1:
        raise RequestError(
            f"remembers {past} columns, so nothing of the prompt is new; crop it to less",
            field="past_key_values",
        )


def _positions(positions: Any, mask: torch.Tensor, new_len: int) -> torch.Tensor:
    """int64 (rows, past + new): tokens counted from the first one of each row; 0 at padding."""
    counted = (mask.cumsum(dim=1) - 1).masked_fill(mask == 0, 0)
    if positions is None:
        return counted
    given = torch.as_tensor(positions, device=mask.device).long()
    given = given[None] if given.dim() == 1 else given
    if given.dim() != 2 or len(given) not in (1, len(mask)):
        raise RequestError(
            f"{tuple(given.shape)} does not fit {tuple(mask.shape)}", field="position_ids"
        )
    given = given.expand(len(mask), -1)
    if given.shape[1] == mask.shape[1]:
        return given
    if given.shape[1] != new_len:
        raise RequestError(
            f"{tuple(given.shape)} does not fit {tuple(mask.shape)}", field="position_ids"
        )
    return torch.cat((counted[:, :-new_len], given), dim=1)
