"""ServerState: what the routes share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ossia.server.conversations.locks import ConversationLocks
from ossia.server.metrics import Metrics
from ossia.server.pacing import Pacing
from ossia.server.reasoning_memory import ReasoningMemory
from ossia.server.responses.active import ActiveResponses
from ossia.server.responses.search_memory import SearchMemory
from ossia.server.service import ModelService
from ossia.server.settings import ServerSettings
from ossia.server.store.interface import Store
from ossia.tools.browser.web import Web

if TYPE_CHECKING:
    from ossia.server.tracing.setup import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What the routes share.

    Args:
        settings: How the server behaves.
        service: The model.
        store: Where responses are kept; None keeps none.
        web: What is searched where a response asks for that; None searches nothing.
        metrics: What is counted.
        active: Stored responses in the making.
        conversation_locks: Conversations that a response is being made for.
        reasoning_memory: Reasoning of chats whose clients drop it.
        search_memory: What was found for clients that do not keep it.
        pacing: Of all streams.
        tracing: Where spans are made; None makes none.
    """

    settings: ServerSettings
    service: ModelService
    store: Store | None = None
    web: Web | None = None
    metrics: Metrics = field(default_factory=Metrics)
    active: ActiveResponses = field(default_factory=ActiveResponses)
    conversation_locks: ConversationLocks = field(default_factory=ConversationLocks)
    reasoning_memory: ReasoningMemory = field(default_factory=ReasoningMemory)
    search_memory: SearchMemory = field(default_factory=SearchMemory)
    pacing: Pacing = field(default_factory=Pacing)
    tracing: Tracing | None = None
