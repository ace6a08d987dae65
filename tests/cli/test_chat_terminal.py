"""`ossia chat` in a terminal: what is pasted, and what Ctrl-C does."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.fake_chat_server import FINISHED, event, fake_chat_server

pty = pytest.importorskip("pty", reason="needs terminals of Unix")
readline = pytest.importorskip("readline", reason="nothing is edited without it")

PASTES_ARE_MARKED = "\x1b[?2004h"  # asks the terminal for what stands around a paste
PASTE_BEGIN, PASTE_END = "\x1b[200~", "\x1b[201~"
CTRL_C, CTRL_D = "\x03", "\x04"
PROMPT = "> "
SECONDS = 60
IDLE_SECONDS = 0.25


class _Terminal:
    """A chat in a terminal of its own.

    Args:
        address: Of the server that it talks to.

    Attributes:
        banner: What it shows up to the first prompt.
    """

    def __init__(self, address: str) -> None:
        self.banner = ""
        self._end, theirs = pty.openpty()
        environ = {**os.environ, "TERM": "xterm", "INPUTRC": os.devnull}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ossia", "chat", address, "--model-name-or-path", "m"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(theirs), os.O_RDWR)),  # Ctrl-C's group
        )
        os.close(theirs)

    def until(self, text: str) -> str:
        """What is shown up to a text."""
        shown = ""
        deadline = time.monotonic() + SECONDS
        while not shown.endswith(text):
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._end], [], [], left)[0], f"nothing follows {shown!r}"
            try:
                shown += os.read(self._end, 1).decode()
            except OSError:  # Linux has it so once the program has ended
                raise AssertionError(f"it ended: {shown!r}") from None
        return shown

    def press(self, keys: str) -> None:
        """Type or paste something, once the program waits for it.

        What Ctrl-C sends while Python makes ready to wait is seen with the next key only.
        """
        self._wait_until_idle()
        os.write(self._end, keys.encode())

    def _wait_until_idle(self) -> None:
        """Until the program has computed nothing for a while."""
        times, since = self._computed(), time.monotonic()
        while time.monotonic() < since + IDLE_SECONDS:
            time.sleep(IDLE_SECONDS / 5)
            if (now := self._computed()) != times:
                times, since = now, time.monotonic()

    def _computed(self) -> list[str]:
        """Ticks of the processor, where the system tells them; and whether it runs."""
        status = Path(f"/proc/{self.process.pid}/stat")
        if not status.exists():
            return []
        fields = status.read_text(encoding="utf-8").rpartition(")")[2].split()
        return [fields[0].replace("R", str(time.monotonic())), *fields[11:13]]

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(timeout=SECONDS)

    def close(self) -> None:
        """End it if it has not ended."""
        self.process.kill()
        self.process.wait()
        os.close(self._end)


@contextmanager
def _chat(*answers: str) -> Iterator[tuple[_Terminal, list]]:
    lines = [[event(content=text), FINISHED] for text in answers]
    with fake_chat_server(lines=lines) as server:
        terminal = _Terminal(server.address)
        try:
            terminal.banner = terminal.until(PROMPT)
            yield terminal, server.requests
        finally:
            terminal.close()


def _asked(requests: list) -> list[str]:
    return [body["messages"][-1]["content"] for _, body, _ in requests]


@pytest.mark.skipif("libedit" in (readline.__doc__ or ""), reason="libedit knows no pastes")
def test_several_lines_that_are_pasted_are_one_question():
    with _chat("Well.") as (terminal, requests):
        assert PASTES_ARE_MARKED in terminal.banner
        terminal.press(f"{PASTE_BEGIN}One\nTwo\n\nThree{PASTE_END}\r")
        terminal.until("Well.")
        terminal.until(PROMPT)
        terminal.press(CTRL_D)
        assert terminal.ends() == 0
    assert _asked(requests) == ["One\nTwo\n\nThree"]


def test_ctrl_c_takes_a_half_typed_line_away():
    with _chat("Well.") as (terminal, requests):
        terminal.press("Wrong")
        terminal.until("Wrong")
        terminal.press(CTRL_C)
        assert "leaves" not in terminal.until(PROMPT)
        terminal.press("Right\r")
        terminal.until("Well.")
        terminal.until(PROMPT)
        terminal.press("/exit\r")
        assert terminal.ends() == 0
    assert _asked(requests) == ["Right"]


def test_ctrl_c_on_an_empty_line_leaves_only_the_second_time():
    with _chat("Well.") as (terminal, _):
        for keys in ("Hi\r", "x", ""):  # between two presses something was typed
            terminal.press(CTRL_C)
            hint = "(/exit or Ctrl-D leaves, and so does Ctrl-C once more)\r\n"
            assert hint in terminal.until(PROMPT)
            if keys == "Hi\r":
                terminal.press(keys)
                terminal.until("Well.")
                terminal.until(PROMPT)
            elif keys:
                terminal.press(keys)
                terminal.until(keys)
                terminal.press(CTRL_C)
                terminal.until(PROMPT)
        terminal.press(CTRL_C)
        assert terminal.ends() == 130
