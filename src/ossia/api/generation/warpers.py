"""Warpers: processors that shape the distribution tokens are drawn from.

Each keeps the tokens that its definition names and gives the rest the score `filter_value`. At
least `min_tokens_to_keep` stay: beam search needs one more than there are end tokens.
"""

from __future__ import annotations

import torch

from ossia.api.generation.logits_processors import LogitsProcessor
from ossia.errors import RequestError

_TOP_H_CANDIDATES = 100  # entropy is taken over that many tokens, as transformers does


class TemperatureLogitsWarper(LogitsProcessor):
    """Divides scores.

    Args:
        temperature: Above 0; lower is more certain.
    """

    def __init__(self, temperature: float) -> None:
        if not (isinstance(temperature, int | float) and temperature > 0):
            raise RequestError(
                f"{temperature!r} is not a number above 0; use do_sample=False for 0",
                field="temperature",
            )
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        return scores / self.temperature


class _Filter(LogitsProcessor):
    """What all that drop tokens have in common."""

    def __init__(self, filter_value: float = -torch.inf, min_tokens_to_keep: int = 1) -> None:
        if not isinstance(min_tokens_to_keep, int) or min_tokens_to_keep < 1:
            raise RequestError(
                f"{min_tokens_to_keep!r} is not an integer above 0", field="min_tokens_to_keep"
            )
        self.filter_value = filter_value
        self.min_tokens_to_keep = min_tokens_to_keep

    def _best(self, scores: torch.Tensor) -> torch.Tensor:
        """(rows, 1): the lowest score that is kept in any case."""
        kept = min(self.min_tokens_to_keep, scores.shape[-1])
        return scores.topk(kept, dim=-1).values[..., -1:]


