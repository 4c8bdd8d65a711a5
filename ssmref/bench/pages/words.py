"""Numbers and names as people read them."""

import math
from collections.abc import Iterable, Sequence

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "K"))


def digits(value: float, count: int = 3) -> str:
    """Return a number in at least so many significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    # Rounding may add a digit before the point: 99.96 has one place less than it seems.
    rounded = float(f"{value:.{count - 1}e}")
    places = max(count - 1 - math.floor(math.log10(abs(rounded))), 0)
    return f"{value:.{places}f}"


def of_bytes(value: float) -> str:
    """Return bytes in the largest unit that leaves at least one."""
    power = 0
    while value >= 1023.5 and power < len(_BYTES) - 1:
        value, power = value / 1024, power + 1
    return f"{digits(value) if power else f'{value:g}'} {_BYTES[power]}"


def of_seconds(value: float) -> str:
    """Return seconds, milliseconds or microseconds."""
    for size, unit in _SECONDS:
        if value >= 0.9995 * size:
            return f"{digits(value / size)} {unit}"
    return f"{digits(value / 1e-6)} µs"


def of_count(value: float) -> str:
    """Return a count in thousands, millions or thousand millions, by tens."""
    for size, unit in _COUNTS:
        if value >= 0.9995 * size:
            return f"{digits(value / size)}{unit}"
    return digits(value)


def of_length(tokens: float) -> str:
    """Return a length as the tables of the field do: 1K is 1024 tokens."""
    for size, unit in ((2**20, "M"), (2**10, "K")):
        if tokens >= size:
            count = tokens / size
            text = f"{count:.0f}" if count == int(count) else digits(count)
            return f"{text}{unit}"
    return f"{tokens:.0f}"


def of_power(power: float, low: float | None, high: float | None) -> str:
    """Return a power with its interval, where there is one."""
    if low is None or high is None:
        return f"{power:.2f}"
    return f"{power:.2f} ({low:.2f} to {high:.2f})"


def listed(words: Sequence[str]) -> str:
    """Return an enumeration."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def spoken(label: str) -> str:
    """Return a label as it stands in a sentence: what it is, then the rest of it."""
    first, _, rest = label.partition(", ")
    return f"{first} ({rest})" if rest else first


def plural(count: int, word: str) -> str:
    """Return a count with its noun."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def unique(words: Iterable[str]) -> list[str]:
    """Return each word once, in the order of first appearance."""
    return list(dict.fromkeys(words))
