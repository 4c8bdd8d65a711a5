"""Whatever a candidate does becomes a verdict."""

import sys

import numpy as np
import pytest

from ssmref.conformance.candidates import (
    Candidate,
    NotProvidedError,
    TargetError,
    call,
    load,
    load_peer,
)
from ssmref.conformance.catalogue import CASES, cases_of
from ssmref.conformance.report.results import repeat
from ssmref.conformance.run import verify, verify_case
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED
from ssmref.conformance.words import where
from ssmref.golden import mamba1, mamba2, mamba3
from ssmref.ops import OPS

F32 = np.dtype(np.float32)
PLAIN = CASES["mamba2.ssd/plain/b2l37h3p5n4"]
PACKED = CASES["mamba2.ssd/packed/l140"]


def verdict(function, case=PLAIN):
    return verify_case(function, case, F32)


def test_golden_passes():
    assert verdict(mamba2.ssd).status == PASSED


def _raises(*_inputs, **_options):
    raise ZeroDivisionError("kernel fell over")


def _several_lines(*_inputs):
    raise ValueError("kernel\n  fell\nover")


def _scribbles(x, *inputs, **options):
    result = mamba2.ssd(x, *inputs, **options)
    x[0, 0] = 0
    return result


WRONG = {
    "raises": (_raises, "raised ZeroDivisionError: kernel fell over (test_verify.py:"),
    "exits": (lambda *_: sys.exit(0), "raised SystemExit: 0 (test_verify.py:"),
    "lines": (_several_lines, "raised ValueError: kernel fell over (test_verify.py:"),
    "none": (lambda *_: None, "returned None; needed are 2 arrays: y, final_state"),
    "dict": (lambda *_: {"y": 1}, "returned a dict; needed are 2 arrays"),
    "y only": (lambda *a: mamba2.ssd(*a)[0], "returned 1 array; needed are 2"),
    "three": (lambda *a: (*mamba2.ssd(*a), 1), "returned 3 arrays"),
    "words": (lambda *_: ("y", "state"), "y has dtype"),
    "lists": (lambda *_: ([[1], [1, 2]], 0), "y is a list, not an array"),
    "modifies": (_scribbles, "modified its input x"),
    "too few arguments": (lambda x: x, "given (called as `ssmref cases` shows)"),
}


@pytest.mark.parametrize(("function", "message"), WRONG.values(), ids=WRONG)
def test_misbehaviour_fails_with_its_reason(function, message):
    found = verdict(function)
    assert found.status == FAILED
    assert message in found.message
    assert not found.ratio <= 30


def test_results_belong_to_who_called():
    """A buffer that the next call fills again is wrong for whoever keeps the result."""
    buffer = np.zeros(1000, F32)

    def reused(*inputs, **options):
        y, state = mamba2.ssd(*inputs, **options)
        buffer[: y.size] = y.ravel()
        return buffer[: y.size].reshape(y.shape), state

    small = [CASES["mamba2.ssd/smallest/l1h1p1n1"], CASES["mamba2.ssd/one-token/b3l1"]]
    first, second = verify(Candidate("x", {"mamba2.ssd": reused}), small, F32)
    assert first.status == PASSED
    assert second.status == FAILED
    assert second.message == f"this call changed y, as returned for {small[0]}"


def test_wider_results_are_not_passed_off_as_float32():
    found = verdict(lambda *a: tuple(r.astype("f8") for r in mamba2.ssd(*a)))
    assert found.status == FAILED
    assert "dtype float64, needed is float32" in found.findings[0].problem


def test_a_keyboard_interrupt_is_not_a_verdict():
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict(interrupted)


def test_missing_option_is_not_provided():
    def narrow(x, dt, A, B, C, *, initial_state=None):
        return mamba2.ssd(x, dt, A, B, C, initial_state=initial_state)

    assert verdict(narrow).status == PASSED
    found = verdict(narrow, PACKED)
    assert found.status == NOT_PROVIDED
    assert found.message == "it has no argument cu_seqlens"


def test_not_implemented_is_not_provided():
    def refuses(*_inputs, **_options):
        raise NotImplementedError("no groups")

    assert verdict(refuses).status == NOT_PROVIDED
    assert verdict(refuses).message == "no groups"


