"""The mean of two packed models of one training run: `python -m demo.average A B OUT --share 0.15`.

Weights late in a run wander around a valley; their mean lies deeper in it than either
(Izmailov et al. 2018, arXiv:1803.05407). It costs nothing and needs no data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from demo.export import export, restore
from demo.network import CONFIG, Network
from demo.own_tokens import NUM_OWN
from ossia.demo.packing import unpack_model


def averaged(first: Network, second: Network, share: float) -> Network:
    """A network whose weights are `share` of the first's and the rest of the second's."""
    mean = Network(first.config, len(first.embed_own))
    with torch.no_grad():
        for target, a, b in zip(
            mean.parameters(), first.parameters(), second.parameters(), strict=True
        ):
            target.copy_(b.lerp(a, share))
    return mean


def _read(file: Path) -> Network:
    network = Network(CONFIG, NUM_OWN)
    restore(network, unpack_model(file.read_bytes(), file=file))
    return network


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.25, help="of the first model")
    chosen = parser.parse_args()
    export(averaged(_read(chosen.first), _read(chosen.second), chosen.share), chosen.out)


if __name__ == "__main__":
    main()
