"""Runtime: a loaded model with its tokenizer and an engine, ready to answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.api.placement import Dtype
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.model.heads import CausalLM
from ossia.tokenizer import Tokenizer, special
from ossia.types import ProgressCallback

ONE_AT_A_TIME = EngineConfig(max_sequences=1)
"""For one conversation: no memory is set aside for others."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What it takes to answer.

    Args:
        tokenizer: The checkpoint's.
        engine: Runs the model.
        network: The model itself.
    """

    tokenizer: Tokenizer
    engine: SyncEngine
    network: CausalLM

    @classmethod
    def load(
        cls,
        model: str,
        *,
        dtype: Dtype | None = "auto",
        device: torch.device | str = "auto",
        revision: str | None = None,
        config: EngineConfig = ONE_AT_A_TIME,
        progress: ProgressCallback | None = None,
    ) -> Runtime:
        """Load a model that is on this machine.

        Args:
            model: A folder, a downloaded hub id, `demo`, or `random:20b|120b|tiny`.
            dtype: What floating-point weights become; "auto" keeps the checkpoint's.
            device: Where to; "auto" is the first GPU, or else the CPU.
            revision: Branch, tag or commit of a hub id.
            config: The engine's limits; ids that the tokenizer does not know are ruled out too.
            progress: Told of unpacking and loading.

        Raises:
            OssiaError: what `find_model`, `load_module` and `EngineCore` raise.
        """
        source = find_model(model, revision=revision, progress=progress)
        tokenizer = source.tokenizer()
        network = load_module(CausalLM, source, dtype=dtype, device=device, progress=progress)
        return cls(tokenizer, SyncEngine(core_for(network, config)), network)


def core_for(network: CausalLM, config: EngineConfig) -> EngineCore:
    """An engine that draws no ids that the tokenizer does not know.

    Raises:
        ConfigError: the config does not suit the model.
    """
    named = min(special.LAST_LISTED + 1, network.config.vocab_size)
    return EngineCore(network, replace(config, valid_token_ids_end=named))
