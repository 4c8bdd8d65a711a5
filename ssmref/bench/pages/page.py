"""One self-contained HTML page; it asks nothing of any network."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from ...conformance.report.markup import Markup, element, join
from . import interactive
from .charts import Chart
from .section import Section
from .tables import MARKS, Cell, Row, Table, legend

FILTERS = {
    "op": "all ops",
    "implementation": "all implementations",
    "dtype": "all dtypes",
    "threads": "all",
}


def page(
    title: str,
    sentences: Sequence[str],
    sections: Sequence[Section],
    pictures: Mapping[str, bytes],
) -> str:
    """Return the page; `pictures` stand where no script runs, and on paper."""
    charts = [chart for section in sections for chart in section.charts]
    scripts = [Markup(interactive.library()), _resource("page.js")] if charts else []
    if any(section.only_page for section in sections):
        scripts.append(_resource("calculator.js"))
    data = Markup(interactive.data(charts))
    body = element(
        "body",
        _header(title, sentences, sections),
        _filters(sections),
        element("main", *(_section(section, pictures) for section in sections)),
        element("script", data, type="application/json", id="charts"),
        *(element("script", script) for script in scripts),
    )
    head = element("head", *_head(title, _policy(scripts)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _resource(name: str) -> Markup:
    return Markup(files(str(__package__)).joinpath(name).read_text(encoding="utf-8"))


def _policy(scripts: Sequence[str]) -> str:
    """Return the rule for browsers: our scripts run and nothing is loaded."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        "img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {' '.join(map(_digest, scripts)) or chr(39) + 'none' + chr(39)}"
    )


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _head(title: str, policy: str) -> Iterator[Markup]:
    yield element("meta", charset="utf-8")
    yield element("meta", http_equiv="Content-Security-Policy", content=policy)
    size = "width=device-width, initial-scale=1"
    yield element("meta", name="viewport", content=size)
    yield element("meta", name="color-scheme", content="light dark")
    yield element("link", rel="icon", href="data:,")
    yield element("title", f"{title} - ssmref report")
    yield element("style", _resource("page.css"))


def _header(
    title: str, sentences: Sequence[str], sections: Sequence[Section]
) -> Markup:
    tables = [table for section in sections for table in section.tables]
    signs = (
        element("li", element("span", sign, class_="mark"), f" {meaning}")
        for sign, meaning in legend(tables)
    )
    links = (element("a", s.title, href=f"#{s.id}") for s in sections)
    return element(
        "header",
        element("p", "ssmref report", class_="product"),
        element("h1", title),
        element("ul", *(element("li", s) for s in sentences), id="summary"),
        element("nav", *links, aria_label="Sections"),
        element("ul", *signs, class_="signs", aria_label="Signs"),
    )


def _filters(sections: Sequence[Section]) -> Markup:
    """Return the controls; the script shows them, for without it they do nothing."""
    found = _tags(sections)
    selects = (
        element("label", name, _select(name, everything, found.get(name, [])))
        for name, everything in FILTERS.items()
    )
    box = element("input", type="checkbox", name="limits", checked=True)
    return element(
        "form",
        *selects,
        element("label", box, " limits of the machine", class_="check"),
        element("output", id="shown", aria_live="polite"),
        id="filters",
        hidden=True,
        aria_label="Filters",
    )


def _tags(sections: Sequence[Section]) -> dict[str, list[str]]:
    """Return the values of each tag of all curves and lines."""
    found: dict[str, dict[str, None]] = {}
    for section in sections:
        traces = [t for c in section.charts for p in c.panels for t in p.traces]
        rows = [row for table in section.tables for row in table.rows]
        for tagged in (*traces, *rows):
            for name, value in tagged.tags:
                found.setdefault(name, {})[value] = None
    return {name: sorted(values, key=_order) for name, values in found.items()}


def _order(value: str) -> tuple[int, str]:
    return (int(value) if value.isdecimal() else 0, value)


def _select(name: str, everything: str, values: Sequence[str]) -> Markup:
    options = (element("option", v, value=v) for v in values)
    return element(
        "select", element("option", everything, value=""), *options, name=name
    )


def _section(section: Section, pictures: Mapping[str, bytes]) -> Markup:
    name = f"{section.id}-title"
    text = [element("p", section.text)] if section.text else []
    return element(
        "section",
        element("h2", section.title, id=name),
        *text,
        *(_chart(chart, pictures) for chart in section.charts),
        section.only_page,
        *(_table(table) for table in section.tables),
        id=section.id,
        aria_labelledby=name,
    )


def _chart(chart: Chart, pictures: Mapping[str, bytes]) -> Markup:
    picture = base64.b64encode(pictures[f"{chart.id}.svg"]).decode()
    source = f"data:image/svg+xml;base64,{picture}"
    return element(
        "figure",
        element("h3", chart.title),
        element("div", class_="plot", hidden=True),
        element("ul", class_="legend", hidden=True, aria_label="Curves"),
        element("p", "Nothing fits these filters.", class_="nothing", hidden=True),
        _image(source, chart.title),
        element("figcaption", chart.note),
        class_="chart",
        id=f"chart-{chart.id}",
    )


def _image(source: str, words: str) -> Markup:
    image = element("img", src=source, alt=words, class_="picture")
    return Markup(image.removesuffix("</img>"))


def _table(table: Table) -> Markup:
    heads = (element("th", c, scope="col") for c in table.columns)
    shown = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *map(_row, table.rows)),
    )
    region = element(
        "div", shown, class_="scroll", tabindex="0", role="region",
        aria_label=table.title,
    )  # fmt: skip
    note = [element("p", table.note, class_="facts")] if table.note else []
    title = element("h3", table.title)
    return element("div", title, region, *note, class_="table", id=table.id)


def _row(row: Row) -> Markup:
    tags = {f"data_{name}": value for name, value in row.tags}
    head = element("th", *_breakable(row.head), scope="row")
    return element("tr", head, *map(_cell, row.cells), **tags)


def _breakable(text: str) -> Iterator[str]:
    """Yield a name with places where it may be broken."""
    for sign in "._/:":
        text = text.replace(sign, f"{sign}\0")
    for piece in text.split("\0"):
        yield piece
        yield Markup("<wbr>")


def _cell(cell: Cell) -> Markup:
    text: str = cell.text
    if cell.link:
        text = element("a", text, href=cell.link, rel="noreferrer")
    if cell.kind in ("good", "bad"):
        text = element("span", text, class_="badge")
    shown = join(text, *_mark(cell))
    attributes = {"class_": cell.kind, "title": cell.detail}
    return element("td", shown, **{n: v for n, v in attributes.items() if v})


def _mark(cell: Cell) -> Iterator[str]:
    if cell.mark:
        sign, meaning = MARKS[cell.mark]
        yield " "
        yield element("span", sign, class_="mark", title=meaning)
