"""label_names: the two maps between a classifier's outputs and what they are called."""

from __future__ import annotations

from collections.abc import Mapping

from ossia.errors import ConfigError

_DEFAULT_COUNT = 2


def label_names(
    id2label: Mapping[int | str, str] | None,
    label2id: Mapping[str, int] | None,
    num_labels: int | None,
) -> tuple[dict[int, str], dict[str, int]]:
    """Both maps, from what is given of them and their size.

    Args:
        id2label: Names by number; JSON makes the numbers strings.
        label2id: Numbers by name.
        num_labels: How many; by default as many as are named, or 2.

    Returns:
        id2label and label2id.

    Raises:
        ConfigError: they contradict each other.
    """
    if num_labels is not None and (type(num_labels) is not int or num_labels < 1):
        raise ConfigError(f"num_labels is {num_labels!r}; expected a positive integer")
    if id2label is None and label2id is not None:
        id2label = {number: name for name, number in label2id.items()}
    if id2label is None:
        count = _DEFAULT_COUNT if num_labels is None else num_labels
        names = {idx: f"LABEL_{idx}" for idx in range(count)}
    else:
        names = _by_number(id2label)
    if num_labels is not None and len(names) != num_labels:
        raise ConfigError(f"num_labels={num_labels}, but id2label has {len(names)} entries")
    numbers = {name: number for number, name in names.items()}
    if label2id is not None and dict(label2id) != numbers:
        raise ConfigError("label2id is not the reverse of id2label; give one of them")
    return names, numbers


def _by_number(id2label: Mapping[int | str, str]) -> dict[int, str]:
    try:
        names = {int(number): str(name) for number, name in id2label.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"id2label is {id2label!r}; expected numbers with their names") from error
    if sorted(names) != list(range(len(names))):
        raise ConfigError(f"id2label has the numbers {sorted(names)}; expected 0, 1, 2, ...")
    return dict(sorted(names.items()))
