"""Call: everything that a decoding loop is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ossia.api.generation.choosing import Ends
from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.logits_processors import LogitsProcessorList
from ossia.api.generation.module_steps import ModuleSteps
from ossia.api.generation.peers import Peers
from ossia.api.generation.prompt import Prompt
from ossia.api.generation.stopping_criteria import StoppingCriteriaList


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of `generate` on the module.

    Args:
        model: A GptOssForCausalLM.
        config: Resolved.
        prompt: With a row for each continuation or beam.
        ends: Where continuations end.
        processors: Of scores.
        criteria: That end continuations.
        steps: Runs the model on the prompt.
        peers: Other processes.
        streamer: Where tokens go; None if nobody listens.
    """

    model: Any
    config: GenerationConfig
    prompt: Prompt
    ends: Ends
    processors: LogitsProcessorList
    criteria: StoppingCriteriaList
    steps: ModuleSteps
    peers: Peers
    streamer: Any = None
