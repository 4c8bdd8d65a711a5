"""The scaling report in a real Chromium: plots, filters, numbers, themes, widths."""

import statistics
from importlib.util import find_spec
from itertools import pairwise

import pytest
from support import scaling_records as made
from support.browser import (
    CONTRASTS,
    REQUIRED,
    find,
    media,
    resize,
)

from ssmref.bench.pages.build import CHARTS, report
from ssmref.bench.pages.sources import read

LACKING = [name for name in ("plotly", "matplotlib") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(LACKING) and not REQUIRED, reason=f"missing: {LACKING}; pip install '.[bench]'"
)
WIDTHS = [380, 1280]
OVERTAKING = "attention.attention, ssmref.cpu"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    run = read([made.write(folder / "x.jsonl", made.records())])
    path = folder / "index.html"
    path.write_bytes(report(run)["index.html"])
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    """The page, freshly loaded, wide and light; nothing may complain in the end."""
    resize(browser, 1280)
    media(browser)
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def choose(page, name, value):
    page.execute_script(
        "const e = document.getElementById('filters').elements[arguments[0]];"
        "e[e.type === 'checkbox' ? 'checked' : 'value'] = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true}));",
        *(name, value),
    )


def curves(page, chart):
    """Return what plotly was given for a chart, by name; hidden curves are left out."""
    found = page.execute_script(
        "return document.querySelector(`#chart-${arguments[0]} .plot`).data"
        ".filter(t => t.visible)"
        ".map(({name, x, y, error_y, line}) => ({name, x, y, error_y, line}));",
        chart,
    )
    return {curve["name"]: curve for curve in found}


def drawn(page, chart):
    """Return how many lines and marks stand in the picture of a chart."""
    lines = find(page, f"#chart-{chart} .scatterlayer .trace")
    return len(lines), len(find(page, f"#chart-{chart} .scatterlayer .points path"))


def visible_curves(page, chart):
    script = "return document.querySelector(arguments[0]).data.filter(t => t.visible)"
    return page.execute_script(f"{script}.length", f"#chart-{chart} .plot")


def rows(page, selector):
    """Return the ops of the lines of tables that are shown."""
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".filter(e => e.checkVisibility()).map(e => e.dataset.op)",
        f"{selector} tbody tr",
    )


def overflow(page):
    widths = "const d = document.documentElement; return [d.scrollWidth, innerWidth]"
    whole, visible = page.execute_script(widths)
    return whole - visible


def test_every_chart_is_drawn(page):
    for chart in CHARTS:
        lines, points = drawn(page, chart)
        assert lines == visible_curves(page, chart) >= 2, chart
        assert points >= 2 * lines - 6, chart
        assert find(page, f"#chart-{chart} .legend button"), chart
    assert not any(e.is_displayed() for e in find(page, ".picture"))


def test_the_numbers_are_those_of_the_records(page):
    own = {
        r["sizes"]["length"]: r["samples"]
        for r in made.records()
        if r.get("kind_of_workload") == "op"
        and (r["op"], r["implementation"]) == ("attention.attention", "ssmref.cpu")
        and r["kind"] == "measurement"
        and r["samples"]
    }
    curve = curves(page, "time-op")[OVERTAKING]
    assert curve["x"] == sorted(own)
    assert curve["y"] == [statistics.median(own[n]) for n in curve["x"]]
    quartiles = [statistics.quantiles(own[n], method="inclusive") for n in curve["x"]]
    above = [q[2] - q[1] for q in quartiles]
    below = [q[1] - q[0] for q in quartiles]
    assert curve["error_y"]["array"] == pytest.approx(above)
    assert curve["error_y"]["arrayminus"] == pytest.approx(below)
    assert "33.6 ms" in find(page, "#time-op-table tbody tr")[0].text


def test_axes_are_logarithmic_and_have_units(page):
    axes = page.execute_script(
        "const l = document.querySelector('#chart-memory .plot')._fullLayout;"
        "return [l.xaxis.type, l.yaxis.type]"
    )
    assert axes == ["log", "log"]
    texts = {e.text for e in find(page, "#chart-memory .ytick text")}
    assert any(text.endswith(" GiB") for text in texts)
    texts = {e.text for e in find(page, "#chart-memory .xtick text")}
    assert {"256", "1K", "128K"} <= texts


def test_what_would_not_fit_has_a_cross_and_the_memory_of_the_machine_a_line(page):
    oom = curves(page, "memory")[
        "attention.attention_naive, ssmref.golden, OOM (predicted)"
    ]
    assert oom["x"] == [2**17]
    texts = [e.text for e in find(page, "#chart-memory .annotation-text")]
    assert texts == ["memory of this machine, 16.0 GiB"]


def test_hovering_shows_the_value(page):
    page.execute_script("document.getElementById('chart-time-op').scrollIntoView()")
    page.execute_script(
        "Plotly.Fx.hover(document.querySelector('#chart-time-op .plot'),"
        "[{curveNumber: 0, pointNumber: 3}])"
    )
    [text] = [e.text for e in find(page, "#chart-time-op .hovertext")]
    assert "attention.attention, ssmref.cpu" in text
    assert "length 4K" in text
    assert "33.6 ms (33.1 ms to 34.2 ms), 7 samples" in text
    assert "measured, right, error ratio 1.5 of 30" in text


