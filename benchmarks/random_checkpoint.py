"""Write random weights as a checkpoint, unless it is there: for what measures a start from files.

python -m benchmarks.random_checkpoint random:20b /tmp/ossia-random-20b

As `ossia convert` does, but the numbers are made on the GPU where there is one. A process of its own
does it, so that whoever measures memory finds none of it taken.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def on_disk(model: str, folder: Path) -> Path:
    """The folder, with the checkpoint in it."""
    if not (folder / "config.json").exists():
        print(f"writing {model} to {folder}", flush=True)
        command = [sys.executable, "-m", "benchmarks.random_checkpoint", model, str(folder)]
        subprocess.run(command, check=True)
    return folder


def main() -> None:
    """Write it."""
    import torch

    from ossia.api.loading import open_tensors
    from ossia.api.model_source import find_model
    from ossia.checkpoint.writer import write_checkpoint

    model, folder = sys.argv[1:]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with open_tensors(find_model(model), device=device) as (config, tensors):
        write_checkpoint(Path(folder), config, tensors)


if __name__ == "__main__":
    main()
