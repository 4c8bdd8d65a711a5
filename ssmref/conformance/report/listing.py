"""The list of cases on the page: each opens to all that is known of it."""

from collections.abc import Iterator, Sequence

from ..expected import expectation_of
from ..precision import dtype_of
from ..verdict import FAILED, LIMIT, NOT_PROVIDED, UNEXPECTED, Finding, Verdict
from .markup import Markup, element, join
from .matrix import SIGNS, css_class
from .plot import plot
from .results import STATUSES, Results, repeat, words
from .terminal import SHOWN, unexpected


def filters(results: Results) -> Markup:
    """Return the controls; the script shows them, for without it they do nothing."""
    search = element("input", type="search", name="text", placeholder="id or message")
    return element(
        "form",
        element("label", "Op ", _select("op", "all ops", results.ops)),
        element("label", "Status ", _select("status", "all", STATUSES)),
        element("label", "Text ", search),
        element("output", id="shown", aria_live="polite"),
        id="filters",
        hidden=True,
    )


def _select(name: str, everything: str, values: Sequence[str]) -> Markup:
    options = (element("option", v, value=v) for v in values)
    return element(
        "select", element("option", everything, value=""), *options, name=name
    )


def listing(results: Results) -> Markup:
    """Return all cases, failures first and the first of them open."""
    ordered = sorted(results.verdicts, key=lambda v: not _is_failure(v))
    cases = (
        _case(results, v, number < SHOWN and _is_failure(v))
        for number, v in enumerate(ordered)
    )
    nothing = element("p", "No case fits.", id="nothing", hidden=True)
    return join(*cases, nothing)


def _is_failure(verdict: Verdict) -> bool:
    return verdict.status in (FAILED, UNEXPECTED)


def _case(results: Results, verdict: Verdict, opened: bool) -> Markup:
    return element(
        "details",
        element("summary", *_head(verdict)),
        element("div", *_body(results, verdict), class_="body"),
        class_=f"case {css_class(verdict.status)}",
        id=verdict.case.id,
        data_op=verdict.case.op,
        data_status=verdict.status,
        open=opened,
    )


def _head(verdict: Verdict) -> Iterator[Markup]:
    sign = f"{SIGNS[verdict.status]} {verdict.status}"
    yield element("span", sign, class_=f"badge {css_class(verdict.status)}")
    yield element("span", verdict.case.id, class_="id")
    if verdict.status != NOT_PROVIDED:
        yield element("span", f"ratio {verdict.ratio:.3g}", class_="ratio")


def _body(results: Results, verdict: Verdict) -> Iterator[Markup]:
    yield element("p", verdict.case.reason, class_="reason")
    yield from _remarks(results, verdict)
    if verdict.diagnosis:
        sentences = (element("li", s) for s in verdict.diagnosis)
        yield element("h4", "Diagnosis")
        yield element("ul", *sentences, class_="diagnosis")
    for finding in verdict.findings:
        yield from _finding(verdict, finding)
    yield element("p", _facts(verdict), class_="facts")
    yield _repeat(repeat(results.candidate, verdict))


def _remarks(results: Results, verdict: Verdict) -> Iterator[Markup]:
    known = expectation_of(verdict, results.expectations)
    if verdict.status == UNEXPECTED:
        yield element("p", unexpected(results, verdict))
    elif known:
        yield element("p", f"A failure is expected: {known.reason} ", _link(known.link))
    if verdict.message:
        yield element("p", verdict.message, class_="message")


def _link(address: str) -> Markup:
    return element("a", address, href=address, rel="noreferrer") if address else join()


def _facts(verdict: Verdict) -> str:
    facts = [f"level {verdict.case.level}", f"{verdict.seconds:.3g} s"]
    return ", ".join(facts + [f"sees {flag}" for flag in verdict.case.flags])


def _finding(verdict: Verdict, finding: Finding) -> Iterator[Markup]:
    if finding.passed:
        good = f"{finding.output}: passed, ratio {finding.ratio:.3g}, limit {LIMIT:g}"
        yield element("p", good, class_="good")
        return
    yield element("h4", finding.output)
    yield element("p", words(verdict, finding))
    if finding.size:
        yield _values(finding)
    if finding.profile:
        yield plot(finding, _starts(verdict))


def _values(finding: Finding) -> Markup:
    """Return what came and what should have come, with all digits."""
    pairs = (("got", finding.got), ("expected", finding.expected))
    texts = (element("dt", k) + element("dd", str(v)) for k, v in pairs)
    return element("dl", *map(Markup, texts), class_="values")


def _starts(verdict: Verdict) -> list[int]:
    """Return the tokens at which the sequences of a packed batch begin."""
    bounds = verdict.case.arguments(dtype_of(verdict.dtype)).get("cu_seqlens")
    return [] if bounds is None else sorted({int(b) for b in bounds[:-1]})


def _repeat(command: str) -> Markup:
    button = element("button", "Copy", type="button", class_="copy", hidden=True)
    return element("div", element("code", command), button, class_="repeat")
