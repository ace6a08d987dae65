"""Surroundings: what requests of the Responses API are read with."""

from __future__ import annotations

from dataclasses import dataclass

from ossia.api.rendering import renderer_of
from ossia.harmony import Renderer
from ossia.server.pacing import Pacing
from ossia.server.responses.active import ActiveResponses
from ossia.server.responses.sealing import Sealer
from ossia.server.service import ModelService
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import Store


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a request is read with.

    Args:
        state: Of the server.
        sealer: For reasoning that clients carry.
    """

    state: ServerState
    sealer: Sealer

    @classmethod
    def of(cls, state: ServerState) -> Surroundings:
        """Those of a server; made once for it.

        Raises:
            OSError: the sealing key cannot be read or written.
        """
        folder, model = state.settings.state_folder, state.service.model
        shared = None if state.store is None else state.store.shared_key
        if shared is not None:  # or the other servers of the store could open nothing of ours
            return cls(state, Sealer(shared, model))
        return cls(state, Sealer.of_folder(folder, model))

    @property
    def settings(self) -> ServerSettings:
        """How the server behaves."""
        return self.state.settings

    @property
    def service(self) -> ModelService:
        """The model."""
        return self.state.service

    @property
    def store(self) -> Store | None:
        """Where responses are kept."""
        return self.state.store

    @property
    def active(self) -> ActiveResponses:
        """Stored responses in the making."""
        return self.state.active

    @property
    def pacing(self) -> Pacing:
        """Of all streams of the server, chats' too."""
        return self.state.pacing

    @property
    def renderer(self) -> Renderer:
        """Tells lengths of prompts; there is none before the tokenizer was read."""
        return renderer_of(self.service.tokenizer)
