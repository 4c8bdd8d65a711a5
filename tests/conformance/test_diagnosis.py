"""A failure is named by the bug behind it, and nothing else is named."""

from importlib import import_module

import numpy as np
import pytest

from ssmref.conformance.bugs.score import diagnosis_of, is_named, pairs
from ssmref.conformance.bugs.zoo import BUGS, bugs_of, stranger
from ssmref.conformance.candidates import Candidate, call
from ssmref.conformance.catalogue import CASES, cases_of, covered_ops
from ssmref.conformance.diagnosis import (
    Conclusion,
    contradicts,
    diagnose_run,
    diagnosed,
    explanations,
)
from ssmref.conformance.outputs import flatten
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.run import verify
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import FAILED, PASSED, judge
from ssmref.golden import mamba2
from ssmref.ops import OPS

F32 = np.dtype(np.float32)
GROUPS = CASES["mamba2.ssd/groups-inner/b2l37h6g2"]
EVERYTHING = CASES["mamba2.ssd/everything/b2l99h6p3g3n5"]


def run(op, *names, dtype=F32, cases=None):
    """Verify a stranger with these bugs, outermost first."""
    candidate = Candidate("x", {op: stranger([BUGS[n] for n in names], OPS[op])})
    return list(verify(candidate, cases or cases_of(op), dtype))


def concluded(op, *names, **options):
    (conclusion,) = diagnose_run(run(op, *names, **options))
    return conclusion


# Few and small, for the time it takes; `ssmref zoo --diagnose` asks for all.
NAMED = (
    "layers.causal_conv1d",
    "layers.rms_norm_gated",
    "mamba2.ssd_step",
    "mamba3.mimo_step",
    "caches.snapshots",
    "s4.s4_step",
)


def test_bugs_are_named_in_code_that_sums_in_another_order():
    chosen = [(b, op) for b, op in pairs(BUGS.values(), NAMED) if not b.modifies]
    missed = [
        (bug.id, op)
        for bug, op in chosen
        if not is_named(bug, diagnosis_of(bug, op, F32))
    ]
    share = 1 - len(missed) / len(chosen)
    print(f"{share:.1%} of {len(chosen)} bugs are named")
    assert len(chosen) > 130
    assert share >= 0.95, missed


@pytest.mark.parametrize("name", ["groups-tile-hf", "gate-sigmoid", "dt-limit-ignored"])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_names_hold_in_every_precision(name, dtype):
    cases = [c for c in cases_of("mamba2.ssd_step") if c.family != "large-values"]
    found = concluded("mamba2.ssd_step", name, dtype=dtype_of(dtype), cases=cases)
    assert found.bugs == (name,)
    assert not found.alternatives


def right(op, form, noise=0.0):
    """Yield some cases with the outputs of a golden form, with relative noise."""
    function = getattr(import_module(f"ssmref.golden.{OPS[op].module}"), form)
    rng = np.random.default_rng(7)
    for case in cases_of(op)[1::6]:
        expected = truth(case, F32)
        with np.errstate(all="ignore"):
            outputs = flatten(OPS[op], call(function, OPS[op], expected.arguments))
        for name, array in outputs.items():
            factor = 1 + noise * rng.standard_normal(array.shape)
            outputs[name] = (array * factor).astype(array.dtype)
        yield case, expected, outputs


@pytest.mark.parametrize("op", covered_ops())
def test_right_answers_resemble_no_bug(op):
    """Nor do forms that lose digits, as those by the FFT do."""
    for form in (OPS[op].function, *(f"{OPS[op].function}_{f}" for f in OPS[op].forms)):
        for case, expected, outputs in right(op, form, 1e-7):
            verdict = judge(case, expected, outputs)
            assert not explanations(verdict, expected, outputs), (form, case.id)


def test_what_passes_is_returned_as_it_is():
    for case, expected, outputs in right("mamba2.ssd_step", "ssd_step"):
        verdict = judge(case, expected, outputs)
        assert verdict.status == PASSED
        assert diagnosed(verdict, expected, outputs) is verdict


@pytest.mark.parametrize("op", ["mamba2.ssd_step", "layers.causal_conv1d", "s5.s5"])
def test_noise_that_fails_is_named_nothing(op):
    for case, expected, outputs in right(op, OPS[op].function, 1e-3):
        verdict = diagnosed(judge(case, expected, outputs), expected, outputs)
        assert not verdict.resembles, case.id


PAIRS = [
    ("mamba2.ssd", "groups-tile-hf", "gate-sigmoid"),
    ("mamba2.ssd", "skip-twice", "chunk-state-lost@64"),
    ("mamba1.selective_scan_step", "dt-bias-dropped", "skip-dropped"),
    ("mamba3.siso_step", "m3-rope-pairing", "m3-trap-flipped"),
    ("layers.causal_conv1d", "conv-filter-flipped", "conv-bias-twice"),
]


