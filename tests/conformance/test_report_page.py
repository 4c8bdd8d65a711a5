"""The page as text: well formed, self-contained, and strangers stay text in it."""

import base64
import hashlib
import math
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from support.results import EMPTY, HOSTILE, PACKED_ZERO, PLAIN, of, results

from ssmref.conformance.report.clean import clean
from ssmref.conformance.report.markup import Markup, element, join
from ssmref.conformance.report.page import page, write_html
from ssmref.conformance.report.plot import first_beyond, plot
from ssmref.conformance.verdict import NOT_PROVIDED, PASSED, Finding

VOID = {"meta", "link", "input", "br", "hr", "wbr"}


class Reader(HTMLParser):
    """Every element with its attributes and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text():
    return page(results())


@pytest.fixture(scope="module")
def reader(text):
    return Reader(text)


def test_page_is_well_formed_and_its_links_lead_somewhere(text, reader):
    assert text.startswith("<!doctype html>\n<html lang=")
    ids = Counter(a["id"] for _, a in reader.elements if "id" in a)
    assert max(ids.values()) == 1
    inside = {a["href"][1:] for a in reader.of("a") if a["href"].startswith("#")}
    assert inside <= ids.keys()
    assert PLAIN.id in inside


def test_page_loads_nothing(reader):
    assert [a.get("src") for _, a in reader.elements if "src" in a] == []
    assert [a["href"] for a in reader.of("link")] == ["data:,"]
    [style] = re.findall("<style>(.*?)</style>", page(of(PASSED)), re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_one_script_runs_and_the_policy_knows_it(text, reader):
    assert len(reader.of("script")) == 1
    [script] = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [a["content"] for a in reader.of("meta") if "http-equiv" in a]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not [n for _, a in reader.elements for n in a if n.startswith("on")]


def test_strangers_are_escaped(text, reader):
    assert "<script>document" not in text
    assert clean(HOSTILE) in reader.words
    assert "Behaves like <i>packed</i>." in reader.words
    assert not {"i", "b"} & {tag for tag, _ in reader.elements}
    assert text == "".join(c for c in text if c == "\n" or c.isprintable())


def test_page_says_what_was_found(reader):
    words = "\n".join(reader.words)
    assert "FAILED\n 3 of 6 cases run are wrong" in words
    assert "worst at batch 1, token 20, head 0" in words
    assert "A failure is expected: sequences leak <b>" in words
    assert "passed, but a failure was expected (was wrong once)" in words
    assert "nobody ran it" in words
    assert "no dt_limit kernels" in words
    assert f"--case {PLAIN.id} --dtype float32" in words
    links = [a["href"] for a in reader.of("a")]
    assert "https://example.org/a?b=1&c='2'" in links


def test_failures_come_first_and_open(reader):
    cases = [a for a in reader.of("details")]
    assert len(cases) == 7
    failed = ["failed", "unexpected pass"]
    assert [("open" in a) for a in cases] == [a["data-status"] in failed for a in cases]
    assert [a["data-status"] in failed for a in cases] == [True] * 4 + [False] * 3


def test_every_case_stands_in_the_matrix(reader):
    cells = [a for a in reader.of("a") if "sign" in a.get("class", "")]
    ids = {a["href"][1:] for a in cells}
    assert ids == {a["id"] for a in reader.of("details")}
    assert f"{EMPTY.id}: passed" in {a["aria-label"] for a in cells}


def test_plots_have_words_and_sequences(reader):
    pictures = [a["aria-label"] for a in reader.of("svg")]
    assert len(pictures) == 3
    assert "17 of 37 tokens are beyond the limit, the first at token 20" in pictures[0]
    starts = [a for a in reader.of("line") if a["class"] == "start"]
    assert starts
    assert any("starts of sequences" in words for words in pictures)


def points(figure):
    return [float(y) for y in re.findall(r"V([\d.]+)H", figure)]


def test_plot_is_logarithmic_and_keeps_within_its_frame():
    profile = (0.0, 1e-9, 0.1, 30.0, 3e5, math.inf)
    figure = plot(Finding("y", False, math.inf, profile=profile, tokens=6))
    heights = points(figure)
    assert heights[0] == heights[1] == 100
    assert heights[5] == 0
    assert heights == sorted(heights, reverse=True)
    decade = (heights[3] - heights[4]) / math.log10(3e5 / 30)
    assert (heights[2] - heights[3]) / math.log10(300) == pytest.approx(
        decade, rel=0.01
    )
    assert figure.count('class="nan"') == 1
    assert "2 of 6 tokens are beyond the limit, the first at token 4" in figure


def test_first_token_of_a_shared_point_is_named():
    profile = (1.0, 1.0, 50.0)
    assert first_beyond(Finding("y", False, profile=profile, tokens=10)) == 7


def test_page_of_nothing_is_a_page():
    assert "NOTHING RAN" in Reader(page(of())).words
    found = Reader(page(of(NOT_PROVIDED, required=("mamba3.siso",))))
    assert "mamba3." in found.words


def test_file_is_the_page(tmp_path):
    found = results()
    write_html(tmp_path / "x.html", found)
    assert PACKED_ZERO.id in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_elements_escape_all_but_markup():
    assert element("p", "<&\"'>", title="\"'<&>") == (
        '<p title="&quot;&#x27;&lt;&amp;&gt;">&lt;&amp;&quot;&#x27;&gt;</p>'
    )
    assert join(element("br"), "<", Markup("<b>")) == "<br>&lt;<b>"
    assert element("p", hidden=True, open=False, aria_label="x", class_="y") == (
        '<p hidden aria-label="x" class="y"></p>'
    )


@pytest.mark.parametrize(
    "bad", ["\x1b", "\x00", "\x7f", "\x9b", "\ud800", "\uffff", "\r"]
)
def test_unfit_characters_are_replaced(bad):
    assert clean(f"a{bad}b\n\t\N{GREEK SMALL LETTER PI}\U0001f600") == (
        "a\N{REPLACEMENT CHARACTER}b\n\t\N{GREEK SMALL LETTER PI}\U0001f600"
    )
