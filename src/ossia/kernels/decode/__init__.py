"""One step of many sequences in CUDA C++, kernel by kernel: bfloat16, experts in relaid MXFP4.

Each function enqueues a kernel, or two, that write into tensors its caller keeps, so a step can be captured
in a CUDA graph. Kernels start while the one before them still runs and wait on the device. The plain
twin of each is named in its docstring; sums are float32 in an order that never changes.

`several.py` and `dozens.py` are all of a layer's experts in one kernel, for up to 10 and for up to 24 slots an expert
on average, `slab.py` the dense products of up to 32, all on Hopper; `routed.py` and `wide.py` are the experts
elsewhere and for more tokens, those of prompts too. `ways.py` chooses for steps and their like,
kernels/moe/cuda_many.py for other passes.

Products leave their sums in up to three addends ("parts"), which the next kernel adds up: that is how
all multiprocessors get equal shares of the weights without waiting for each other.
"""

from ossia.kernels.decode.argmax import argmax, num_slices
from ossia.kernels.decode.attention import attend_one, num_shares
from ossia.kernels.decode.draw import draw
from ossia.kernels.decode.experts import X_SCALE, project_down, project_up
from ossia.kernels.decode.launching import FEW_TOKENS, split_parts
from ossia.kernels.decode.norm import add_and_norm
from ossia.kernels.decode.projection import num_parts, project

__all__ = [
    "FEW_TOKENS",
    "X_SCALE",
    "add_and_norm",
    "argmax",
    "attend_one",
    "draw",
    "num_parts",
    "num_shares",
    "num_slices",
    "project",
    "project_down",
    "project_up",
    "split_parts",
]