def test_filters_leave_what_fits_in_plots_and_tables(page):
    assert len(curves(page, "time-op")) == 10
    choose(page, "op", "mamba2.ssd")
    assert set(curves(page, "time-op")) == {
        *("mamba2.ssd, ssmref.cpu", "mamba2.ssd, ssmref.golden", "limit of mamba2.ssd"),
    }
    assert set(rows(page, "#points-table")) == {"mamba2.ssd"}
    choose(page, "implementation", "ssmref.golden")
    assert set(curves(page, "time-op")) == {
        *("mamba2.ssd, ssmref.golden", "limit of mamba2.ssd"),
    }
    assert drawn(page, "time-op")[0] == 2
    shown = find(page, "#shown")[0].text
    total = len(find(page, "tbody tr[data-op]"))
    visible = len([op for op in rows(page, "") if op])
    assert shown == f"{visible} of {total} lines"
    assert 0 < visible < total / 5


def test_where_nothing_fits_it_is_said(page):
    choose(page, "op", "mamba2.ssd")
    assert find(page, "#chart-time-block .nothing")[0].is_displayed()
    assert not find(page, "#chart-time-block .plot")[0].is_displayed()
    choose(page, "op", "")
    assert not find(page, "#chart-time-block .nothing")[0].is_displayed()
    assert drawn(page, "time-block")[0] == 8


def test_limits_can_be_taken_away(page):
    choose(page, "limits", False)
    assert not [name for name in curves(page, "time-op") if name.startswith("limit")]
    assert len(curves(page, "time-op")) == 7


def test_the_legend_takes_a_curve_away_and_back_by_keyboard(page):
    [button] = [
        b for b in find(page, "#chart-memory .legend button") if "golden" in b.text
    ]
    name = button.text
    assert name in curves(page, "memory")
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys("\n")
    assert not [curve for curve in curves(page, "memory") if curve.startswith(name)]
    again = page.switch_to.active_element
    assert again.get_attribute("aria-pressed") == "false"
    again.send_keys("\n")
    assert name in curves(page, "memory")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_scheme(page, scheme):
    media(page, scheme)
    page.refresh()
    script = (
        "const p = document.querySelector('#chart-time-op .plot');"
        "return [getComputedStyle(document.body).backgroundColor,"
        "p._fullLayout.paper_bgcolor, p.data[0].line.color]"
    )
    background, paper, line = page.execute_script(script)
    expected = {
        "light": ("rgb(255, 255, 255)", "#ffffff", "#0072b2"),
        "dark": ("rgb(20, 23, 26)", "#14171a", "#5ab4f0"),
    }
    assert (background, paper, line) == expected[scheme]


def test_a_change_of_scheme_is_followed_without_loading(page):
    media(page, "dark")
    wait = (
        "const done = arguments[0]; const p = document.querySelector('.plot');"
        "const look = () => p._fullLayout.paper_bgcolor === '#14171a' ? done(true)"
        " : setTimeout(look, 50); look();"
    )
    assert page.execute_async_script(wait)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_for_all_text(page, scheme):
    media(page, scheme)
    page.refresh()
    contrasts = page.execute_script(CONTRASTS)
    assert len(contrasts) > 500
    low = [(round(c, 2), html[:80]) for c, html in contrasts if not c >= 4.5]
    assert low == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_does_not_scroll_sideways(page, width):
    resize(page, width)
    page.refresh()
    assert overflow(page) <= 0
    for chart in CHARTS:
        plot = find(page, f"#chart-{chart} .main-svg")[0]
        assert plot.size["width"] <= width
        assert plot.size["width"] > 0.85 * min(width, 1120)


def test_too_wide_a_page_would_be_seen(page):
    page.execute_script("document.querySelector('h2').style.width = '1500px'")
    assert overflow(page) > 0


def test_a_window_that_becomes_narrow_is_followed(page):
    resize(page, 380)
    wait = (
        "const done = arguments[0]; const p = document.querySelector('.plot');"
        "const look = () => p._fullLayout.width < 380 ? done(true)"
        " : setTimeout(look, 50); look();"
    )
    assert page.execute_async_script(wait)
    assert overflow(page) <= 0


def test_labels_of_a_narrow_axis_do_not_touch(page):
    resize(page, 380)
    page.refresh()
    for chart in ("time-op", "memory", "chunks"):
        boxes = [e.rect for e in find(page, f"#chart-{chart} .xtick text")]
        boxes.sort(key=lambda box: box["x"])
        assert len(boxes) >= 2
        for left, right in pairwise(boxes):
            assert left["x"] + left["width"] < right["x"]


def test_on_paper_there_are_pictures_and_no_controls(page):
    media(page, "dark", "print")
    assert not find(page, "#filters")[0].is_displayed()
    assert not any(e.is_displayed() for e in find(page, ".plot, .legend"))
    assert all(e.is_displayed() for e in find(page, ".picture"))
    script = "return getComputedStyle(document.body).backgroundColor"
    assert page.execute_script(script) == "rgb(255, 255, 255)"


def test_nothing_is_loaded_and_no_stranger_runs(page):
    script = (
        "return performance.getEntriesByType('resource').map(e => e.name)"
        ".filter(name => !name.startsWith('data:'))"
    )
    assert page.execute_script(script) == []
    assert page.title == "Scaling on Example CPU 3000 - ssmref report"
    assert made.HOSTILE in find(page, "#missing-table")[0].text


def test_without_scripts_the_page_is_whole(browser, address):
    off = "Emulation.setScriptExecutionDisabled"
    resize(browser, 1280)
    browser.execute_cdp_cmd(off, {"value": True})
    try:
        browser.get(address)
        assert not find(browser, "#filters")[0].is_displayed()
        assert all(e.is_displayed() for e in find(browser, ".picture"))
        assert len(find(browser, ".picture")) == len(CHARTS)
        assert len(find(browser, "#points-table tbody tr")) > 50
    finally:
        browser.execute_cdp_cmd(off, {"value": False})
