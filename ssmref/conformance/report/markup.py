"""HTML by function calls: whatever is not markup already is escaped."""

from html import escape

from .clean import clean

_VOID = ("br", "hr", "input", "link", "meta")


class Markup(str):
    """Text that is HTML already; any other text is escaped when it is put in."""


def element(tag: str, *children: str, **attributes: str | bool) -> Markup:
    """Return an element with its children; ``class_`` is the attribute class.

    An attribute that is True stands alone, one that is False is left out.
    """
    opening = tag + "".join(_attribute(n, v) for n, v in attributes.items())
    if tag in _VOID:
        return Markup(f"<{opening}>")
    return Markup(f"<{opening}>{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Return children one after the other, escaped where they are plain text."""
    return Markup("".join(map(_markup, children)))


def _markup(text: str) -> str:
    return text if isinstance(text, Markup) else escape(clean(text))


def _attribute(name: str, value: str | bool) -> str:
    name = name.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{escape(clean(value))}"'
