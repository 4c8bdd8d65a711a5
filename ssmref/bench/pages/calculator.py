"""The section on caches and states: a table, and on the page a calculator.

The calculator computes with the formulas of `ssmref.bench.sizes`: those of models are
two numbers each, those of one's own sizes are written again in calculator.js.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict

from ...conformance.report.markup import Markup, element
from ..presets import MODELS
from ..sizes import ITEM_BYTES, Kept, Shape, of_model, transformer_like
from .section import Section
from .tables import Cell, Row, Table
from .words import of_bytes, of_length

CONTEXT, REQUESTS, DTYPE = 128 * 1024, 100, "bfloat16"
OWN = "own sizes"
# What a field of `Shape` is called on the page.
FIELDS = {
    "layers": "layers",
    "heads": "attention heads",
    "kv_heads": "heads for keys and values",
    "headdim": "channels per head",
    "expand": "heads of an SSM per attention head",
    "mamba1_state": "state N of Mamba-1",
    "state": "state N of Mamba-2 and 3",
    "groups": "groups of B and C",
    "rank": "rank of MIMO",
    "conv": "width of convolutions",
}
_NOTE = (
    "Counted, without the weights. Beside each model of one kind of layers stands a "
    "Transformer of about as many parameters and the same width, all of whose heads, "
    "of 64 channels, have keys and values of their own. Official code may keep more: "
    "Mamba-3 keeps its state in float32."
)


def sizes_section() -> Section:
    """Return what models keep of a request; the page can also compute it."""
    own, many = f"one request at {of_length(CONTEXT)}", f"{REQUESTS} of them"
    columns = ["", "whatever the context", "for each token", own, many]
    table = Table(
        "sizes-table",
        f"What published models keep between two tokens, in {DTYPE}",
        [*columns, "100 of a Transformer like it"],
        [_row(name) for name in MODELS],
        _NOTE,
    )
    return Section(
        "sizes",
        "Caches and states of models",
        tables=[table],
        only_page=_form(),
    )


def _row(name: str) -> Row:
    found, other = of_model(MODELS[name]), transformer_like(MODELS[name])
    sizes = [
        found.bytes(DTYPE, 0),
        found.per_token * ITEM_BYTES[DTYPE],
        found.bytes(DTYPE, CONTEXT),
        found.bytes(DTYPE, CONTEXT, REQUESTS),
        *([other.bytes(DTYPE, CONTEXT, REQUESTS)] if other else []),
    ]
    cells = [Cell(of_bytes(size), "analytic") for size in sizes]
    return Row(name, cells if other else [*cells, Cell("")])


def _form() -> Markup:
    """Return the controls; the script shows them, for without it they do nothing."""
    data = {
        "models": {name: [asdict(k) for k in _known(name)] for name in MODELS},
        "bytes": ITEM_BYTES,
    }
    return element(
        "form",
        element("h3", "Calculator"),
        element("div", *_controls(), class_="controls"),
        element("p", id="sizes-mistake", role="alert", hidden=True),
        element("div", _result(), class_="scroll"),
        element("script", _json(data), type="application/json", id="sizes-data"),
        id="calculator",
        hidden=True,
        aria_label="Calculator for caches and states",
    )


def _known(name: str) -> Iterator[Kept]:
    yield of_model(MODELS[name])
    if other := transformer_like(MODELS[name]):
        yield other


def _controls() -> Iterator[Markup]:
    yield _choice("model", (OWN, *MODELS))
    for name, value in asdict(Shape()).items():
        yield _number(name, FIELDS[name], value, class_="own")
    yield _number("context", "tokens of context", CONTEXT)
    yield _number("requests", "requests at once", REQUESTS)
    yield _choice("dtype", ITEM_BYTES, DTYPE)


def _choice(name: str, values, chosen: str = "") -> Markup:
    options = (element("option", v, value=v, selected=v == chosen) for v in values)
    return element("label", name, element("select", *options, name=name))


def _number(name: str, words: str, value: int, **attributes: str) -> Markup:
    kind = {"type": "number", "name": name, "value": str(value), "min": "1"}
    field = element("input", **kind, required=True)
    return element("label", words, field, **attributes)


def _result() -> Markup:
    names = ("", "whatever the context", "for each token", "one request", "all")
    heads = (element("th", name, scope="col") for name in names)
    head = element("thead", element("tr", *heads))
    return element("table", head, element("tbody", id="sizes-result"))


def _json(data: object) -> Markup:
    return Markup(json.dumps(data).replace("<", "\\u003c"))
