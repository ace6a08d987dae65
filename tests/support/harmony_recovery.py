"""The recovery table of docs/harmony_recovery.md, read from the document itself."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ossia.harmony import Message, Repair
from ossia.tokenizer import Tokenizer

DOCUMENT = Path(__file__).parents[2] / "docs" / "harmony_recovery.md"

_ROW = re.compile(r"^### (.+?)\n+(.*?)```\n(.*?)```", re.MULTILINE | re.DOTALL)
_PLAIN = re.compile(r"\\(<\|[a-z_]+\|>)")  # \<|end|> is text that looks like a token
_BYTES = re.compile(r"\\x([0-9a-f]{2})")  # one byte, as a token of its own
_ID = re.compile(r"\\id(-?\d+);")  # a token by its id


@dataclass(frozen=True)
class Row:
    title: str
    written: str
    messages: list[str]
    repairs: list[str]

    def tokens(self, tokenizer: Tokenizer) -> list[int]:
        """The tokens of what the model wrote after <|start|>assistant."""
        ids: list[int] = []
        byte_ids = {tokenizer.token_bytes(token): token for token in range(256)}
        for part in re.split(r"(\\<\|[a-z_]+\|>|\\x[0-9a-f]{2}|\\id-?\d+;)", self.written):
            if match := _PLAIN.fullmatch(part):
                ids += tokenizer.encode(match[1])
            elif match := _BYTES.fullmatch(part):
                ids.append(byte_ids[bytes.fromhex(match[1])])
            elif match := _ID.fullmatch(part):
                ids.append(int(match[1]))
            else:
                ids += tokenizer.encode_with_special(part)
        return ids


def rows() -> list[Row]:
    found: list[Row] = []
    for title, _, block in _ROW.findall(DOCUMENT.read_text(encoding="utf-8")):
        lines = block.splitlines()
        given = [line for line in lines if not line.startswith(("=> ", "!! "))]
        found.append(
            Row(
                title,
                "\n".join(given),
                [line.removeprefix("=> ") for line in lines if line.startswith("=> ")],
                [line.removeprefix("!! ") for line in lines if line.startswith("!! ")],
            )
        )
    return found


def shown(message: Message) -> str:
    """A message as the document shows it."""
    author = message.author.role.value
    if message.author.name is not None:
        author += f":{message.author.name}"
    recipient = f"to={message.recipient}" if message.recipient is not None else None
    fields = [author, message.channel or "-", recipient, message.content_type]
    header = " ".join(field for field in fields if field is not None)
    return f"{header}: {json.dumps(message.text, ensure_ascii=False)}"


def shown_repair(repair: Repair) -> str:
    return f"{repair.kind}: {json.dumps(repair.text, ensure_ascii=False)}"