class TopKLogitsWarper(_Filter):
    """Keeps the k most likely tokens, and those as likely as the last of them.

    Args:
        top_k: k.
        filter_value: Score of the rest.
        min_tokens_to_keep: k is at least this.
    """

    def __init__(
        self, top_k: int, filter_value: float = -torch.inf, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        if not isinstance(top_k, int) or top_k <= 0:
            raise RequestError(f"{top_k!r} is not an integer above 0", field="top_k")
        self.top_k = max(top_k, min_tokens_to_keep)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        last = scores.topk(min(self.top_k, scores.shape[-1]), dim=-1).values[..., -1:]
        return scores.masked_fill(scores < last, self.filter_value)


class TopPLogitsWarper(_Filter):
    """Keeps the smallest set of tokens whose probability reaches p (arXiv:1904.09751).

    Args:
        top_p: p.
        filter_value: Score of the rest.
        min_tokens_to_keep: Most likely tokens that stay in any case.
    """

    def __init__(
        self, top_p: float, filter_value: float = -torch.inf, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.top_p = _share("top_p", top_p, least=0.0, most=1.0)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        # From the least likely on: what lies below 1 - p in sum is not needed to reach p.
        rising, order = scores.sort(dim=-1)
        dropped = rising.softmax(dim=-1).cumsum(dim=-1) <= 1 - self.top_p
        dropped[..., -self.min_tokens_to_keep :] = False
        return scores.masked_fill(dropped.scatter(1, order, dropped), self.filter_value)


class MinPLogitsWarper(_Filter):
    """Keeps tokens at least min_p times as likely as the most likely (arXiv:2407.01082).

    Args:
        min_p: The share.
        filter_value: Score of the rest.
        min_tokens_to_keep: Most likely tokens that stay in any case.
    """

    def __init__(
        self, min_p: float, filter_value: float = -torch.inf, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.min_p = _share("min_p", min_p, least=0.0, most=1.0)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        probs = scores.softmax(dim=-1)
        dropped = probs < self.min_p * probs.amax(dim=-1, keepdim=True)
        kept = probs.topk(min(self.min_tokens_to_keep, probs.shape[-1]), dim=-1).indices
        return scores.masked_fill(dropped.scatter(-1, kept, False), self.filter_value)


class TopHLogitsWarper(_Filter):
    """Keeps the most likely tokens whose entropy stays within a share h of the whole.

    (Potraghloo et al. 2025, arXiv:2509.02510.) Of the hundred most likely tokens, as many are kept
    as have together at most h times the entropy of all hundred.

    Args:
        top_h: h.
        filter_value: Score of the rest.
    """

    def __init__(self, top_h: float, filter_value: float = -torch.inf) -> None:
        super().__init__(filter_value)
        self.top_h = _share("top_h", top_h, least=0.0, most=1.0, open_below=True)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        best = scores.topk(min(_TOP_H_CANDIDATES, scores.shape[-1]), dim=-1)
        terms = torch.special.entr(best.values.softmax(dim=-1))  # -p log p; 0 where p is
        within = terms.cumsum(dim=-1) <= self.top_h * terms.sum(dim=-1, keepdim=True)
        within[:, 0] = True
        kept = torch.zeros_like(scores, dtype=torch.bool).scatter(1, best.indices, within)
        return scores.masked_fill(~kept, self.filter_value)


class TypicalLogitsWarper(_Filter):
    """Keeps the tokens closest to the expected information whose probability reaches a mass.

    (Locally typical sampling, Meister et al. 2022, arXiv:2202.00666.)

    Args:
        mass: The probability to reach.
        filter_value: Score of the rest.
        min_tokens_to_keep: Most typical tokens that stay in any case.
    """

    def __init__(
        self, mass: float = 0.9, filter_value: float = -torch.inf, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.mass = _share("typical_p", mass, least=0.0, most=1.0, open_below=True, open_above=True)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        logprobs = scores.log_softmax(dim=-1)
        entropy = -(logprobs * logprobs.exp()).nansum(dim=-1, keepdim=True)
        distance, order = (-logprobs - entropy).abs().sort(dim=-1)
        reached = scores.gather(-1, order).softmax(dim=-1).cumsum(dim=-1)
        last = (reached < self.mass).sum(dim=1, keepdim=True).clamp(max=scores.shape[-1] - 1)
        dropped = distance > distance.gather(1, last)
        dropped[..., : self.min_tokens_to_keep] = False
        return scores.masked_fill(dropped.scatter(1, order, dropped), self.filter_value)


class EpsilonLogitsWarper(_Filter):
    """Drops tokens less likely than epsilon (Hewitt et al. 2022, arXiv:2210.15191).

    Args:
        epsilon: The bound.
        filter_value: Score of the rest.
        min_tokens_to_keep: Most likely tokens that stay in any case.
    """

    def __init__(
        self, epsilon: float, filter_value: float = -torch.inf, min_tokens_to_keep: int = 1
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.epsilon = _share(
            "epsilon_cutoff", epsilon, least=0.0, most=1.0, open_below=True, open_above=True
        )

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        dropped = (scores.softmax(dim=-1) < self.epsilon) & (scores < self._best(scores))
        return scores.masked_fill(dropped, self.filter_value)


class EtaLogitsWarper(_Filter):
    """Drops tokens less likely than min(epsilon, sqrt(epsilon) * exp(-entropy)).

    (Eta sampling, Hewitt et al. 2022, arXiv:2210.15191, section 4.)

    Args:
        epsilon: See above.
        filter_value: Score of the rest.
        min_tokens_to_keep: Most likely tokens that stay in any case.
        device: Accepted as transformers has it; the scores' own device is used.
    """

    def __init__(
        self,
        epsilon: float,
        filter_value: float = -torch.inf,
        min_tokens_to_keep: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.epsilon = _share(
            "eta_cutoff", epsilon, least=0.0, most=1.0, open_below=True, open_above=True
        )

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """As LogitsProcessor says."""
        probs = scores.softmax(dim=-1)
        entropy = torch.special.entr(probs).sum(dim=-1, keepdim=True)
        eta = (self.epsilon**0.5 * (-entropy).exp()).clamp(max=self.epsilon)
        dropped = (probs < eta) & (scores < self._best(scores))
        return scores.masked_fill(dropped, self.filter_value)


def _share(
    name: str,
    value: float,
    *,
    least: float,
    most: float,
    open_below: bool = False,
    open_above: bool = False,
) -> float:
    """A number in an interval, or a RequestError that names it."""
    inside = isinstance(value, int | float) and least <= value <= most
    if not inside or (open_below and value == least) or (open_above and value == most):
        low, high = "(" if open_below else "[", ")" if open_above else "]"
        raise RequestError(f"{value!r} is not in {low}{least:g}, {most:g}{high}", field=name)
    return float(value)
