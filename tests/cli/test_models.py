"""inspect, convert, pull and doctor on small models."""

from __future__ import annotations

import json

import pytest
import torch

from ossia.checkpoint.reader import open_checkpoint
from ossia.cli.units import bytes_in_words, count_in_words
from support import cpu_kernels


def test_inspect_for_people(ossia, tiny_folder):
    result = ossia("inspect", tiny_folder)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if line)
    assert lines["files"] == f"{tiny_folder} (hf layout)"
    assert lines["layers"] == "2: 1 with a window of 8 tokens, 1 without"
    assert lines["experts"] == "4 of 32 (mxfp4), 2 a token"
    assert lines["vocabulary"] == "201,088"
    assert "RAM" in lines
    assert "tensor" not in lines


def test_inspect_lists_tensors_on_request(ossia, tiny_folder):
    stdout = ossia("inspect", tiny_folder, "--tensors").stdout
    with open_checkpoint(tiny_folder) as checkpoint:
        for name in checkpoint.names:
            assert f"\n{name} " in stdout


def test_inspect_for_programs(ossia):
    value = json.loads(ossia("inspect", "random:20b", "--json").stdout)
    assert value["parameters"] == 20_914_757_184
    assert value["bytes"] == sum(tensor["bytes"] for tensor in value["tensors"].values())
    assert value["config"]["num_experts"] == 32
    assert value["layout"] is None
    assert value["fits"][0]["device"] == "cpu"


@pytest.mark.parametrize(
    ("free", "verdict"), [("2e10", "yes, with"), ("1.4e10", "no, "), ("1.5e9", "no, 13.")]
)
def test_inspect_says_what_fits(ossia, monkeypatch, free, verdict):
    from ossia.api import model_report
    from ossia.machine import Memory

    memory = Memory("RAM", "cpu", int(2e10), int(float(free)))
    monkeypatch.setattr(model_report, "machine_memory", lambda: (memory,))
    last = ossia("inspect", "random:20b").stdout.splitlines()[-1]
    assert verdict in last


@pytest.mark.parametrize(
    ("size", "short", "tokens"), [("80GB", 0, 291_500), ("80 GiB", 0, 443_500), ("64GB", 4.45e9, 0)]
)
def test_inspect_fits_into_a_memory_that_is_not_here(ossia, size, short, tokens):
    value = json.loads(ossia("inspect", "random:120b", "--memory", size, "--json").stdout)
    fit = value["fits"][-1]
    assert (fit["name"], fit["fits"]) == (size, not short)
    assert fit["short_bytes"] == pytest.approx(short, rel=0.01)
    assert fit["kv_tokens"] == pytest.approx(tokens, rel=0.001)
    assert fit["context_tokens"] == min(fit["kv_tokens"], 131_072)


def test_convert_round_trip(ossia, tiny_folder, tmp_path):
    original, back, dense = tmp_path / "original", tmp_path / "back", tmp_path / "dense"
    result = ossia("convert", tiny_folder, original, "--layout", "original")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{original}\n", "")
    assert ossia("convert", original, back, "--layout", "hf").exit_code == 0
    assert ossia("convert", tiny_folder, dense, "--experts", "dense").exit_code == 0
    with open_checkpoint(tiny_folder) as source, open_checkpoint(back) as copy:
        assert copy.config == source.config
        assert all(torch.equal(copy.get(name), tensor) for name, tensor in source.items())
    with open_checkpoint(original) as checkpoint:
        assert checkpoint.layout == "original"
    with open_checkpoint(dense) as checkpoint:
        assert checkpoint.config.expert_format == "dense"


def test_convert_writes_random_weights_and_overwrites_on_request(ossia, tmp_path):
    folder = tmp_path / "model"
    assert ossia("convert", "random:tiny", folder, "--experts", "dense").exit_code == 0
    assert ossia("convert", "random:tiny", folder).exit_code == 3
    done = ossia("convert", "random:tiny", folder, "--overwrite", "--dtype", "float32")
    assert done.exit_code == 0
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.config.expert_format == "mxfp4"
        assert checkpoint.get("lm_head.weight").dtype == torch.float32


def test_pull_passes_its_options_on(ossia, monkeypatch, tmp_path):
    import ossia.checkpoint.download as download

    calls = []

    def pull(repo_id, **options):
        calls.append((repo_id, options))
        return tmp_path

    monkeypatch.setattr(download, "pull", pull)
    words = ["openai/gpt-oss-20b", "--revision", "v1", "--cache-dir", "/c", "--token", "t"]
    assert ossia("pull", *words, "--original", "--offline").stdout == f"{tmp_path}\n"
    ((repo_id, options),) = calls
    assert repo_id == "openai/gpt-oss-20b"
    assert callable(options.pop("progress"))
    assert options == {
        "revision": "v1",
        "cache_dir": "/c",
        "token": "t",
        "files": "original",
        "local_files_only": True,
    }


def test_doctor(ossia):
    result = ossia("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "kernels on cpu" in result.stdout
    rows = {
        line.split()[0]: " ".join(line.split()[1:]) for line in result.stdout.splitlines() if line
    }
    inside = "cpu within decode, cpu within kv_write"
    assert (
        rows["rope"] == f"reference (torch operations) {inside}; else no faster one in this version"
    )
    assert rows["sampling"] == "cpu (C++, float32 logits) not cuda: needs a CUDA device"
    kernels = cpu_kernels.needed()
    assert f"cpu kernels   {kernels.isa}, the best one of portable" in result.stdout
    if obstacle := kernels.obstacles().get("amx"):
        assert f"; not amx: {obstacle}; threads: " in result.stdout
    value = json.loads(ossia("doctor", "--json").stdout)
    assert value["versions"]["torch"]
    assert value["memories"][0]["total_bytes"] > 0
    reason = "needs a CUDA device"
    moe = {"chosen": "cpu", "passed_over": {"cuda": reason, "triton": reason}}
    assert value["kernels"]["cpu"]["moe"] == moe | {"within": {}}
    assert value["kernels"]["cpu"]["rope"]["within"] == {"decode": "cpu", "kv_write": "cpu"}
    assert value["kernels"]["cpu"]["decode"]["chosen"] == "cpu"
    assert "up to 64 tokens, in 8 bits any number" in result.stdout
    assert "bfloat16 up to 8 tokens a step, 8-bit weights any number" in result.stdout


@pytest.mark.parametrize(
    ("gpus", "said"), [(1, "GPUs are used, by Triton and torch"), (0, "no GPU found")]
)
def test_doctor_on_rocm(ossia, monkeypatch, gpus, said):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda idx: (2, 4))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda idx: "AMD Instinct")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    result = ossia("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"ROCm 6.4: {said}" in result.stdout
    assert ("AMD Instinct" in result.stdout) == (gpus == 1)
    assert "compute capability" not in result.stdout
    assert "CUDA: " not in result.stdout
    value = json.loads(ossia("doctor", "--json").stdout)
    assert (value["cuda"], value["rocm"], value["capabilities"]) == (None, "6.4", {})


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch was built for CUDA")
def test_doctor_without_cuda(ossia):
    assert "so --device auto is the CPU" in ossia("doctor").stdout


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_949, "1 MB"),
        (13_761_264_768, "13.8 GB"),
        (5 * 10**15, "5,000 TB"),
    ],
)
def test_bytes_in_words(count, words):
    assert bytes_in_words(count) == words


def test_counts_in_words():
    assert count_in_words(20_914_757_184) == "20.9 B"
    assert count_in_words(12) == "12"
