"""WrappedService: a service that hands everything on to another; a base for what adds to one."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ossia.api.events import Event
from ossia.api.question import Question
from ossia.server.service import ModelService, ServiceStatus
from ossia.tokenizer import Tokenizer
from ossia.types import Request, TokenOutput


class WrappedService:
    """As `ModelService` says.

    Args:
        service: Does the work.
    """

    def __init__(self, service: ModelService) -> None:
        self._service = service

    @property
    def model(self) -> str:
        """The name under which the server offers it."""
        return self._service.model

    @property
    def created(self) -> int:
        """When it was loaded, in seconds since 1970."""
        return self._service.created

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the model."""
        return self._service.tokenizer

    @property
    def max_context(self) -> int:
        """Tokens of prompt and output together at most."""
        return self._service.max_context

    @property
    def vocab_size(self) -> int:
        """Ids that the model has logits for."""
        return self._service.vocab_size

    def status(self) -> ServiceStatus:
        """How it stands with the model."""
        return self._service.status()

    async def answer(self, question: Question) -> AsyncGenerator[Event, None]:
        """As the service's own."""
        return await self._service.answer(question)

    async def generate(self, request: Request) -> AsyncGenerator[TokenOutput, None]:
        """As the service's own."""
        return await self._service.generate(request)
