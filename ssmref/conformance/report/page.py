"""One self-contained HTML page of verdicts; it asks nothing of any network."""

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from ..verdict import EXPECTED, FAILED, LIMIT, NOT_PROVIDED, PASSED, UNEXPECTED
from . import provenance
from .listing import filters, listing
from .markup import Markup, element, join
from .matrix import matrices
from .outcome import Outcome, outcome
from .results import Results, counts, run, worst
from .terminal import EXPLANATION, conclusions, grade, not_provided

SECTIONS = {
    "summary": "Summary",
    "cases": "Cases",
    "matrix": "Kinds of bugs that the cases see",
}
COLUMNS = (
    "op",
    "required",
    "run",
    "passed",
    "failed",
    "expected failures",
    "not provided",
    "worst ratio",
)


def write_html(path: Path, results: Results) -> None:
    """Write the page."""
    path.write_text(page(results), encoding="utf-8")


def page(results: Results) -> str:
    """Return the page as HTML."""
    script, style = _resource("page.js"), _resource("page.css")
    end = outcome(results)
    body = element(
        "body",
        _header(results, end),
        element("main", *_main(results)),
        element("script", script),
    )
    head = element("head", *_head(end, style, _policy(script)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _resource(name: str) -> Markup:
    return Markup(files(str(__package__)).joinpath(name).read_text(encoding="utf-8"))


def _policy(script: str) -> str:
    """Return the rule for browsers: our one script runs and nothing is loaded."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def _head(end: Outcome, style: Markup, policy: str) -> Iterator[Markup]:
    yield element("meta", charset="utf-8")
    yield element("meta", http_equiv="Content-Security-Policy", content=policy)
    size = "width=device-width, initial-scale=1"
    yield element("meta", name="viewport", content=size)
    yield element("meta", name="color-scheme", content="light dark")
    yield element("link", rel="icon", href="data:,")
    yield element("title", f"{end.sentence} - ssmref verify")
    yield element("style", style)


def _header(results: Results, end: Outcome) -> Markup:
    word, _, rest = end.sentence.partition(": ")
    known = {
        "target": results.candidate.name,
        "dtype": results.dtype,
        "limit": f"{LIMIT:g}",
        "written": provenance.now(),
        **provenance.versions(),
        "machine": provenance.machine(),
    }
    pairs = (
        element("div", element("dt", name), element("dd", value))
        for name, value in known.items()
    )
    kind = "good" if end.status == 0 else "bad" if end.status == 1 else "open"
    return element(
        "header",
        element("p", "ssmref verify", class_="product"),
        element("h1", element("span", word, class_=f"word {kind}"), f" {rest}"),
        element("dl", *pairs),
        element("nav", *(element("a", t, href=f"#{n}") for n, t in SECTIONS.items())),
    )


def _main(results: Results) -> Iterator[Markup]:
    yield _section("summary", _summary(results), *_notes(results))
    yield _section("cases", filters(results), listing(results))
    yield _section("matrix", matrices(results))


def _section(name: str, *children: Markup) -> Markup:
    heading = element("h2", SECTIONS[name], id=f"{name}-title")
    return element(
        "section", heading, *children, id=name, aria_labelledby=f"{name}-title"
    )


def _summary(results: Results) -> Markup:
    head = element("tr", *(element("th", c, scope="col") for c in COLUMNS))
    rows = (_row(results, op) for op in results.ops)
    table = element("table", element("thead", head), element("tbody", *rows))
    region = element(
        "div", table, class_="scroll", tabindex="0", role="region",
        aria_label="Summary by op",
    )  # fmt: skip
    return join(region, element("p", EXPLANATION, class_="facts"))


def _row(results: Results, op: str) -> Markup:
    own = results.of(op)
    count, ratio = counts(own), worst(own)
    failed = count[FAILED] + count[UNEXPECTED]
    cells = (
        (len(own) if results.is_required(op) else 0, ""),
        (run(count), ""),
        (count[PASSED], ""),
        (failed, "failed" if failed else ""),
        (count[EXPECTED], "expected-failure" if count[EXPECTED] else ""),
        (count[NOT_PROVIDED], "not-provided" if count[NOT_PROVIDED] else ""),
        ("-" if ratio is None else f"{ratio:.3g} {grade(own)}", ""),
    )
    name = element("th", *_breakable(op), scope="row")
    return element(
        "tr", name, *(element("td", str(n), class_=kind) for n, kind in cells)
    )


def _breakable(op: str) -> Iterator[str]:
    """Yield a name with places where it may be broken."""
    for piece in op.replace(".", ".\0").replace("_", "_\0").split("\0"):
        yield piece
        yield Markup("<wbr>")


def _notes(results: Results) -> Iterator[Markup]:
    """Yield what is to be said besides the table, if anything."""
    missing = not_provided(results)
    yield from _list("Conclusions", list(conclusions(results)))
    yield from _list("Not provided", [f"{m} ({n})" for m, n in missing.items()])
    entries = [f"{e.case}: {e.reason}" for e in results.unmatched]
    yield from _list("Expected to fail, but not run", entries)


def _list(title: str, texts: list[str]) -> Iterator[Markup]:
    if texts:
        yield element("h3", title)
        yield element("ul", *(element("li", text) for text in texts))
