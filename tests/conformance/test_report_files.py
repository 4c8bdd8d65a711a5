"""The files for machines: JSON by its schema, JUnit by its structure."""

import json
import re
from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator
from support.results import HOSTILE, PACKED, of, results

from ssmref.conformance.report.document import document, write_json
from ssmref.conformance.report.junit import write_junit
from ssmref.conformance.report.outcome import outcome
from ssmref.conformance.verdict import (
    EXPECTED,
    FAILED,
    NOT_PROVIDED,
    PASSED,
    UNEXPECTED,
)

PACKAGE = files("ssmref.conformance.report")
SCHEMA = json.loads(PACKAGE.joinpath("verdicts.schema.json").read_text())


@pytest.fixture(scope="module")
def everything():
    return results()


def refuse(token):
    raise AssertionError(f"{token} is no JSON")


def test_json_fits_its_schema(everything, tmp_path):
    Draft202012Validator.check_schema(SCHEMA)
    write_json(tmp_path / "x.json", everything)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=refuse)
    assert list(Draft202012Validator(SCHEMA).iter_errors(found)) == []
    assert found["target"] == HOSTILE
    assert found["counts"] == {
        "required": 7,
        "run": 6,
        "passed": 1,
        "failed": 3,
        "expected failure": 1,
        "unexpected pass": 1,
        "not provided": 1,
    }
    assert found["exit_status"] == 1
    assert [e["reason"] for e in found["unmatched"]] == ["nobody ran it"]


def test_json_says_what_was_found(everything):
    first, known, packed, raised = document(everything)["verdicts"][:4]
    y, state = first["outputs"]
    assert (y["ratio"], y["got"]) == ("inf", "nan")
    assert y["place"] == "batch 1, token 20, head 0, dimension 0"
    assert y["profile"].index("inf") == 20
    assert len(y["profile"]) == 37
    assert state["passed"]
    assert state["profile"] == []
    assert known["status"] == EXPECTED
    assert known["expected"]["link"].startswith("https://example.org")
    assert packed["diagnosis"] == ["Behaves like <i>packed</i>.", "Fix"]
    assert "raised ValueError: groups" in raised["message"]
    assert first["seconds"] > 0
    assert first["level"] == "core"


BROKEN = [
    lambda d: d.pop("limit"),
    lambda d: d.update(extra=1),
    lambda d: d.update(format=2),
    lambda d: d["counts"].update(failed=-1),
    lambda d: d["counts"].pop("run"),
    lambda d: d["versions"].pop("numpy"),
    lambda d: d["verdicts"][0].update(status="fine"),
    lambda d: d["verdicts"][0].update(dtype="int8"),
    lambda d: d["verdicts"][0]["outputs"][0].update(ratio="Infinity"),
    lambda d: d["verdicts"][0]["outputs"][0].update(index=[-1]),
    lambda d: d["verdicts"][0]["outputs"][0].update(profile=[None]),
]


@pytest.mark.parametrize("damage", BROKEN)
def test_schema_refuses_other_documents(everything, damage):
    found = document(everything)
    damage(found)
    assert list(Draft202012Validator(SCHEMA).iter_errors(found))


@pytest.fixture(scope="module")
def junit(everything, tmp_path_factory):
    path = tmp_path_factory.mktemp("junit") / "x.xml"
    write_junit(path, everything)
    return ET.parse(path).getroot()


# Of the common schema: what may stand in an element, and what it has to have.
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "properties": {"property"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
}
COUNTS = {"tests", "failures", "errors", "skipped", "time"}
ATTRIBUTES = {
    "testsuites": {"name"} | COUNTS,
    "testsuite": {"name"} | COUNTS,
    "property": {"name", "value"},
    "testcase": {"classname", "name", "time"},
    "skipped": {"message"},
    "failure": {"message", "type"},
}


def assert_structure(element):
    assert set(element.attrib) <= ATTRIBUTES.get(element.tag, set())
    assert {c.tag for c in element} <= CHILDREN.get(element.tag, set())
    if element.tag in ("testsuites", "testsuite"):
        assert set(element.attrib) == ATTRIBUTES[element.tag]
        cases = list(element.iter("testcase"))
        assert int(element.get("tests")) == len(cases)
        for count, tag in (("failures", "failure"), ("skipped", "skipped")):
            assert int(element.get(count)) == len(list(element.iter(tag)))
        assert re.fullmatch(r"\d+\.\d+", element.get("time"))
    for child in element:
        assert_structure(child)


def test_junit_has_the_common_structure(junit):
    assert_structure(junit)
    assert [s.get("name") for s in junit] == [
        *("mamba2.ssd", "mamba1.selective_scan")[:1],
        "conclusion",
    ]


def cases_of(junit):
    return {f"{c.get('classname')}/{c.get('name')}": c for c in junit.iter("testcase")}


def test_junit_says_what_was_found(junit, everything):
    cases = cases_of(junit)
    assert {v.case.id for v in everything.verdicts} == set(cases) - {
        "ssmref/conclusion"
    }
    messages = {
        verdict.case.id: [(c.tag, c.get("message")) for c in cases[verdict.case.id]]
        for verdict in everything.verdicts
    }
    plain, packed, zero, tiled, empty, chunk, every = messages.values()
    assert plain[0][0] == "failure"
    assert (
        "y: 255 of 1110 elements are wrong; worst at batch 1, token 20" in plain[0][1]
    )
    assert packed == [
        (
            "skipped",
            "expected failure: sequences leak <b>: https://example.org/a?b=1&c='2'",
        )
    ]
    assert zero[0][0] == "failure"
    assert "raised ValueError: groups kernels.<script>" in tiled[0][1]
    assert empty == []
    assert chunk[0][0] == "failure"
    assert "a failure was expected (was wrong once)" in chunk[0][1]
    assert every[0][0] == "skipped"
    assert every[0][1].startswith("not provided: no dt_limit")
    conclusion = cases["ssmref/conclusion"][0]
    assert conclusion.get("message") == outcome(everything).sentence
    assert "nobody ran it" in conclusion.text
    assert (
        "repeat: ssmref verify"
        in cases[PACKED.id.replace("packed/l140", "packed-zero/l70")][0].text
    )


MIXES = [
    (),
    (PASSED,),
    (FAILED,),
    (EXPECTED,),
    (UNEXPECTED, PASSED),
    (NOT_PROVIDED,),
    (PASSED, NOT_PROVIDED),
]


@pytest.mark.parametrize("required", [(), ("mamba2.ssd",), ("mamba3.siso",)])
@pytest.mark.parametrize("statuses", MIXES)
def test_junit_is_red_whenever_the_command_is(statuses, required, tmp_path):
    found = of(*statuses, required=required)
    write_junit(tmp_path / "x.xml", found)
    root = ET.parse(tmp_path / "x.xml").getroot()
    assert (int(root.get("failures", "0")) > 0) == (outcome(found).status != 0)
    assert_structure(root)
