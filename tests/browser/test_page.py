"""The page in a real Chromium: layout, console, filters, keyboard, contrast."""

from pathlib import Path

import pytest
from support.browser import CONTRASTS, find, media, resize
from support.results import PACKED, PLAIN, results

from ssmref.conformance.report.page import write_html

WIDTHS = [380, 1400]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = Path(tmp_path_factory.mktemp("page"), "verdicts.html")
    write_html(path, results())
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    """The page, freshly loaded, wide and light; nothing may complain in the end."""
    resize(browser, 1400)
    media(browser)
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def choose(page, name, value):
    set_value = (
        "const e = document.getElementById('filters').elements[arguments[0]];"
        "e.value = arguments[1]; e.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    page.execute_script(set_value, name, value)


def shown(page):
    return [case for case in find(page, "details.case") if case.is_displayed()]


def open_all(page):
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = 1)")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows(page, width):
    resize(page, width)
    open_all(page)
    widths = "const d = document.documentElement; return [d.scrollWidth, innerWidth]"
    whole, visible = page.execute_script(widths)
    assert visible == width
    assert whole <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_every_plot_is_wide_and_its_labels_are_readable(page, width):
    resize(page, width)
    open_all(page)
    plots = find(page, ".plot svg")
    assert len(plots) == 3
    widest = min(width, 1152)
    assert all(0.65 * widest < p.size["width"] < widest for p in plots)
    labels = [s for s in find(page, ".plot span") if s.is_displayed()]
    assert {s.text for s in labels} >= {"limit 30", "0.01"}
    assert all(s.location["x"] >= 0 for s in labels)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_is_enough_for_all_text(page, theme):
    media(page, theme)
    open_all(page)
    contrasts = page.execute_script(CONTRASTS)
    assert len(contrasts) > 100
    low = [
        (round(ratio, 2), html[:80]) for ratio, html in contrasts if not ratio >= 4.5
    ]
    assert low == []


def test_contrast_that_is_too_low_is_seen(page):
    page.execute_script("document.querySelector('h2').style.color = '#999'")
    low = [html for ratio, html in page.execute_script(CONTRASTS) if not ratio >= 4.5]
    assert len(low) == 1
    assert low[0].startswith("<h2")


def test_overflow_is_seen(page):
    page.execute_script("document.querySelector('h2').style.width = '1500px'")
    whole = page.execute_script("return document.documentElement.scrollWidth")
    assert whole > 1400


def test_nothing_is_loaded_and_no_stranger_runs(page):
    script = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert page.execute_script(script) == []
    assert page.title.startswith("FAILED: 3 of 6 cases run are wrong")


def test_filters_work_and_count(page):
    assert len(shown(page)) == 7
    choose(page, "status", "failed")
    assert {c.get_attribute("data-status") for c in shown(page)} == {"failed"}
    assert len(shown(page)) == 3
    assert find(page, "#shown")[0].text == "3 of 7 cases"
    choose(page, "text", "PACKED-zero")
    assert len(shown(page)) == 1
    choose(page, "op", "mamba2.ssd")
    assert len(shown(page)) == 1
    choose(page, "text", "nothing like it")
    assert shown(page) == []
    assert find(page, "#nothing")[0].is_displayed()


def test_typing_filters(page):
    find(page, "input[name=text]")[0].send_keys("was wrong once\n")
    assert len(shown(page)) == 1


def test_a_link_opens_its_case_even_if_it_was_filtered_away(page):
    choose(page, "status", "passed")
    find(page, f'.matrix a[href="#{PACKED.id}"]')[0].click()
    [case] = [
        c for c in find(page, "details.case") if c.get_attribute("id") == PACKED.id
    ]
    assert case.is_displayed()
    assert case.get_attribute("open")
    assert "sequences leak" in case.text
    assert len(shown(page)) == 7


def test_keyboard_opens_and_closes_a_case(page):
    summary = find(page, "details.case summary")[-1]
    page.execute_script("arguments[0].focus()", summary)
    case = summary.find_element("xpath", "..")
    assert not case.get_attribute("open")
    page.switch_to.active_element.send_keys("\n")
    assert case.get_attribute("open")


def test_all_that_can_be_operated_is_reached_by_keyboard(page):
    focusable = "a[href], button, input, select, summary, [tabindex='0']"
    wanted = [e for e in find(page, focusable) if e.is_displayed()]
    reached = set()
    for _ in range(len(wanted)):
        page.switch_to.active_element.send_keys("\ue004")
        reached.add(page.switch_to.active_element.id)
    assert {e.id for e in wanted} <= reached


def test_copy_button_answers(page):
    buttons = [b for b in find(page, "button.copy") if b.is_displayed()]
    assert len(buttons) == 4
    page.set_permissions("clipboard-write", "granted")
    buttons[0].click()
    wait = "const [b, done] = arguments; setTimeout(() => done(b.textContent), 100)"
    assert page.execute_async_script(wait, buttons[0]) in ("Copied", "Selected")
    command = buttons[0].find_element("xpath", "../code").text
    assert command.endswith(f"--case {PLAIN.id} --dtype float32")


def test_without_scripts_the_page_is_whole_and_offers_no_dead_controls(
    browser, address
):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address)
        assert not find(browser, "#filters")[0].is_displayed()
        assert not any(b.is_displayed() for b in find(browser, "button.copy"))
        assert len(shown(browser)) == 7
    finally:
        browser.execute_cdp_cmd(
            "Emulation.setScriptExecutionDisabled", {"value": False}
        )
