"""Draw docs/demo.svg, the picture in the README, from what the commands really print.

python docs/picture.py
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = (
    """ossia run "How many rs are in the word 'strawberry'?" --show-reasoning""",
    """ossia run "What is 347 + 285?" --effort low --show-reasoning""",
)


def main() -> None:
    """Run the commands and save the picture."""
    console = Console(record=True, width=84, file=io.StringIO(), force_terminal=True)
    for command in COMMANDS:
        console.print(Text("$ ", style="bold green") + Text(command, style="bold"))
        arguments = [*shlex.split(command)[1:], "--temperature", "0"]
        done = subprocess.run(
            [sys.executable, "-m", "ossia", *arguments], capture_output=True, text=True, check=True
        )
        reasoning, _, answer = done.stdout.strip().rpartition("\n\n")
        console.print(Text(reasoning, style="dim"))
        console.print()
        console.print(Text(answer))
        console.print()
    target = Path(__file__).with_name("demo.svg")
    picture = console.export_svg(title="ossia", font_aspect_ratio=0.61)
    # Whoever looks at the picture shall not fetch fonts from elsewhere.
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))


if __name__ == "__main__":
    main()
