"""Large numbers as people say them."""

from __future__ import annotations


def bytes_in_words(count: int) -> str:
    """Decimal units, as disks and downloads are sold: 13,800,000,000 is "13.8 GB"."""
    return _scaled(count, ("bytes", "kB", "MB", "GB", "TB"))


def count_in_words(count: int) -> str:
    """In thousands, millions or (short scale) billions: 20,914,757,184 is "20.9 B"."""
    return _scaled(count, ("", "k", "M", "B", "T"))


def _scaled(count: int, units: tuple[str, ...]) -> str:
    value, unit_idx = float(count), 0
    while value >= 999.5 and unit_idx < len(units) - 1:
        value, unit_idx = value / 1000, unit_idx + 1
    number = f"{value:.3g}" if unit_idx and value < 999.5 else f"{value:,.0f}"
    return f"{number} {units[unit_idx]}".rstrip()
