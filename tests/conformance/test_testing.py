"""The cases in a stranger's pytest file: red, green and skipped as they should be."""

import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

import pytest
from support.results import EVERYTHING, PACKED, PLAIN, TILED, faulty

from ssmref.conformance import testing
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.testing import cases, check
from ssmref.golden import mamba2

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("case", cases("mamba2.ssd_step"), ids=str)
def test_in_under_ten_lines(case):
    check(mamba2.ssd_step, case, dtype="float32")


def test_cases_are_those_of_the_level():
    found = cases("mamba2.ssd")
    assert found == [c for c in cases_of("mamba2.ssd") if c.level == "core"]
    assert str(PLAIN) == PLAIN.id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mamba2.sdd",), "op is 'mamba2.sdd'; ops are: .*mamba2.ssd"),
        (("mamba2.ssd", "easy"), "no cases of level 'easy'; it has: core"),
    ],
)
def test_no_cases_is_a_mistake(arguments, message):
    with pytest.raises(ValueError, match=message):
        cases(*arguments)


def test_wrong_result_says_what_and_how_to_repeat():
    with pytest.raises(AssertionError) as caught:
        check(faulty, PLAIN)
    words = str(caught.value)
    assert f"{PLAIN.id}: {PLAIN.reason}" in words
    assert "worst at batch 1, token 20" in words
    assert "repeat: ssmref verify support.results:faulty --op mamba2.ssd" in words


def test_raised_error_fails():
    with pytest.raises(AssertionError, match="raised ValueError: groups"):
        check(faulty, TILED)


def test_local_function_has_no_command():
    with pytest.raises(AssertionError) as caught:
        check(lambda *inputs: inputs, PLAIN)
    assert "repeat" not in str(caught.value)
    assert "returned 5 arrays" in str(caught.value)


def test_not_provided_skips_or_fails_as_asked():
    with pytest.raises(SkipTest, match="not provided: no dt_limit"):
        check(faulty, EVERYTHING)
    with pytest.raises(AssertionError, match="required, but not provided: no dt_limit"):
        check(faulty, EVERYTHING, required=True)


def test_unknown_dtype_is_a_mistake():
    words = "dtype is 'int8'; for mamba2.ssd it may be float64, .*, tf32"
    with pytest.raises(ValueError, match=words):
        check(mamba2.ssd, PACKED, "int8")


def test_tf32_is_for_products_of_tiles():
    check(mamba2.ssd, PACKED, "tf32")
    step = cases("mamba2.ssd_step")[0]
    with pytest.raises(ValueError, match=r"dtype is 'tf32'; for mamba2\.ssd_step"):
        check(mamba2.ssd_step, step, "tf32")
    with pytest.raises(AssertionError, match="--dtype tf32"):
        check(lambda *inputs: (2 * inputs[0], 0), PACKED, "tf32")


def test_snippet_of_the_documentation_runs(tmp_path):
    lines = str(testing.__doc__).split("::\n\n")[1]
    snippet = "\n".join(line[4:] for line in lines.splitlines())
    assert len(snippet.strip().splitlines()) < 10
    (tmp_path / "mylib.py").write_text(
        "from ssmref.golden import mamba2\n"
        "def ssd(x, dt, A, B, C, *, D=None, z=None, **options):\n"
        "    if options.get('dt_softplus'): raise NotImplementedError\n"
        "    if D is not None: return x, x\n"
        "    return mamba2.ssd(x, dt, A, B, C, D=D, z=z, **options)\n"
    )
    (tmp_path / "test_mylib.py").write_text(snippet)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "test_mylib.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "repeat: ssmref verify mylib:ssd --op mamba2.ssd" in result.stdout
    assert "not provided: NotImplementedError" in result.stdout
    assert " test_ssd[mamba2.ssd/" in result.stdout
    assert "ssmref/conformance/run.py" not in result.stdout
