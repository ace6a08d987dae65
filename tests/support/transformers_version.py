"""Which transformers the tests compare with; `make test-transformers457` runs some with the old one."""

from __future__ import annotations

import pytest
import transformers

IS_4 = transformers.__version__.startswith("4.")


def only_5(reason: str) -> pytest.MarkDecorator:
    """Skip where transformers 4 does something else.

    Args:
        reason: What it does.
    """
    return pytest.mark.skipif(IS_4, reason=f"transformers 4 {reason}")
