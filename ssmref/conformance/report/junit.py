"""The JUnit XML file: a suite per op, a case per case, and one for the conclusion.

The last suite says what no case can say: it fails whenever the exit status is not 0,
so that a reader of the file never sees green where the command was red.
"""

from pathlib import Path
from xml.etree import ElementTree as ET

from ..expected import expectation_of
from ..verdict import EXPECTED, FAILED, NOT_PROVIDED, UNEXPECTED, Verdict
from . import provenance
from .clean import clean
from .outcome import outcome
from .results import Results, words
from .terminal import failure, unexpected


def write_junit(path: Path, results: Results) -> None:
    """Write the verdicts as JUnit XML."""
    tree = ET.ElementTree(document(results))
    ET.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def document(results: Results) -> ET.Element:
    """Return the element ``testsuites``."""
    suites = [_suite(results, op) for op in results.ops] + [_conclusion(results)]
    name = clean(f"ssmref verify {results.candidate.name} {results.dtype}")
    root = ET.Element("testsuites", {"name": name} | _totals(suites))
    root.extend(suites)
    return root


def _suite(results: Results, op: str) -> ET.Element:
    return _tested(op, [_case(results, v) for v in results.of(op)])


def _tested(name: str, cases: list[ET.Element]) -> ET.Element:
    count = {
        "tests": str(len(cases)),
        "failures": str(sum(c.find("failure") is not None for c in cases)),
        "errors": "0",
        "skipped": str(sum(c.find("skipped") is not None for c in cases)),
        "time": f"{sum(float(c.get('time', 0)) for c in cases):.6f}",
    }
    suite = ET.Element("testsuite", {"name": name} | count)
    suite.extend(cases)
    return suite


def _totals(suites: list[ET.Element]) -> dict[str, str]:
    whole = {
        key: str(sum(int(s.get(key, 0)) for s in suites))
        for key in ("tests", "failures", "errors", "skipped")
    }
    seconds = sum(float(s.get("time", 0)) for s in suites)
    return whole | {"time": f"{seconds:.6f}"}


def _case(results: Results, verdict: Verdict) -> ET.Element:
    op, _, name = verdict.case.id.partition("/")
    time = f"{verdict.seconds:.6f}"
    case = ET.Element("testcase", {"classname": op, "name": name, "time": time})
    if verdict.status == NOT_PROVIDED:
        _add(case, "skipped", f"not provided: {verdict.message}")
    elif verdict.status == EXPECTED:
        _add(case, "skipped", _expected(results, verdict))
    elif verdict.status == UNEXPECTED:
        _add(case, "failure", unexpected(results, verdict))
    elif verdict.status == FAILED:
        body = "\n".join(failure(results, verdict))
        _add(case, "failure", summary(verdict), body, type="wrong result")
    return case


def _add(case: ET.Element, tag: str, message: str, body: str = "", **kind: str) -> None:
    element = ET.SubElement(case, tag, {"message": clean(message)} | kind)
    element.text = clean(body) or None


def _expected(results: Results, verdict: Verdict) -> str:
    known = expectation_of(verdict, results.expectations)
    parts = ["expected failure"] + ([known.reason, known.link] if known else [])
    return ": ".join(filter(None, parts))


def summary(verdict: Verdict) -> str:
    """Say in one line what is wrong with a case."""
    bad = [f for f in verdict.findings if not f.passed]
    found = "; ".join(f"{f.output}: {words(verdict, f)}" for f in bad)
    return verdict.message or found


def _conclusion(results: Results) -> ET.Element:
    end = outcome(results)
    attributes = {"classname": "ssmref", "name": "conclusion", "time": "0"}
    case = ET.Element("testcase", attributes)
    if end.status:
        body = "\n".join(f"not run: {e.case}: {e.reason}" for e in results.unmatched)
        _add(case, "failure", end.sentence, body, type="conclusion")
    else:
        ET.SubElement(case, "system-out").text = clean(end.sentence)
    suite = _tested("conclusion", [case])
    suite.insert(0, _properties())
    return suite


def _properties() -> ET.Element:
    known = provenance.versions() | {"machine": provenance.machine()}
    properties = ET.Element("properties")
    for name, value in known.items():
        ET.SubElement(properties, "property", {"name": name, "value": value})
    return properties
