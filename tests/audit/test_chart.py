"""Charts that can be read: nothing is cut off, numbers are written as the reader writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from consentlib.audit.chart import stacked

CHARACTER = 7.2
"""No character of a label is wider, in units of the drawing."""


def drawn(months: int, count: int = 7) -> str:
    """A chart of so many months from October 2021 on."""
    data = {2021 * 12 + 9 + month: {"stops": count} for month in range(months)}
    return stacked(data, ["stops"], {"stops": "no"}, title="Stops", caption="said", number="{:,} st.".format)


def labels(chart: str) -> Iterator[tuple[float, float, str]]:
    """Where each text begins and ends, at the widest, and what it says."""
    for x, anchor, text in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="(\w+)">([^<]*)</text>', chart):
        width = CHARACTER * len(text)
        start = float(x) - (width if anchor == "end" else width / 2)
        yield start, start + width, text


@pytest.mark.parametrize("months", [1, 2, 11, 13, 48, 62, 63, 200, 600])
def test_no_label_is_cut_off(months: int) -> None:
    """However many columns there are, every label lies inside the drawing, and none on its neighbour."""
    found = list(labels(drawn(months)))
    below = [one for one in found if not one[2].endswith("st.")]
    assert below
    assert all(0 <= start < end <= 700 for start, end, _ in below)
    assert all(end < start for (_, end, _), (start, _, _) in pairwise(below))


def test_millions_beside_the_axis() -> None:
    """The scale of a chart of millions is not cut off."""
    start = min(start for start, _, text in labels(drawn(3, 9_999_999)) if text.endswith("st."))
    assert start >= 0


def test_numbers_are_the_readers() -> None:
    """On the axis and in what is shown over a column."""
    chart = drawn(1, 1500)
    assert ">2,000 st.<" in chart
    assert "<title>2021-10 no: 1,500 st.</title>" in chart
    assert "<figcaption" in chart
