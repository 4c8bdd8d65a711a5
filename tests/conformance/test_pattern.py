"""Errors are described by where they are and how they go on."""

import numpy as np
import pytest

from ssmref.conformance.catalogue import CASES
from ssmref.conformance.pattern import axis_names, pattern
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import GRADES, Finding, Verdict, judge

F32 = np.dtype(np.float32)
RAGGED = "mamba2.ssd/ragged/b2l331h4"
PACKED = "mamba2.ssd/packed/l140"
GROUPS = "mamba2.ssd/groups-inner/b2l37h6g2"
CHUNKS = "mamba2.ssd/chunks/l256h2"
PLAIN = "mamba2.ssd/plain/b2l37h3p5n4"
SLOTS = "mamba2.ssd_step/slots/b3"


def single(array):
    return array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)


def seen(case, change, output="y"):
    """Return the pattern of right outputs after a change of one of them."""
    expected = truth(CASES[case], F32)
    outputs = {n: single(v) for n, v in expected.outputs.items()}
    outputs[output] = single(change(outputs[output].copy()))
    verdict = judge(CASES[case], expected, outputs)
    return pattern(verdict, expected, outputs)


def added(*index):
    """Return the change that adds one, at these indices."""

    def change(v):
        v[index] += 1
        return v

    return change


def scaled(factor, *index):
    def change(v):
        v[index or ...] *= factor
        return v

    return change


def late(k):
    def change(v):
        return np.concatenate([np.zeros_like(v[:, :k]), v[:, :-k]], axis=1)

    return change


def early(v):
    return np.concatenate([v[:, 1:], np.zeros_like(v[:, :1])], axis=1)


def growing(v):
    return v * (1 + 1e-4 * np.exp(np.arange(v.shape[1]) / 20))[:, None, None]


def decaying(v):
    return v + np.exp(-np.arange(v.shape[1]) / 20)[:, None, None]


def put(value, *index):
    def change(v):
        v[index or ...] = value
        return v

    return change


every, tail = slice(None), slice(None, None, 64)
SENTENCES = {
    "one element": (PLAIN, added(0, 3, 1, 2), "one single element is wrong, of 1110"),
    "all NaN": (PLAIN, put(np.nan), "everything is NaN"),
    "some NaN": (PLAIN, put(np.nan, 1, 5), "NaN in 15 of 1110 elements"),
    "all zero": (PLAIN, put(0), "everything is 0: was the result written?"),
    "zero": (PLAIN, put(0, 1), "zero where it should not be"),
    "sign": (PLAIN, scaled(-1), "the sign is flipped"),
    "factor": (PLAIN, scaled(2), "2 times what it should be, in every wrong element"),
    "factor in a head": (
        PLAIN,
        scaled(0.5, every, every, 1),
        "0.5 times what it should",
    ),
    "late": (PLAIN, late(1), "1 token too late, right otherwise"),
    "later": (PLAIN, late(3), "3 tokens too late, right otherwise"),
    "early": (PLAIN, early, "1 token too early, right otherwise"),
    "swapped": (
        PLAIN,
        lambda v: v.swapaxes(2, 3).reshape(v.shape),
        "heads and dimensi",
    ),
    "batch row": (PLAIN, added(1), "only rows of the batch 1 of 2"),
    "heads": (GROUPS, added(every, every, [1, 2]), "only heads 1-2 of 6 (in 2 groups"),
    "group": (
        GROUPS,
        added(every, every, slice(3, 6)),
        "heads 3-5 of 6 (all of group 1)",
    ),
    "each group": (GROUPS, added(every, every, [1, 4]), "1, 4 of 6 (the same in every"),
    "from a chunk": (
        RAGGED,
        added(0, slice(64, 331)),
        "64 to 330 of 331: 64 is 1 x 64, a",
    ),
    "large chunk": (
        RAGGED,
        added(0, slice(256, 300)),
        "256 to 299 of 331: 256 is 1 x 256",
    ),
    "small chunk": (RAGGED, added(0, slice(48, 331)), "48 to 330 of 331: 48 is 3 x 16"),
    "partial chunk": (RAGGED, added(0, slice(320, 331)), "last, partial chunk begins"),
    "off any chunk": (RAGGED, added(0, slice(5, 9)), "wrong from token 5 to 8 of 331"),
    "all tokens": (RAGGED, added(0), "all 331 tokens are wrong"),
    "one token": (RAGGED, added(0, 7), "only token 7 of 331 is wrong"),
    "last token": (PLAIN, added(0, 36), "only token 36 of 37 is wrong: the last token"),
    "sequence": (PACKED, added(0, slice(14, 84)), "only sequences 3 of 5 are wrong"),
    "from its start": (
        PACKED,
        added(0, slice(14, 84)),
        "wrong from the first token of",
    ),
    "inside a sequence": (
        PACKED,
        added(0, slice(20, 84)),
        "from token 6 of sequence 3",
    ),
    "periodic": (CHUNKS, added(0, tail), "wrong tokens repeat every 64 tokens"),
    "grows": (CHUNKS, growing, "the error grows along time"),
    "decays": (CHUNKS, decaying, "the error decays along time"),
}


