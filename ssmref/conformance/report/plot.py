"""The error over tokens as a small picture: log ratio, the limit, the sequences."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..verdict import LIMIT, Finding
from .markup import Markup, element, join

WIDTH, HEIGHT = 1000.0, 100.0
# Ratios below this are all the same: far from wrong.
FLOOR = 1e-2


def plot(finding: Finding, starts: Sequence[int] = ()) -> Markup:
    """Return a figure of the profile of a finding that failed.

    `starts` are the tokens at which sequences begin. Ratios that are not finite reach
    the upper edge and have marks of their own.
    """
    finite = [r for r in finding.profile if math.isfinite(r)]
    top = 10 ** math.ceil(math.log10(max([*finite, 10 * LIMIT])))
    words = describe(finding, starts)
    picture = element(
        "svg",
        element("path", class_="ratio", d=_path(finding.profile, top)),
        *_marks(finding.profile),
        *_starts(finding.tokens, starts),
        _limit(top),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=words,
    )
    return element(
        "figure",
        element("div", _labels(top), picture, class_="plot"),
        _axis(finding.tokens),
        element("figcaption", words),
    )


def describe(finding: Finding, starts: Sequence[int]) -> str:
    """Say what the picture shows."""
    beyond, points = _beyond(finding), len(finding.profile)
    what = "tokens" if points == finding.tokens else "runs of tokens"
    text = (
        f"Ratio of {finding.output} over {finding.tokens} tokens, logarithmic. "
        f"{sum(beyond)} of {points} {what} are beyond the limit, "
        f"the first at token {first_beyond(finding)}."
    )
    return text + (" Vertical lines: starts of sequences." if len(starts) > 1 else "")


def first_beyond(finding: Finding) -> int:
    """Return the token at which the first point beyond the limit begins."""
    runs = np.array_split(np.arange(finding.tokens), len(finding.profile))
    return int(runs[_beyond(finding).index(True)][0])


def _beyond(finding: Finding) -> list[bool]:
    return [not ratio <= LIMIT for ratio in finding.profile]


def _height(ratio: float, top: float) -> float:
    """Return the vertical place of a ratio, 0 at the upper edge."""
    if not math.isfinite(ratio):
        return 0.0
    span = math.log10(top / FLOOR)
    return HEIGHT * (1 - math.log10(max(ratio, FLOOR) / FLOOR) / span)


def _path(profile: Sequence[float], top: float) -> str:
    """Draw each point as a step, so that a single token is visible."""
    step = WIDTH / len(profile)
    steps = (
        f"V{_height(ratio, top):.2f}H{(i + 1) * step:.2f}"
        for i, ratio in enumerate(profile)
    )
    return f"M0 {HEIGHT:g}" + "".join(steps) + f"V{HEIGHT:g}Z"


def _starts(tokens: int, starts: Sequence[int]) -> Iterator[Markup]:
    for start in starts:
        if 0 < start < tokens:
            x = f"{WIDTH * start / tokens:.2f}"
            yield element("line", class_="start", x1=x, x2=x, y1="0", y2=f"{HEIGHT:g}")


def _limit(top: float) -> Markup:
    y = f"{_height(LIMIT, top):.2f}"
    return element("line", class_="limit", x1="0", x2=f"{WIDTH:g}", y1=y, y2=y)


def _marks(profile: Sequence[float]) -> Iterator[Markup]:
    step = WIDTH / len(profile)
    for i, ratio in enumerate(profile):
        if not math.isfinite(ratio):
            x, width = f"{i * step:.2f}", f"{step:.2f}"
            yield element("rect", class_="nan", x=x, width=width, y="0", height="8")


def _labels(top: float) -> Markup:
    """Return the labels as text beside the picture, which is stretched."""
    limit = _height(LIMIT, top)
    texts = ((f"{top:.0e}", 0.0), (f"limit {LIMIT:g}", limit), (f"{FLOOR:g}", HEIGHT))
    return join(
        *(element("span", text, style=f"top:{y:.1f}%") for text, y in texts),
    )


def _axis(tokens: int) -> Markup:
    ends = (element("span", f"token {t}") for t in (0, tokens - 1))
    return element("div", *ends, class_="axis")
