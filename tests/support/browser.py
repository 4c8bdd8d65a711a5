"""A headless Chromium for tests of pages."""

import os
import shutil
from contextlib import contextmanager
from typing import NoReturn

import pytest

# Set where a browser is installed on purpose: a missing one then is an error.
REQUIRED = os.environ.get("SSMREF_REQUIRE_BROWSER") == "1"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def missing(what: str) -> NoReturn:
    reason = f"{what} is missing: pip install selenium; apt install chromium-driver"
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> str:
    return shutil.which(name) or missing(name)


@contextmanager
def chromium(profile):
    """Start a browser that keeps all that its console says."""
    binary, driver = program("chromium"), program("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        missing("selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        yield browser
    finally:
        browser.quit()


def resize(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def media(browser, scheme="light", kind=""):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    settings = {"media": kind, "features": features}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", settings)


def find(page, selector):
    return page.find_elements("css selector", selector)


# The text that stands directly in an element against what is painted behind it, by the
# formula of WCAG 2: 4.5 is needed.
CONTRASTS = """
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const parse = (color) => color.match(/[\\d.]+/g).map(Number);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
const paint = (e) => {
  const style = getComputedStyle(e);
  return e instanceof SVGElement ? style.fill : style.color;
};
return [...document.querySelectorAll("body *")]
  .filter((e) => own(e) && e.checkVisibility() && e.tagName !== "SCRIPT")
  .map((e) => {
    const [a, b] = [light(parse(paint(e))), light(behind(e))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML];
  });
"""
