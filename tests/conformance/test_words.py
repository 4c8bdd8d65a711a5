"""Every axis of every output has a word that a person understands."""

import numpy as np
import pytest

from ssmref.conformance.catalogue import CASES, cases_of
from ssmref.conformance.truth import truth
from ssmref.conformance.words import where
from ssmref.ops import OPS

F32 = np.dtype(np.float32)


@pytest.mark.parametrize("op", OPS)
def test_every_axis_has_a_number_and_a_word(op):
    cases = cases_of(op)
    case = next((c for c in cases if c.family == "everything"), cases[-1])
    for name, output in truth(case, F32).outputs.items():
        index = tuple(size - 1 for size in output.shape)
        words = where(OPS[op], name, index, case.arguments(F32)).split(", ")
        nouns, numbers = zip(*(word.rsplit(" ", 1) for word in words), strict=True)
        assert all(noun.replace(" ", "").isalpha() for noun in nouns), words
        remaining = iter(numbers)  # a place may also say which group it is in
        assert all(str(number) in remaining for number in index), words


PLACES = [
    ("layers.rms_norm/plain/l5d7", "y", (1, 4, 6), "batch 1, token 4, channel 6"),
    ("layers.rms_norm/no-length/b3", "y", (2, 5), "batch 2, channel 5"),
    ("s5.s5/plain/b2l37i4o7n5", "y", (1, 3, 6), "batch 1, token 3, output 6"),
    (
        "h3.h3/everything/b2l45h2p3n5",
        "final_state.ssm",
        (1, 0, 2, 1, 4),
        "row 1, head 0, dimension 2, dimension 1, state 4",
    ),
    (
        "attention.attention/cached/b2l9c14",
        "final_state.k",
        (1, 20, 0, 3),
        "batch 1, cached token 20, key head 0, dimension 3",
    ),
]


@pytest.mark.parametrize(("case", "output", "index", "words"), PLACES)
def test_place_in_words(case, output, index, words):
    case = CASES[case]
    assert where(OPS[case.op], output, index, case.arguments(F32)) == words
