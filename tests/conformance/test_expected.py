"""Expected failures: the file, its mistakes, and what becomes of verdicts."""

import pytest
from support.results import CHUNK, PACKED, PLAIN, of

from ssmref.conformance.expected import (
    Expectation,
    ExpectationError,
    apply,
    load,
    unmatched,
)
from ssmref.conformance.verdict import (
    EXPECTED,
    FAILED,
    NOT_PROVIDED,
    PASSED,
    UNEXPECTED,
    Verdict,
)

GOOD = f"""
[[expected]]
case = "{PLAIN.id}"
reason = "known"

[[expected]]
case = "{PACKED.id}"
dtype = "float16"
reason = "overflows"
link = "https://example.org/1"

[[expected]]
case = "{PACKED.id}"
dtype = "float32"
reason = "another"
"""


def written(tmp_path, text):
    path = tmp_path / "expected.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_file_is_read(tmp_path):
    assert load(written(tmp_path, GOOD)) == (
        Expectation(PLAIN.id, "known"),
        Expectation(PACKED.id, "overflows", "https://example.org/1", "float16"),
        Expectation(PACKED.id, "another", "", "float32"),
    )
    assert load(written(tmp_path, "")) == ()


def entry(**values):
    lines = (f"{key} = {value}" for key, value in values.items())
    return "[[expected]]\n" + "\n".join(lines) + "\n"


CASE = f'"{PLAIN.id}"'
MISTAKES = {
    "no TOML": ("[[expected", "is no TOML"),
    "no text": (b"\xff\xfe", "is no TOML"),
    "other table": ("[known]\n", r"nothing but \[\[expected\]\] tables"),
    "no list": ("expected = 3\n", r"nothing but \[\[expected\]\] tables"),
    "list of numbers": ("expected = [3]\n", r"nothing but \[\[expected\]\] tables"),
    "one table": ("[expected]\n", r"nothing but \[\[expected\]\] tables"),
    "no case": (entry(reason='"x"'), "entry 1 .*it needs a case"),
    "no reason": (entry(case=CASE), "it needs a reason"),
    "blank reason": (entry(case=CASE, reason='" "'), "it needs a reason"),
    "number": (entry(case=CASE, reason="3"), "reason is 3; it has to be a string"),
    "unknown key": (entry(case=CASE, reasons='"x"'), "'reasons' is unknown"),
    "close case": (
        entry(case=f'"{PLAIN.id[:-1]}"', reason='"x"'),
        f"is unknown; meant was: {PLAIN.id}",
    ),
    "pattern": (entry(case='"*"', reason='"x"'), "is unknown; see `ssmref cases`"),
    "dtype": (entry(case=CASE, reason='"x"', dtype='"int8"'), "it may be float64"),
    "link": (entry(case=CASE, reason='"x"', link='"javascript:x"'), "start with https"),
    "twice": (2 * entry(case=CASE, reason='"x"'), "entry 2 .* has an earlier entry"),
    "twice, once in one dtype": (
        entry(case=CASE, reason='"x"')
        + entry(case=CASE, reason='"x"', dtype='"float16"'),
        "has an earlier entry",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_explained_and_names_the_file(tmp_path, text, message):
    with pytest.raises(ExpectationError, match=message) as caught:
        load(written(tmp_path, text))
    assert "expected.toml" in str(caught.value)


def test_unreadable_file_is_explained(tmp_path):
    with pytest.raises(ExpectationError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ExpectationError, match="directory"):
        load(tmp_path)


def applied(status, *entries):
    [verdict] = apply(of(status).verdicts, entries)
    return verdict.status


def test_a_known_failure_is_expected_and_a_pass_is_not():
    known = Expectation(PLAIN.id, "known")
    assert applied(FAILED, known) == EXPECTED
    assert applied(PASSED, known) == UNEXPECTED
    assert applied(NOT_PROVIDED, known) == NOT_PROVIDED


@pytest.mark.parametrize(
    "entry",
    [Expectation(CHUNK.id, "other case"), Expectation(PLAIN.id, "x", "", "float64")],
)
def test_another_case_or_dtype_is_not_excused(entry):
    assert applied(FAILED, entry) == FAILED
    assert applied(PASSED, entry) == PASSED


def test_entries_that_met_no_run_case_are_unmatched():
    entries = [
        Expectation(PLAIN.id, "ran"),
        Expectation(PACKED.id, "not provided"),
        Expectation(CHUNK.id, "not asked for"),
        Expectation(CHUNK.id, "in another dtype", "", "float16"),
    ]
    verdicts = [
        Verdict(PLAIN, "float32", FAILED),
        Verdict(PACKED, "float32", NOT_PROVIDED),
    ]
    found = unmatched(apply(verdicts, entries), entries, "float32")
    assert found == entries[1:3]