@pytest.mark.parametrize(("case", "change", "words"), SENTENCES.values(), ids=SENTENCES)
def test_error_in_words(case, change, words):
    sentences = seen(case, change)
    assert any(words in sentence for sentence in sentences), sentences


def test_right_outputs_are_named_too():
    assert seen(PLAIN, added(0))[0] == "wrong: y; right: final_state"
    assert seen(PLAIN, added(0), "final_state")[0] == "wrong: final_state; right: y"


def test_state_has_its_own_axes():
    sentences = seen(SLOTS, added(4, 1), "final_state")
    assert "final_state: only slots 4 of 6, heads 1 of 3" in sentences


@pytest.mark.parametrize("change", [lambda v: v, scaled(1 + 1e-7)])
def test_right_outputs_have_no_pattern(change):
    assert seen(PLAIN, change) == ()


def test_noise_is_not_called_a_factor_or_a_shift():
    rng = np.random.default_rng(3)
    sentences = seen(PLAIN, lambda v: v * (1 + 0.01 * rng.standard_normal(v.shape)))
    words = " ".join(sentences)
    assert "all 37 tokens are wrong" in words
    for wrong in ("times", "late", "early", "swapped", "sign", "repeat", "grows"):
        assert wrong not in words


def test_a_chunk_boundary_is_said_only_where_there_is_one():
    assert "boundary" not in " ".join(seen(RAGGED, added(0, slice(65, 331))))
    assert "boundary" in " ".join(seen(RAGGED, added(0, slice(64, 331))))


@pytest.mark.parametrize("case", sorted({c.op: c.id for c in CASES.values()}.values()))
def test_every_op_has_words(case):
    expected = truth(CASES[case], F32)
    name = next(iter(expected.outputs))
    sentences = seen(case, lambda v: v * 1.5 + 1, name)
    assert any(sentence.startswith(f"{name}: ") for sentence in sentences)


def test_axes_that_stand_for_several_are_spelled_out():
    assert axis_names(("batch", "*rest"), 2) == ("batch", "channels")
    assert axis_names(("batch", "*rest"), 3) == ("batch", "length", "channels")
    assert axis_names(("*batch", "channels"), 3) == ("batch", "length", "channels")
    assert axis_names(("batch", "heads"), 2) == ("batch", "heads")


@pytest.mark.parametrize(
    ("ratio", "grade"),
    [(0.0, "A"), (1.0, "A"), (1.1, "B"), (4.0, "B"), (4.1, "C"), (30.0, "C")],
)
def test_grade_of_a_pass(ratio, grade):
    finding = Finding("y", True, ratio)
    assert Verdict(CASES[PLAIN], "float32", "passed", (finding,)).grade == grade


def test_grade_of_what_did_not_pass():
    far = (Finding("y", False, 31.0),)
    assert Verdict(CASES[PLAIN], "float32", "failed", far).grade == "F"
    assert Verdict(CASES[PLAIN], "float32", "expected failure", far).grade == "F"
    assert Verdict(CASES[PLAIN], "float32", "failed", message="raised").grade == "F"
    assert Verdict(CASES[PLAIN], "float32", "not provided").grade == "-"
    assert GRADES["C"] == 30
