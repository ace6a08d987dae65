"""The clients that talk to the server here: where they come from, and which programs use them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

PROGRAMS: Final = Path(__file__).parent / "programs"
_CASE = re.compile(r'^@?[cC]ase\("([^"]+)"', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client in a language, and the program that exercises it.

    Args:
        name: Of the client; also of its environment.
        language: In which its program is written.
        packages: Of PyPI, with versions; none where Ossia's own tests need it. JavaScript's stand in
            `package.json`.
        program: In `programs`.
    """

    name: str
    language: Literal["python", "javascript"] = "python"
    packages: tuple[str, ...] = ()
    program: str

    @property
    def is_installed_apart(self) -> bool:
        """Whether `install.py` has to bring it."""
        return self.language == "javascript" or bool(self.packages)

    @property
    def cases(self) -> list[str]:
        """What its program exercises, as `api/what`."""
        cases = _CASE.findall((PROGRAMS / self.program).read_text(encoding="utf-8"))
        assert cases, self.program
        return cases


CLIENTS: Final = (
    Client(name="openai", program="with_openai.py"),
    Client(name="anthropic", program="with_anthropic.py"),
    Client(
        name="openai-agents",
        packages=("openai-agents==0.24.0", "websockets==16.1.1"),
        program="with_openai_agents.py",
    ),
    Client(
        name="pydantic-ai",
        packages=("pydantic-ai-slim[openai]==2.68.0",),
        program="with_pydantic_ai.py",
    ),
    Client(
        name="langchain-openai",
        packages=("langchain-openai==1.7.4",),
        program="with_langchain_openai.py",
    ),
    Client(name="llm", packages=("llm==0.36",), program="with_llm.py"),
    Client(name="instructor", packages=("instructor==1.17.0",), program="with_instructor.py"),
    Client(name="litellm", packages=("litellm==1.110.2",), program="with_litellm.py"),
    Client(name="openai (npm)", language="javascript", program="with_openai.mjs"),
    Client(name="@openai/agents", language="javascript", program="with_openai_agents.mjs"),
    Client(name="ai (AI SDK)", language="javascript", program="with_ai_sdk.mjs"),
)
