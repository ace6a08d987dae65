"""docs/cpu.md: its commands are accepted, its options and tables are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ossia import LLM, env
from ossia.cli.options import CpuActivations, CpuWeights
from support.command_lines import accept, command_lines
from support.cpu_kernels import needed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cpu.md").read_text(encoding="utf-8")
COMMANDS = command_lines(PAGE)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "ossia " in line])
def test_commands_are_accepted(line: str):
    accept(line)


def test_scripts_are_there():
    (line,) = [line for line in COMMANDS if "ossia " not in line]
    *_, script, model = shlex.split(line)
    assert (ROOT / script).is_file()
    assert model == "demo"


def test_every_value_of_the_options_is_told():
    rows = re.findall(r"^\| (?:`(--[a-z-]+)`)? ?\| `(\w+)`", PAGE, re.MULTILINE)
    told: dict[str, list[str]] = {}
    option = ""
    for name, value in rows:
        option = name or option
        told.setdefault(option, []).append(value)
    assert told == {"--cpu-weights": list(CpuWeights), "--cpu-activations": list(CpuActivations)}


def test_the_instruction_sets_are_those_that_can_be_chosen():
    table = PAGE.split("| `OSSIA_CPU_ISA` | needs |")[1].split("```")[0]
    listed = re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)
    for isa in listed:
        assert env.cpu_isa({"OSSIA_CPU_ISA": isa}) == isa
    assert set(listed) >= {*needed().isas(), "off"}


def test_the_program_runs():
    needed()
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    values: dict[str, LLM] = {}
    exec(compile(program, "docs/cpu.md", "exec"), values)
    config = values["llm"]._engine.core.config
    assert (config.cpu_weights, config.cpu_activations) == ("int8", "int8")