@pytest.mark.parametrize(("op", "one", "two"), PAIRS)
def test_two_bugs_together_are_found(op, one, two):
    found = concluded(op, one, two)
    assert set(found.bugs) == {one, two}
    assert found.explained == found.failed


def test_sentence_says_what_is_wrong_where_it_was_seen_and_what_to_do():
    (verdict,) = run("mamba2.ssd", "groups-tile-hf", cases=[GROUPS])
    assert verdict.resembles == (("groups-tile-hf",),)
    sentence = verdict.diagnosis[0]
    assert sentence.startswith("behaves like `groups-tile-hf`: Heads take groups")
    assert "https://github.com/huggingface/transformers/pull/37533" in sentence
    assert "Fix: Repeat each group" in sentence


def test_pattern_follows_the_names():
    (verdict,) = run("mamba2.ssd", "groups-tile-hf", cases=[GROUPS])
    # Heads 0, 2 and 3, 5 of 6 take the same group in blocks of 3 and in turns of 2.
    found = "y: only heads 1, 4 of 6 (the same in every group)"
    assert found in verdict.diagnosis


def test_likely_bugs_come_first():
    smallest = CASES["mamba2.ssd_step/smallest/h1p1n1"]
    before = run("mamba2.ssd_step", "dt-twice-in-drive")
    verdict = next(v for v in before if v.case == smallest)
    expected = truth(smallest, F32)
    function = stranger([BUGS["dt-twice-in-drive"]], OPS[smallest.op])
    outputs = flatten(
        OPS[smallest.op], call(function, OPS[smallest.op], expected.arguments)
    )
    bare = judge(smallest, expected, outputs)
    assert diagnosed(bare, expected, outputs, before).resembles[0] == (
        "dt-twice-in-drive",
    )
    assert verdict.resembles


def test_a_bug_that_a_passed_case_excludes_is_no_conclusion():
    """The state is lost at 64, not at 16: a case of 20 tokens passes."""
    found = concluded("mamba2.ssd", "chunk-state-lost@64")
    assert found.bugs == ("chunk-state-lost@64",)
    passed = next(
        v for v in run("mamba2.ssd", "chunk-state-lost@64") if v.case == GROUPS
    )
    assert passed.status == PASSED
    assert contradicts("chunk-state-lost@16", passed)
    assert not contradicts("chunk-state-lost@64", passed)


def test_unknown_mistakes_have_a_pattern_and_no_name():
    def wrong(*inputs, **options):
        y, state = mamba2.ssd_step(*inputs, **options)
        return y * y.dtype.type(1.7), state

    verdicts = list(
        verify(
            Candidate("x", {"mamba2.ssd_step": wrong}), cases_of("mamba2.ssd_step"), F32
        )
    )
    (conclusion,) = diagnose_run(verdicts)
    assert conclusion.bugs == ()
    assert conclusion.words.startswith("mamba2.ssd_step: no known bug explains")
    plain = next(v for v in verdicts if v.case.family == "plain")
    assert "y: 1.7 times what it should be, in every wrong element" in plain.diagnosis


def test_scribbling_is_named():
    found = concluded("mamba3.siso_step", "m3-step-tile-oob")
    assert found.bugs == ("m3-step-tile-oob",)


def test_failures_without_outputs_have_no_diagnosis():
    def broken(*_inputs, **_options):
        raise ZeroDivisionError("no")

    def misshapen(*inputs, **options):
        y, state = mamba2.ssd(*inputs, **options)
        return y[:, :1], state

    for function in (broken, misshapen):
        candidate = Candidate("x", {"mamba2.ssd": function})
        (verdict,) = verify(candidate, [GROUPS], F32)
        assert verdict.status == FAILED
        assert verdict.diagnosis == ()
        assert verdict.resembles == ()


def test_conclusion_in_words():
    names = ("groups-tile-hf",)
    words = Conclusion("mamba2.ssd", names, 3, 4, (("groups-first-only",),)).words
    assert words.startswith("mamba2.ssd: `groups-tile-hf`: Heads take groups")
    assert "explains 3 of 4 failed cases; or groups-first-only" in words


def test_everything_right_has_no_conclusion():
    verdicts = list(
        verify(Candidate("x", {"mamba2.ssd": mamba2.ssd}), [GROUPS, EVERYTHING], F32)
    )
    assert diagnose_run(verdicts) == []


def test_every_op_with_bugs_has_cases():
    ops = {op for bug in BUGS.values() for op in bug.ops}
    assert ops <= set(covered_ops())
    assert all(bugs_of(op) for op in ops)


def test_zeros_are_not_taken_for_a_bug():
    """Many bugs give nothing but 0 on a short case, and so does who wrote nothing."""
    nothing = Candidate("x", {"mamba2.ssd_step": lambda *i: _zeros(i[0], i[5])})
    (found,) = verify(nothing, [cases_of("mamba2.ssd_step")[0]], F32)
    assert found.resembles == ()
    assert "y: everything is 0: was the result written?" in found.diagnosis


def _zeros(*like):
    return tuple(np.zeros_like(array) for array in like)
