"""The system of s5-pytorch, a port of the official S5, in double precision."""

import numpy as np
import pytest
from peers.requirement import require
from support.compare import assert_close
from support.s5_inputs import s5_example, s5_inputs

from ssmref.golden import s5

torch = require("torch", "peers")
model = require("s5.s5_model", "peers")

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("method", ["zoh", "bilinear"])
@pytest.mark.parametrize("state", [False, True], ids=["zero", "state"])
def test_apply_ssm(method, state):
    call = s5_inputs(np.random.default_rng(0), length=21, inputs=3, outputs=3)
    if not state:
        call["initial_state"] = np.zeros_like(call["initial_state"])
    golden = s5.s5(**call, method=method, conj_sym=False)
    assert_close(apply_ssm(**call, method=method), golden)


@pytest.mark.parametrize("method", ["zoh", "bilinear"])
def test_apply_ssm_in_both_directions(method):
    call = s5_example(np.random.default_rng(0)) | {"method": method}
    del call["initial_state"]  # theirs would start the backward direction too
    y, states = apply_ssm(**call, initial_state=None)
    forward = states[:, : len(call["A"])]
    assert_close((y, forward), s5.s5(**call))


def apply_ssm(
    u, dt, A, B, C, *, D, initial_state, method, C_backward=None, conj_sym=False
):
    """Run theirs on each row of the batch."""
    assert not conj_sym
    discretize = getattr(model, f"discretize_{method}")
    discrete = discretize(*map(torch.tensor, (A, B, dt)))
    both = C_backward is not None
    C = np.concatenate([C, C_backward], axis=1) if both else C
    starts = [None] * len(u) if initial_state is None else initial_state
    rows = [
        model.apply_ssm(
            *discrete,
            *map(torch.tensor, (C, D, row)),
            state=None if start is None else torch.tensor(start),
            bidir=both,
        )
        for row, start in zip(u, starts, strict=True)
    ]
    y, state = (torch.stack(parts).numpy() for parts in zip(*rows, strict=True))
    return y, state
