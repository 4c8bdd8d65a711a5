"""64K tokens for the ops that have no such case in the suite: counters, offsets."""

import numpy as np
import pytest
from emulated import on_numpy
from judging import DTYPES, assert_right
from ssmref.gpu import s4
from test_s4 import EPS, inputs, wide

from ssmref.bench.inputs import INPUTS, Numbers
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.scales.s4 import s4 as s4_scale
from ssmref.conformance.verdict import LIMIT
from ssmref.golden import s4 as golden_s4

pytestmark = pytest.mark.thorough

# A prime just above 2^16, as in the suite's cases.
MANY = 65537
SIZES = {
    "layers.causal_conv1d": {"length": MANY, "channels": 3, "width": 4},
    "layers.rms_norm": {"length": MANY, "channels": 5},
    "layers.rms_norm_gated": {"length": MANY, "channels": 5},
    "mamba3.mimo": {
        **{"length": MANY, "heads": 1, "headdim": 1, "state": 2, "angles": 1},
        "ranks": 2,
    },
    "s4d.s4d": {"length": MANY, "channels": 2, "state": 2},
    "attention.attention_step": {"heads": 1, "headdim": 8, "cached": MANY},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", SIZES)
def test_many_tokens(op, dtype):
    assert not cases_of(op, "long"), "the suite has one"
    call = INPUTS[op](Numbers("many tokens", np.dtype(np.float64)), **SIZES[op])
    assert_right(op, call, dtype)


def test_the_end_of_many_tokens_of_s4():
    """Its scale is quadratic in length; states have forgotten what was before."""
    call = inputs("s4.s4", MANY, batch=1, channels=2, state=2)
    end, both = 300, wide(call)
    before = {**both, "u": both["u"][:, :-end]}
    _, state = golden_s4.s4(**before)
    last = {**both, "u": both["u"][:, -end:], "initial_state": state}
    found, expected = on_numpy(s4.s4)(**call), golden_s4.s4(**last)
    scales = s4_scale(last)
    ratios = [
        np.max(np.abs(a - b) / (EPS * s))
        for a, b, s in zip(
            (found[0][:, -end // 2 :], found[1]),
            (expected[0][:, -end // 2 :], expected[1]),
            (scales[0][:, -end // 2 :], scales[1]),
            strict=True,
        )
    ]
    assert max(ratios) <= LIMIT