def test_inputs_are_positional_and_unused_options_absent():
    seen = {}

    def candidate(*inputs, **options):
        seen["inputs"], seen["options"] = len(inputs), set(options)

    call(candidate, OPS["mamba2.ssd"], PACKED.arguments(F32))
    assert seen == {"inputs": 5, "options": {"initial_state", "cu_seqlens"}}

    def narrowest(x, dt, A, B, C):
        return mamba2.ssd(x, dt, A, B, C)

    with pytest.raises(NotProvidedError, match="cu_seqlens"):
        call(narrowest, OPS["mamba2.ssd"], PACKED.arguments(F32))


def test_one_fault_does_not_stop_the_others():
    def fails_when_packed(*inputs, **options):
        if "cu_seqlens" in options:
            raise MemoryError("no")
        return mamba2.ssd(*inputs, **options)

    found = list(
        verify(Candidate("x", {"mamba2.ssd": fails_when_packed}), [PACKED, PLAIN], F32)
    )
    assert [v.status for v in found] == [FAILED, PASSED]


def test_targets():
    assert set(load("ssmref.golden").functions) == set(OPS)
    assert load("ssmref.golden.mamba2").functions == {
        "mamba2.ssd": mamba2.ssd,
        "mamba2.ssd_step": mamba2.ssd_step,
    }
    assert load("ssmref.golden.mamba2:ssd").functions == {"mamba2.ssd": mamba2.ssd}
    blelloch = "ssmref.golden.mamba1:selective_scan_blelloch"
    assert load(blelloch, ["mamba1.selective_scan"]).functions == {
        "mamba1.selective_scan": mamba1.selective_scan_blelloch
    }


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no.such.module", "cannot import no.such.module: ModuleNotFoundError"),
        ("json", "json offers no op"),
        ("json:nothing", "json has no function 'nothing'"),
        ("json:__name__", "json has no function '__name__'"),
        ("json:dumps", "'dumps' is not named like an op"),
        ("", "cannot import"),
        ("..", "cannot import"),
        (":ssd", "cannot import"),
    ],
)
def test_target_mistakes_are_explained(target, message):
    with pytest.raises(TargetError, match=message):
        load(target)


def test_unknown_peer_is_explained():
    with pytest.raises(TargetError, match=r"bundled adapters are: .*transformers"):
        load_peer("tensorflow")


def test_repeat_command_names_the_case():
    candidate = load("ssmref.golden.mamba2:ssd")
    found = verdict(_raises)
    assert repeat(candidate, found) == (
        "ssmref verify ssmref.golden.mamba2:ssd --op mamba2.ssd "
        f"--case {PLAIN.id} --dtype float32"
    )


PLACES = [
    (
        "mamba2.ssd/groups-inner/b2l37h6g2",
        "y",
        (1, 30, 4, 0),
        "batch 1, token 30, head 4, group 1, dimension 0",
    ),
    (
        "mamba2.ssd/packed/l140",
        "y",
        (0, 14, 2, 1),
        "batch 0, token 14, token 0 of sequence 3, head 2, dimension 1",
    ),
    (
        "mamba2.ssd/packed/l140",
        "final_state",
        (4, 0, 1, 2),
        "sequence 4, head 0, dimension 1, state 2",
    ),
    (
        "mamba1.selective_scan/groups/b2l19d6g2",
        "y",
        (0, 3, 3),
        "batch 0, token 3, channel 3, group 1",
    ),
    ("layers.causal_conv1d_step/plain/b2d5", "y", (1, 4), "batch 1, channel 4"),
    (
        "layers.causal_conv1d_step/several-tokens/b2l2",
        "y",
        (1, 0, 2),
        "batch 1, token 0, channel 2",
    ),
    (
        "layers.causal_conv1d/bias/l8",
        "final_state",
        (0, 2, 1),
        "sequence 0, buffer entry 2, channel 1",
    ),
]


@pytest.mark.parametrize(("case", "output", "index", "words"), PLACES)
def test_place_in_words(case, output, index, words):
    case = CASES[case]
    assert where(OPS[case.op], output, index, case.arguments(F32)) == words


@pytest.mark.parametrize("op", ["mamba3.siso", "mamba3.mimo_step", "mamba2.ssd_step"])
def test_every_output_has_words(op):
    case = cases_of(op)[-1]
    for name, output in truth(case, F32).outputs.items():
        words = where(OPS[op], name, (0,) * output.ndim, case.arguments(F32))
        assert words.count(" 0") >= output.ndim


def test_states_may_come_as_plain_tuples():
    case = cases_of("mamba3.siso")[1]

    def plain(*inputs, **options):
        y, state = mamba3.siso(*inputs, **options)
        return [y, list(state)]

    assert verdict(plain, case).status == PASSED
