"""The losses: next token, labels of tokens and sequences, and even use of the experts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ossia.api.models.config import GptOssConfig
from ossia.errors import RequestError

IGNORED = -100


def token_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    num_items: torch.Tensor | int | None = None,
    ignored: int = IGNORED,
) -> torch.Tensor:
    """Cross-entropy of every place that has a label, in float32 at least.

    Args:
        logits: (..., classes).
        labels: int64 (...); `ignored` marks places that do not count.
        num_items: What the sum is divided by; None takes the mean over the places that count.
        ignored: That mark.

    Returns:
        A scalar.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, -2)
    targets = labels.to(logits.device).flatten()
    reduction = "mean" if num_items is None else "sum"
    loss = F.cross_entropy(wide, targets, ignore_index=ignored, reduction=reduction)
    if num_items is None:
        return loss
    return loss / (num_items.to(loss.device) if isinstance(num_items, torch.Tensor) else num_items)


def next_tokens(labels: torch.Tensor, ignored: int = IGNORED) -> torch.Tensor:
    """(batch, seq): at each place the label of the place behind it."""
    return F.pad(labels[:, 1:], (0, 1), value=ignored)


def load_balancing_loss(
    router_logits: Sequence[torch.Tensor], top_k: int, tokens: torch.Tensor | None = None
) -> torch.Tensor:
    """How unevenly the experts are used (Fedus et al. 2021, arXiv:2101.03961, equations 4 to 6).

    The number of experts times the sum over experts of the share of choices that fell on it and the
    mean probability it was given, over all layers at once. Even use gives `top_k`.

    Args:
        router_logits: For each layer (rows, experts).
        top_k: Experts a token.
        tokens: (rows,): nonzero for rows that count; None counts all.

    Returns:
        A scalar of float32 at least.
    """
    num_experts = router_logits[0].shape[-1]
    device = router_logits[0].device
    wide = torch.promote_types(router_logits[0].dtype, torch.float32)
    weight = torch.ones(len(router_logits[0]), dtype=wide, device=device)
    if tokens is not None:
        weight = (tokens.to(device) != 0).to(wide)
    chosen = torch.zeros(num_experts, dtype=wide, device=device)
    likely = torch.zeros(num_experts, dtype=wide, device=device)
    for logits in router_logits:
        probabilities = logits.to(device).softmax(dim=-1)  # (rows, experts)
        choices = torch.topk(probabilities, top_k, dim=-1).indices  # (rows, top_k)
        marks = torch.zeros_like(probabilities, dtype=wide).scatter(1, choices, 1.0)
        chosen = chosen + weight @ marks
        likely = likely + weight @ probabilities.to(wide)
    rows = weight.sum() * len(router_logits)
    return num_experts * torch.sum((chosen / rows) * (likely / rows))


def sequence_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    config: GptOssConfig,
    num_items: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """The loss of a sequence classifier.

    Args:
        logits: (batch, num_labels).
        labels: As `config.problem_type` needs them: "regression" (mean squared error),
            "single_label_classification" or "multi_label_classification". Where it is None, one
            label means regression and integers mean single labels; the config takes note.
        config: Of the model.
        num_items: What the sum over single labels is divided by; None takes the mean.

    Returns:
        A scalar.

    Raises:
        RequestError: labels that do not fit the problem, or an unknown problem.
    """
    if config.problem_type is None:
        config.problem_type = _problem(config.num_labels, labels)
    labels = labels.to(logits.device)
    if config.problem_type == "single_label_classification":
        _check_labels(labels.numel() == len(logits) and not labels.is_floating_point(), labels)
        return token_loss(logits, labels.flatten(), num_items)
    _check_labels(labels.numel() == logits.numel(), labels)
    targets = labels.view_as(logits).to(logits.dtype)
    if config.problem_type == "regression":
        return F.mse_loss(logits, targets)
    if config.problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, targets)
    raise RequestError(
        f"{config.problem_type!r} is not one of regression, single_label_classification, "
        "multi_label_classification",
        field="problem_type",
    )


def _problem(num_labels: int, labels: torch.Tensor) -> str:
    if num_labels == 1:
        return "regression"
    whole = labels.dtype in (torch.int64, torch.int32)
    return "single_label_classification" if whole else "multi_label_classification"


def _check_labels(fits: bool, labels: torch.Tensor) -> None:
    if not fits:
        raise RequestError(
            f"{labels.dtype} of {tuple(labels.shape)} do not fit the logits and the problem_type",
            field="labels",
        )
