"""A chat completion: its identity, and the object that all its choices make."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ossia import __version__
from ossia.server.chat.choice import ChoiceFold
from ossia.server.chat.intake import ChatPlan
from ossia.server.usage import usage_object, usage_of_choices

JsonObject = dict[str, Any]


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatIdentity:
    """What all chunks of a completion share.

    Args:
        model: The name of the model that answers.
        has_tier: Whether the request named a service tier; there is only the default one.
        completion_id: New for each.
        created: In seconds since 1970.
    """

    model: str
    has_tier: bool
    completion_id: str = field(default_factory=_new_id)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def fingerprint(self) -> str:
        """Of what makes the answers: another version may draw other tokens for a seed."""
        return f"fp_{hashlib.sha256(f'{__version__} {self.model}'.encode()).hexdigest()[:12]}"

    def members(self, kind: str) -> JsonObject:
        """The members of an object or chunk that say whose it is."""
        members: JsonObject = {
            "id": self.completion_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }
        return members | ({"service_tier": "default"} if self.has_tier else {})


def completion_object(
    identity: ChatIdentity, plan: ChatPlan, folds: Sequence[ChoiceFold]
) -> JsonObject:
    """The whole completion, once all choices have ended."""
    completion = identity.members("chat.completion")
    completion["choices"] = [fold.to_dict(index) for index, fold in enumerate(folds)]
    completion["usage"] = usage_object(usage_of_choices([fold.usage for fold in folds]))
    if plan.body.store:
        completion["metadata"] = plan.body.metadata or {}
    return completion
