"""Why an engine has ended a continuation, as an exception for whoever waits for it."""

from __future__ import annotations

import re
from typing import Final

from ossia.errors import EngineClosedError, GrammarCostError, OssiaError

# A mask's exception travels from the engine's process in words alone.
_COST: Final = re.compile(rf"\b{GrammarCostError.__name__}\((['\"])(.*)\1\)")


def failure(error: str | None) -> OssiaError:
    """What is to be raised.

    Args:
        error: As `TokenOutput` has it.
    """
    if (match := _COST.search(error or "")) is not None:
        return GrammarCostError(match[2])
    return EngineClosedError(f"the engine failed: {error}")
