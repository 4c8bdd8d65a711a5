"""The calculator for caches and states in a real Chromium, against Python."""

from dataclasses import asdict
from importlib.util import find_spec

import pytest
from support import scaling_records as made
from support.browser import CONTRASTS, REQUIRED, find, media, resize

from ssmref.bench.pages.build import report
from ssmref.bench.pages.calculator import CONTEXT, DTYPE, REQUESTS
from ssmref.bench.pages.sources import read
from ssmref.bench.pages.words import of_bytes
from ssmref.bench.presets import MODELS
from ssmref.bench.sizes import (
    ITEM_BYTES,
    Kept,
    Shape,
    of_model,
    of_shape,
    transformer_like,
)

LACKING = [name for name in ("plotly", "matplotlib") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(LACKING) and not REQUIRED, reason=f"missing: {LACKING}; pip install '.[bench]'"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report on two points, for the calculator needs none."""
    folder = tmp_path_factory.mktemp("report")
    few = [
        made.timing("op", "mamba2.ssd", {"batch": 1, "length": n}, "ssmref.cpu", n)
        for n in (64, 128)
    ]
    run = read([made.write(folder / "x.jsonl", [made.environment(), *few])])
    path = folder / "index.html"
    path.write_bytes(report(run)["index.html"])
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    resize(browser, 1280)
    media(browser)
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def enter(page, **values):
    page.execute_script(
        "const form = document.getElementById('calculator');"
        "for (const [name, value] of Object.entries(arguments[0]))"
        " form.elements[name].value = value;"
        "form.dispatchEvent(new Event('input', {bubbles: true}));",
        {name: str(value) for name, value in values.items()},
    )


def shown(page):
    """Return the cells of each line, and the bytes behind the last one."""
    return page.execute_script(
        "return Object.fromEntries("
        "[...document.querySelectorAll('#sizes-result tr')].map(r => ["
        "r.cells[0].textContent, [[...r.cells].slice(1).map(c => c.textContent),"
        "r.cells[4].title]]))"
    )


def expected(found: list[Kept], dtype=DTYPE, context=CONTEXT, requests=REQUESTS):
    return {
        kept.name: [
            [
                of_bytes(kept.bytes(dtype, 0)),
                of_bytes(kept.per_token * ITEM_BYTES[dtype]),
                of_bytes(kept.bytes(dtype, context)),
                of_bytes(kept.bytes(dtype, context, requests)),
            ],
            f"{kept.bytes(dtype, context, requests)} bytes",
        ]
        for kept in found
    }


def test_it_starts_with_the_defaults(page):
    assert find(page, "#calculator")[0].is_displayed()
    assert shown(page) == expected(of_shape(Shape()))


SHAPES = [
    {"heads": 32, "kv_heads": 8, "layers": 16},
    {"headdim": 128, "expand": 3, "groups": 4, "rank": 8},
    {"mamba1_state": 64, "state": 64, "conv": 3},
    {"layers": 1, "heads": 1, "kv_heads": 1, "headdim": 1, "expand": 1, "state": 4},
]


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("dtype", ITEM_BYTES)
def test_own_sizes_are_as_in_python(page, changes, dtype):
    enter(page, **changes, dtype=dtype, context=4095, requests=3)
    assert shown(page) == expected(of_shape(Shape(**changes)), dtype, 4095, 3)


def test_every_field_is_used(page):
    base = {"heads": 8, "kv_heads": 4, "groups": 4, "context": 1000, "requests": 10}
    enter(page, **base)
    before = shown(page)
    shape = Shape(heads=8, kv_heads=4, groups=4)
    doubled = {n: 2 * v for n, v in asdict(shape).items()}
    for name, value in doubled.items():
        enter(page, **{name: value})
        assert shown(page) != before, name
        enter(page, **{name: value // 2})
        assert shown(page) == before


@pytest.mark.parametrize("name", MODELS)
def test_models_are_as_in_python(page, name):
    enter(page, model=name, context=2176)
    other = transformer_like(MODELS[name])
    found = [of_model(MODELS[name]), *([other] if other else [])]
    assert shown(page) == expected(found, context=2176)
    assert not any(e.is_displayed() for e in find(page, "#calculator .own"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layers": 0}, "layers needs a whole number from 1 on."),
        ({"context": 1.5}, "tokens of context needs a whole number from 1 on."),
        ({"requests": ""}, "requests at once needs a whole number from 1 on."),
        ({"kv_heads": 5}, "have to divide the attention heads"),
        ({"groups": 7}, "groups have to divide the heads of the SSM"),
        ({"state": 6}, "has to be a multiple of 4"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_shown(page, wrong, words):
    enter(page, **wrong)
    [mistake] = find(page, "#sizes-mistake")
    assert words in mistake.text
    assert shown(page) == {}
    enter(page, **asdict(Shape()), context=10, requests=1)
    assert not mistake.is_displayed()
    assert len(shown(page)) == 5


def test_the_enter_key_does_not_leave_the_page(page, address):
    [field] = find(page, "#calculator input[name=context]")
    field.send_keys("\n")
    assert page.current_url == address
    assert shown(page) == expected(of_shape(Shape()))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(page, scheme):
    media(page, scheme)
    page.refresh()
    contrasts = page.execute_script(CONTRASTS)
    own = [(c, html) for c, html in contrasts if "sizes" in html or "label" in html]
    assert len(own) > 10
    assert [html[:80] for c, html in contrasts if not c >= 4.5] == []


@pytest.mark.parametrize("width", [380, 1280])
def test_it_fits_the_width(page, width):
    resize(page, width)
    page.refresh()
    enter(page, model="mamba2-2.7b")
    script = "return [document.documentElement.scrollWidth, innerWidth]"
    whole, visible = page.execute_script(script)
    assert whole <= visible


def test_on_paper_there_is_the_table_only(page):
    media(page, "light", "print")
    assert not find(page, "#calculator")[0].is_displayed()
    assert len(find(page, "#sizes-table tbody tr")) == len(MODELS)


def test_the_table_has_the_same_numbers(page):
    enter(page, model="mamba2-2.7b")
    values, _ = shown(page)["mamba2-2.7b"]
    script = (
        "return [...document.querySelectorAll('#sizes-table tbody tr')]"
        ".filter(r => r.cells[0].textContent === 'mamba2-2.7b')"
        ".map(r => [...r.cells].slice(1).map(c => c.firstChild.data))"
    )
    [found] = page.execute_script(script)
    assert [text.strip() for text in found][:4] == values


def test_without_scripts_there_is_no_form(browser, address):
    off = "Emulation.setScriptExecutionDisabled"
    browser.execute_cdp_cmd(off, {"value": True})
    try:
        browser.get(address)
        assert not find(browser, "#calculator")[0].is_displayed()
    finally:
        browser.execute_cdp_cmd(off, {"value": False})
