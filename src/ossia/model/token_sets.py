"""TokenSets: sets of token ids on the device, for steps that draw from one each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

MOST = 64  # of 25 kB for gpt-oss


class TokenSets:
    """A table of the sets that were asked for last.

    Args:
        vocab_size: Ids that a set may hold.
        device: Where the table is; it stays where it is, so that graphs may read it.

    Attributes:
        table: uint8 (MOST, ceil(vocab_size / 8)): bit i % 8 of byte i // 8 says that id i belongs to a set.
    """

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self.table = torch.zeros(MOST, -(-vocab_size // 8), dtype=torch.uint8, device=device)
        self._places: OrderedDict[bytes, int] = OrderedDict()

    def places(self, sets: Sequence[bytes | None]) -> list[int | None] | None:
        """Where sets are in the table, for what is enqueued behind this, None where there is none; None for too many."""
        wanted = dict.fromkeys(one for one in sets if one is not None)
        if len(wanted) > MOST:
            return None
        for one in wanted:
            if one in self._places:
                self._places.move_to_end(one)
        for one in wanted:
            if one not in self._places:
                self._places[one] = place = self._free_place()
                self._write(place, one)
        return [None if one is None else self._places[one] for one in sets]

    def _free_place(self) -> int:
        if len(self._places) < MOST:
            return len(self._places)
        return self._places.popitem(last=False)[1]  # no wanted one's: those stand behind

    def _write(self, place: int, ids: bytes) -> None:
        size = self.table.shape[1]
        row = torch.frombuffer(bytearray(ids[:size].ljust(size, b"\0")), dtype=torch.uint8)
        if self.table.is_cuda:
            row = row.pin_memory()  # else the copy might wait for the steps in front of it
        self.table[place].copy_(row, non_blocking=True)
