"""From logits to a token: penalties, masks, truncation, drawing, log-probabilities.

Every function takes a batch of rows with parameters for each row and works in the logits' dtype,
float32 or wider. A token that must not be drawn has logit -inf. The order in which the engine
applies them is the one in which they are listed here.
"""

from ossia.kernels.sampling.choice import sample, samples_row_by_row, token_logprobs, widened
from ossia.kernels.sampling.drawing import Drawing
from ossia.kernels.sampling.reference import allow_only, draw, draw_greedy, penalise, truncate

__all__ = [
    "Drawing",
    "allow_only",
    "draw",
    "draw_greedy",
    "penalise",
    "sample",
    "samples_row_by_row",
    "token_logprobs",
    "truncate",
    "widened",
]
