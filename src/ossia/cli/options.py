"""Flags that several commands share, as types."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Effort(StrEnum):
    """How long to think."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Layout(StrEnum):
    """How a checkpoint names and stores its tensors."""

    HF = "hf"
    ORIGINAL = "original"


class Experts(StrEnum):
    """How a checkpoint stores its experts."""

    MXFP4 = "mxfp4"
    DENSE = "dense"


class KVDtype(StrEnum):
    """How keys and values are stored."""

    AUTO = "auto"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT8 = "int8"
    FP8 = "fp8"


class CpuWeights(StrEnum):
    """What the matrices around attention and the unembedding are on the CPU."""

    BF16 = "bf16"
    INT8 = "int8"
    AUTO = "auto"


class Fp8Weights(StrEnum):
    """Which matrices are rounded to 8-bit floats on CUDA."""

    NONE = "none"
    UNEMBEDDING = "unembedding"
    UNEMBEDDING_AND_ATTENTION = "unembedding,attention"


class CpuActivations(StrEnum):
    """What enters products on the CPU."""

    FULL = "full"
    INT8 = "int8"


KV_DTYPE_HELP = (
    "How keys and values are stored: auto is the model's dtype; int8 is for the CPU, fp8 for full "
    "attention layers on CUDA."
)
CPU_WEIGHTS_HELP = (
    "On the CPU, of attention and the unembedding: bf16 rounds nothing, int8 is faster and takes "
    "half the memory, auto is int8 where memory is short; see docs/cpu.md."
)
CPU_ACTIVATIONS_HELP = (
    "On the CPU, what enters products with experts and int8 matrices: full rounds nothing, int8 is "
    "faster for prompts and batches; see docs/cpu.md."
)
FP8_PREFILL_HELP = "Compute passes of 4,096 tokens and more in 8-bit floats, on Hopper GPUs, with a second copy of the weights: docs/gpu.md."
FP8_WEIGHTS_HELP = (
    "On CUDA, which matrices are rounded to 8-bit floats: half their memory, and half to read for each "
    "token; see docs/gpu.md."
)

_MODEL_HELP = (
    "demo, random:20b|120b|tiny, a checkpoint folder, or a hub id such as openai/gpt-oss-20b."
)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP)]
ChatModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP)]
FirstWord = Annotated[
    str | None, typer.Argument(metavar="MODEL", help=f"{_MODEL_HELP} Left out: demo.")
]
SecondWord = Annotated[
    str | None, typer.Argument(metavar="PROMPT|-", help="The text, or - to read standard input.")
]

EffortOption = Annotated[Effort, typer.Option("--effort", "-e", help="How long to think.")]
InstructionsOption = Annotated[
    str | None, typer.Option("--instructions", "-i", help="How to behave: the developer message.")
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option("--max-tokens", "-m", help="Stop after so many tokens, reasoning included."),
]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", "-t", help="0 always takes the likeliest token.")
]
TopPOption = Annotated[
    float, typer.Option("--top-p", help="Draw from the likeliest tokens of this total probability.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", "-s", help="Makes the answer repeatable.")
]
StopOption = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End the answer before this text; repeatable."),
]
ShowReasoningOption = Annotated[
    bool, typer.Option("--show-reasoning", "-r", help="Print the reasoning before the answer.")
]
NoReasoningOption = Annotated[
    bool, typer.Option("--no-reasoning", help="Answer at once, without thinking.")
]
RawOption = Annotated[bool, typer.Option("--raw", help="Print harmony tokens as text.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda, cuda:N or another device of torch.", show_default=True
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option("--dtype", help="auto (the checkpoint's), bfloat16, float16, float32, float64."),
]
KVDtypeOption = Annotated[KVDtype, typer.Option("--kv-dtype", help=KV_DTYPE_HELP)]
CpuWeightsOption = Annotated[CpuWeights, typer.Option("--cpu-weights", help=CPU_WEIGHTS_HELP)]
CpuActivationsOption = Annotated[
    CpuActivations, typer.Option("--cpu-activations", help=CPU_ACTIVATIONS_HELP)
]
Fp8PrefillOption = Annotated[bool, typer.Option("--fp8-prefill", help=FP8_PREFILL_HELP)]
Fp8WeightsOption = Annotated[Fp8Weights, typer.Option("--fp8-weights", help=FP8_WEIGHTS_HELP)]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of a hub repository.")
]
CacheOption = Annotated[
    str | None, typer.Option("--cache-dir", help="Where hub files are kept. [default: the hub's]")
]
