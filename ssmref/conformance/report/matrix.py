"""The cases of an op by the kinds of bugs that they can see."""

from collections.abc import Iterator, Sequence

from ..cases.flags import FLAGS, GITHUB, Flag
from ..verdict import EXPECTED, FAILED, NOT_PROVIDED, PASSED, UNEXPECTED, Verdict
from .markup import Markup, element, join
from .results import Results

# A sign besides the colour, so that nothing depends on seeing colours.
SIGNS = {
    PASSED: "\N{CHECK MARK}",
    FAILED: "\N{MULTIPLICATION SIGN}",
    EXPECTED: "\N{ALMOST EQUAL TO}",
    UNEXPECTED: "!",
    NOT_PROVIDED: "\N{EN DASH}",
}


def css_class(status: str) -> str:
    """Return the class of a status in the style sheet."""
    return status.replace(" ", "-")


def matrices(results: Results) -> Markup:
    """Return a legend and a table of flags for each op."""
    tables = (_matrix(op, results.of(op)) for op in results.ops if results.of(op))
    return join(_legend(), *tables, _glossary(results))


def _glossary(results: Results) -> Markup:
    """Return what the flags mean, with the reports that they come from."""
    used = {flag for v in results.verdicts for flag in v.case.flags}
    notes = (_note(name, FLAGS[name]) for name in sorted(used & FLAGS.keys()))
    return element("dl", *notes, class_="glossary")


def _note(name: str, flag: Flag) -> Markup:
    links = (
        element("a", link.removeprefix(GITHUB), href=link, rel="noreferrer")
        for link in flag.links
    )
    effect = f"{flag.bug}; {flag.effect}"
    return join(
        element("dt", name, id=f"flag-{name}"),
        element("dd", effect, element("span", *links, class_="links")),
    )


def _legend() -> Markup:
    items = (
        element("li", _sign(status), f" {status}", class_="legend") for status in SIGNS
    )
    return element("ul", *items, class_="legends")


def _sign(status: str) -> Markup:
    kind = f"sign {css_class(status)}"
    return element("span", SIGNS[status], class_=kind, aria_hidden="true")


def _matrix(op: str, verdicts: Sequence[Verdict]) -> Markup:
    head = element(
        "tr",
        element("th", "kind of bug", scope="col"),
        element("th", "cases", scope="col"),
    )
    rows = (_row(flag, own) for flag, own in _by_flag(verdicts))
    return element(
        "table",
        element("caption", op),
        element("thead", head),
        element("tbody", *rows),
        class_="matrix",
    )


def _by_flag(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, list[Verdict]]]:
    """Yield each flag with the verdicts that carry it; a verdict may come twice."""
    for flag in sorted({flag for v in verdicts for flag in v.case.flags}):
        yield flag, [v for v in verdicts if flag in v.case.flags]
    if plain := [v for v in verdicts if not v.case.flags]:
        yield "no particular kind", plain


def _row(flag: str, verdicts: Sequence[Verdict]) -> Markup:
    cells = (_cell(v) for v in verdicts)
    name = element("a", flag, href=f"#flag-{flag}") if flag in FLAGS else flag
    return element(
        "tr",
        element("th", name, scope="row"),
        element("td", element("div", *cells, class_="cells")),
    )


def _cell(verdict: Verdict) -> Markup:
    name = f"{verdict.case.id}: {verdict.status}"
    return element(
        "a",
        SIGNS[verdict.status],
        class_=f"sign {css_class(verdict.status)}",
        href=f"#{verdict.case.id}",
        title=name,
        aria_label=name,
    )
