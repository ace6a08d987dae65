"""The API reference is made without a warning, and has a place for whatever is public."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ossia
import ossia.harmony

_SCRIPT = Path(__file__).parents[2] / "docs" / "reference.py"
_PLACE = re.compile(r'<section id="([^"]+)">(.*?)</section>', re.DOTALL)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-W", "error", str(_SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    return folder


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("ossia.html", [name for name in ossia.__all__ if name != "__version__"]),
        (
            "ossia/harmony.html",
            [n for n in ossia.harmony.__all__ if callable(vars(ossia.harmony)[n])],
        ),
        ("ossia/distributed.html", ["DistributedConfig"]),
        ("ossia/errors.html", ["OssiaError", "RequestError", "CheckpointError"]),
    ],
)
def test_every_public_name_is_explained(reference, page, names):
    places = dict(_PLACE.findall((reference / page).read_text()))
    assert [name for name in names if 'class="docstring"' not in places.get(name, "")] == []


def test_what_a_class_has_from_hidden_ones_is_there(reference):
    page = (reference / "ossia.html").read_text()
    for member in (
        "AutoModelForCausalLM.from_pretrained",
        "GptOssForCausalLM.gradient_checkpointing_enable",
        "GptOssForTokenClassification.save_pretrained",
        "PreTrainedTokenizer.apply_chat_template",
        "LogitsProcessor.__call__",
        "TextGenerationPipeline.__call__",
    ):
        assert f'<div id="{member}"' in page, member
    assert 'id="GptOssForCausalLM.state_dict"' not in page, "torch has a reference of its own"
