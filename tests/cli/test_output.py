"""The output sink: tables, colours, and progress that only terminals see."""

from __future__ import annotations

import io
import json

import pytest

from ossia.cli.output import Output


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_tables_align_words_left_and_numbers_right():
    stdout = io.StringIO()
    Output(stdout).table([("one", "1,000"), ("three", "5")], ("name", "size"))
    assert stdout.getvalue() == "name    size\none    1,000\nthree      5\n"


def test_json_is_one_line_for_programs_and_indented_for_people():
    file, terminal = io.StringIO(), _Terminal()
    for stream in (file, terminal):
        Output(stream).json({"é": [1]})
        assert json.loads(stream.getvalue()) == {"é": [1]}
    assert file.getvalue() == '{"é": [1]}\n'
    assert terminal.getvalue().count("\n") > 1


def test_dim_text_and_headings_only_on_terminals_that_want_colour(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    file, terminal, plain = io.StringIO(), _Terminal(), _Terminal()
    outputs = [Output(file), Output(terminal)]
    monkeypatch.setenv("NO_COLOR", "1")
    outputs.append(Output(plain))
    for output in outputs:
        output.heading("H")
        output.text("t", dim=True)
    assert terminal.getvalue() == "\x1b[1mH\x1b[0m\n\x1b[2mt\x1b[0m"
    assert file.getvalue() == plain.getvalue() == "H\nt"


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_progress_is_for_terminals(stream):
    stderr = stream()
    with Output(io.StringIO(), stderr).progress() as progress:
        progress("reading [bold]x[/bold]", 1, 2)
        progress("writing", 1, 1)
        progress("reading [bold]x[/bold]", 2, 2)
    if stderr.isatty():
        assert "reading [bold]x[/bold]" in stderr.getvalue()
        assert "writing" in stderr.getvalue()
    else:
        assert stderr.getvalue() == ""


def test_a_status_is_for_terminals_and_gives_way(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stdout, stderr, file = io.StringIO(), _Terminal(), io.StringIO()
    output = Output(stdout, stderr)
    output.status("one")
    output.status("two")
    output.text("result")
    output.text("more")
    assert stderr.getvalue() == "\r\x1b[2K\x1b[2mone\x1b[0m\r\x1b[2K\x1b[2mtwo\x1b[0m\r\x1b[2K"
    for write in (output.note, output.json, output.prompt):
        output.status("again")
        write("x")
        assert "again\x1b[0m\r\x1b[2K" in stderr.getvalue()
    Output(stdout, file).status("unseen")
    assert file.getvalue() == ""
