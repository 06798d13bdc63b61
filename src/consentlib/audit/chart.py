"""Stacked columns over time as inline SVG: no script, no style of its own, legible on paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

_COLOURS: Final = ("#1f4e79", "#c55a11", "#7f9fbf", "#548235", "#7f7f7f", "#b39ddb", "#d9b310", "#d0cece")
_MOST_SERIES: Final = len(_COLOURS)
_MOST_COLUMNS: Final = 48
_STEPS: Final = (1, 3, 6, 12, 60, 120, 1200, 12000)
_WIDTH, _HEIGHT, _RIGHT, _TOP, _BOTTOM = 700, 170, 20, 8, 22
_CHARACTER: Final = 7.2
"""Room for a character of a label."""


def step_for(months: Sequence[int]) -> int:
    """How many months a column must span for the chart to stay legible."""
    return next(step for step in _STEPS if max(months) // step - min(months) // step < _MOST_COLUMNS)


def top_names(totals: Mapping[str, int], other: str) -> list[str]:
    """The names to tell apart, most frequent first; the rest goes under `other`, which comes last."""
    ranked = sorted((name for name in totals if name != other), key=lambda name: (-totals[name], name))
    kept = ranked[: _MOST_SERIES - 1] if len(ranked) > _MOST_SERIES - 1 or other in totals else ranked
    return [*kept, other] if len(kept) < len(totals) else kept


def stacked(
    data: Mapping[int, Mapping[str, int]],
    names: Sequence[str],
    labels: Mapping[str, str],
    *,
    title: str,
    caption: str,
    number: Callable[[int], str],
) -> str:
    """A chart of counts by name for each month (counted from year 0); names beyond `names` count for the last of them.

    `number` writes a count as the reader does.
    """
    step = step_for(list(data))
    first, last = min(data) // step, max(data) // step
    columns = [dict.fromkeys(names, 0) for _ in range(first, last + 1)]
    for month, counts in data.items():
        column = columns[month // step - first]
        for name, count in counts.items():
            column[name if name in column else names[-1]] += count
    top = _round_up(max(1, *(sum(column.values()) for column in columns)))
    left = 8 + _CHARACTER * len(number(top))
    width, height = (_WIDTH - left - _RIGHT) / len(columns), _HEIGHT - _TOP - _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    for share in (0, 0.5, 1):
        y = _TOP + height * (1 - share)
        parts.append(f'<line x1="{left:.1f}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#cccccc"/>')
        if float(top * share).is_integer():
            parts.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{number(int(top * share))}</text>')
    bar = min(width * 0.8, 46)
    every = -(-len(columns) // 12)
    for place, column in enumerate(columns):
        x, y = left + place * width + (width - bar) / 2, float(_TOP + height)
        for colour, name in zip(_COLOURS, names, strict=False):
            if column[name]:
                tall = height * column[name] / top
                y -= tall
                tip = f"{_label((first + place) * step, step)} {labels.get(name, name)}: {number(column[name])}"
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.2f}" width="{bar:.1f}" height="{tall:.2f}" fill="{colour}">'
                    f"<title>{escape(tip)}</title></rect>"
                )
        if place % every == 0:
            label = _label((first + place) * step, step)
            parts.append(f'<text x="{x + bar / 2:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{label}</text>')
    keys = "".join(
        f'<li><svg viewBox="0 0 10 10" class="key"><rect width="10" height="10" fill="{colour}"/></svg>'
        f"{escape(labels.get(name, name))}</li>"
        for colour, name in zip(_COLOURS, names, strict=False)
    )
    return (
        f'<figure>{"".join(parts)}</svg><ul class="keys">{keys}</ul>'
        f'<figcaption class="small">{escape(caption)}</figcaption></figure>'
    )


def _round_up(number: int) -> int:
    """The next of 1, 2, 4, 5, 6, 8 times a power of ten, so that the scale can be read."""
    size: int = 10 ** (len(str(number)) - 1)
    return next(step * size for step in (1, 2, 4, 5, 6, 8, 10) if step * size >= number)


def _label(month: int, step: int) -> str:
    return f"{month // 12}" if step % 12 == 0 else f"{month // 12}-{month % 12 + 1:02}"
