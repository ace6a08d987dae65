"""An engine process whose model works with a shell: `python -m clients.agent_worker`.

Coding agents send ten thousand tokens of instructions and a dozen tools, more than the demo model
understands. This one reads its prompt as a model does and goes by what stands in it: it looks into
`note.txt`, counts its letters with a second command, and then tells what the commands printed.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

from ossia.server.engine.outbox import Outbox
from ossia.server.engine.worker import Loaded, serve
from ossia.types import Request
from support.scripted_engine import TOKENIZER
from support.scripted_worker import Script, ScriptedCore, load

_COMMANDS = ("cat note.txt", "wc -c < note.txt")
_SHELLS = {  # tool -> its arguments for a command
    "exec_command": lambda command: {"cmd": command},
    "shell": lambda command: {"command": ["sh", "-c", command]},
    "bash": lambda command: {"command": command, "description": "Looks into a file"},
}
_RESULT = re.compile(
    r"<\|start\|>functions\.[^<]*<\|channel\|>commentary<\|message\|>(.*?)<\|end\|>", re.DOTALL
)
_QUESTION = "<|start|>user"


def said(prompt: str) -> str:
    """What the model says to a prompt."""
    shell = next((name for name in _SHELLS if f"\ntype {name} = " in prompt), None)
    if shell is None:
        return _final("Nothing to do with a shell", "A note")
    _, _, turn = prompt.rpartition(_QUESTION)
    results = _RESULT.findall(turn)
    if len(results) < len(_COMMANDS):
        arguments = json.dumps(_SHELLS[shell](_COMMANDS[len(results)]))
        return (
            f"<|channel|>analysis<|message|>Step {len(results) + 1} needs a command.<|end|>"
            "<|start|>assistant<|channel|>commentary<|message|>I run a command.<|end|>"
            f"<|start|>assistant<|channel|>commentary to=functions.{shell} <|constrain|>json"
            f"<|message|>{arguments}<|call|>"
        )
    text, size = (_printed(result) for result in results)
    return _final("Both commands have run.", f"The note says {text!r} in {size} letters.")


def _final(thought: str, answer: str) -> str:
    return (
        f"<|channel|>analysis<|message|>{thought}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>{answer}<|return|>"
    )


def _printed(result: str) -> str:
    """The last line of a command's output, whatever an agent puts around it."""
    lines = re.sub(r"<[^>]*>", "", result.replace("\\n", "\n")).strip().splitlines()
    return lines[-1].strip() if lines else ""


class AgentCore(ScriptedCore):
    """Plays what the model says."""

    def ids_for(self, request: Request) -> list[int]:
        return TOKENIZER.encode_with_special(said(TOKENIZER.decode(request.prompt_ids)))


def _load(outbox: Outbox) -> Loaded:
    # Tools' schemas become masks, which need a real tokenizer; what is played is not masked.
    return replace(load(Script(), outbox, AgentCore), tokenizer=lambda: TOKENIZER)


if __name__ == "__main__":
    os._exit(serve(_load))
