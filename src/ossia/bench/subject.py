"""Subject: the model that is measured, on the device that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.api.placement import Dtype, torch_device
from ossia.api.threads import use_fitting_threads
from ossia.engine.config import CpuActivations
from ossia.env import threads_chosen
from ossia.errors import RequestError
from ossia.model.fp8_prefill import bytes_of_copies
from ossia.model.fp8_weights import rounded_parts
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear
from ossia.model.quantizing import is_quantized
from ossia.types import ProgressCallback

_SMALL = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """A loaded model.

    Args:
        name: As the user gave it.
        network: The model.
        device: Where it is.
    """

    name: str
    network: CausalLM
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its floats."""
        return self.network.model.embed_tokens.weight.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all its weights, as they are by now."""
        kept = sum(param.nbytes for param in self.network.parameters())
        layers = [part for part in self.network.modules() if isinstance(part, Linear)]
        rounded = [matrix for layer in layers for matrix in (layer.int8, layer.fp8) if matrix]
        rest = sum(part.nbytes for matrix in rounded for part in matrix)
        return kept + rest + bytes_of_copies(self.network)

    def memory_of_steps(self) -> list[torch.Tensor]:
        """What steps read of it, as it lies in memory by now; not what is small."""
        layers = [part for part in self.network.modules() if isinstance(part, Linear)]
        replaced = {id(layer.weight) for layer in layers if layer.int8 is not None}
        replaced.add(id(self.network.model.embed_tokens.weight))
        kept = [param.data for param in self.network.parameters() if id(param) not in replaced]
        kept += [layer.int8.codes for layer in layers if layer.int8 is not None]
        return [one for one in kept if one.nbytes >= _SMALL and one.is_contiguous()]

    @property
    def is_int8(self) -> bool:
        """Whether an engine has rounded the matrices around attention and the unembedding."""
        return is_quantized(self.network)

    @property
    def fp8_parts(self) -> set[str]:
        """What an engine has rounded to 8-bit floats."""
        return rounded_parts(self.network)

    def describe(self, cpu_activations: CpuActivations = "full") -> dict[str, Any]:
        """As JSON values.

        Args:
            cpu_activations: Of the engine's config.
        """
        dtype = str(self.dtype).removeprefix("torch.")
        return {
            "name": self.name,
            "dtype": dtype,
            "experts": self.network.config.expert_format,
            "dense_weights": self._dense_weights(dtype),
            "activations": "int8" if cpu_activations == "int8" else dtype,
            "weight_bytes": self.nbytes,
        }

    def _dense_weights(self, dtype: str) -> str:
        if self.is_int8:
            return "int8"
        parts = " and ".join(sorted(self.fp8_parts))
        return f"{dtype}, {parts} float8_e4m3fn" if parts else dtype


def measured_device(device: str) -> torch.device:
    """The device, as `torch_device` gives it, once it is known that its time can be taken.

    Raises:
        RequestError: what `torch_device` raises; neither a CPU nor CUDA.
    """
    place = torch_device(device)
    if place.type not in ("cpu", "cuda"):  # each kind of accelerator has a clock of its own
        raise RequestError(f"{place} is not measured; use cpu or cuda", field="device")
    return place


def load_subject(
    name: str,
    *,
    dtype: Dtype | None = "auto",
    device: str = "auto",
    revision: str | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Subject:
    """Load a model to measure it.

    Args:
        name: `demo`, `random:20b|120b|tiny`, a folder or a downloaded hub id.
        dtype: What floating-point weights become.
        device: auto, cpu, cuda or cuda:N.
        revision: Of a hub id.
        threads: Of torch on the CPU, for the whole process; None as every other command chooses.
        progress: Told of unpacking and loading.

    Raises:
        OssiaError: what `find_model` and `load_module` raise.
        RequestError: threads for a GPU.
    """
    place = measured_device(device)
    if threads is not None and place.type == "cuda":
        raise RequestError(
            "is for the CPU; leave it out, or give --device cpu too", field="threads"
        )
    source = find_model(name, revision=revision, progress=progress)
    if place.type == "cuda":
        place = torch.device("cuda", place.index or 0)
        torch.cuda.set_device(place)  # whose clock the events are of
    network = load_module(CausalLM, source, dtype=dtype, device=place, progress=progress)
    if threads is not None:
        torch.set_num_threads(threads)
    elif not threads_chosen():
        use_fitting_threads(network)
    return Subject(name, network, place)
