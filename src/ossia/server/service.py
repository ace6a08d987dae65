"""ModelService: what the routes need of the model behind the server, wherever that runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from ossia.api.events import Event
from ossia.api.question import Question
from ossia.engine.stats import EngineStats
from ossia.tokenizer import Tokenizer
from ossia.types import Request, TokenOutput


class ServiceState(StrEnum):
    """How it stands with the model."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"  # the engine failed, and a new one is being made
    DRAINING = "draining"  # what runs is finished, nothing new is taken
    FAILED = "failed"  # it cannot be made


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """How it stands with the model.

    Args:
        state: In a word.
        message: Why, for people; empty if there is nothing to say.
        waiting: Requests that were admitted and have no token yet.
        running: Requests that produce tokens.
        engine: The engine's counters; None before there is one.
        restarts: How often the engine had to be made anew.
        progress: What is being loaded -> (bytes or items done, total).
    """

    state: ServiceState
    message: str = ""
    waiting: int = 0
    running: int = 0
    engine: EngineStats | None = None
    restarts: int = 0
    progress: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])


class ModelService(Protocol):
    """A model that answers.

    Its attributes are properties, since some are known only once a model was found or loaded.
    """

    @property
    def model(self) -> str:
        """The name under which the server offers it."""
        ...

    @property
    def created(self) -> int:
        """When it was loaded, or began to be, in seconds since 1970."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the model; usable while the weights still load.

        Raises:
            ApiError: 503; the model was not found yet.
        """
        ...

    @property
    def max_context(self) -> int:
        """Tokens of prompt and output together at most.

        Raises:
            ApiError: 503; the model was not loaded yet.
        """
        ...

    @property
    def vocab_size(self) -> int:
        """Ids that the model has logits for.

        Raises:
            ApiError: 503; the model was not loaded yet.
        """
        ...

    def status(self) -> ServiceStatus:
        """How it stands with the model."""
        ...

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        """Admit a question; awaiting this tells whether it is taken, before anything is streamed.

        Closing the generator, or cancelling the task that waits for it, ends the request and frees
        its pages within a step.

        Raises:
            ApiError: it is refused: 400 for what it says, 429 where the queue is full, 503 while
                there is no engine. From the generator: 500 if the engine failed meanwhile.
        """
        ...

    async def generate(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        """The same for a prompt of token ids, with tokens as they come.

        Its `make_mask` must be None or `BoundMasks`.
        """
        ...
