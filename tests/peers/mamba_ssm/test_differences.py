"""Where mamba_ssm is not golden: each test fails once it is.

A difference is asserted to be there, and to be the one that is described: golden with
the deviation built in agrees with the library.
"""

import numpy as np
import pytest
from peers.mamba_ssm import official
from support.compare import assert_close, error
from support.mamba2_inputs import part, ssd_inputs

from ssmref.conformance.precision import rounded
from ssmref.golden import mamba2

pytestmark = pytest.mark.peers
torch = official.torch
SINGLE = np.dtype(np.float32)
ROUNDING = 2e-6


@pytest.fixture
def call():
    return rounded(ssd_inputs(np.random.default_rng(0), batch=1, length=40), SINGLE)


@pytest.fixture
def pack(call):
    """Three sequences, all of the first in the first chunk of 16."""
    bounds = np.array([0, 10, 27, 40])
    ids = np.repeat(np.arange(3), np.diff(bounds))[None]
    options = {
        "chunk_size": 16,
        "cu_seqlens": torch.tensor(bounds, dtype=torch.int32),
        "return_varlen_states": True,
        "return_final_states": True,
    }
    ids = torch.tensor(ids, dtype=torch.int32)
    return call | {"cu_seqlens": bounds}, options, ids


def chunk_scan(call, **options):
    arrays = (torch.tensor(call[name]) for name in ("x", "dt", "A", "B", "C"))
    results = official.combined.mamba_chunk_scan_combined(*arrays, **options)
    return [result.numpy() for result in results]


def test_small_steps_are_lost_in_softplus(call):
    call["dt"] = np.full_like(call["dt"], -15)
    theirs = official.kernels.ssd(**call, dt_softplus=True)
    golden = mamba2.ssd(**call, dt_softplus=True)
    assert error(theirs[0], golden[0]) > 0.1
    call["dt"] = np.log(np.exp(call["dt"]) + 1)
    assert_close(theirs, mamba2.ssd(**call), ROUNDING)


def test_packed_sequences_need_ids_as_well_as_bounds(pack):
    call, options, ids = pack
    golden, states = mamba2.ssd(**call)
    y, _, varlen_states = chunk_scan(call, **options, seq_idx=ids)
    assert_close((y, varlen_states), (golden, states), ROUNDING)
    y, *_ = chunk_scan(call, **options)
    assert error(y, golden) > 0.1
    assert_close(y, mamba2.ssd(**call | {"cu_seqlens": None})[0], ROUNDING)


def test_only_the_first_packed_sequence_sees_an_initial_state(pack):
    call, options, ids = pack
    start = np.full((3, 6, 5, 4), 10, SINGLE)
    options["initial_states"] = torch.tensor(start[:1])
    y, _, states = chunk_scan(call, **options, seq_idx=ids)
    assert error(y, mamba2.ssd(**call, initial_state=start)[0]) > 0.1
    start[1:] = 0
    golden, started = mamba2.ssd(**call, initial_state=start)
    assert_close(y, golden, ROUNDING)
    # And its final state, where it ends in the first chunk, does not contain it.
    _, unstarted = mamba2.ssd(**call)
    assert error(states[0], started[0]) > 0.1
    assert_close(states, unstarted, ROUNDING)


@pytest.mark.parametrize(
    ("without", "raised"), [("D", TypeError), ("dt_bias", AttributeError)]
)
def test_the_step_needs_a_skip_and_a_bias(call, without, raised):
    step = {name: torch.tensor(array) for name, array in part(call, 0).items()}
    x, dt, A, B, C = (step[name] for name in ("x", "dt", "A", "B", "C"))
    state, zeros = torch.zeros(*x.shape, B.shape[2]), torch.zeros(x.shape[1:])
    options = {"D": zeros, "dt_bias": zeros}
    spread = dt[..., None].expand(x.shape), A[:, None, None].expand(state.shape[1:])
    update = official.update.selective_state_update
    assert update(state, x, *spread, B, C, **options).shape == x.shape
    del options[without]
    with pytest.raises(raised):
        update(state, x, *spread, B, C, **options)


def test_the_reference_of_the_chunk_scan_needs_whole_chunks(call):
    with pytest.raises(AssertionError):
        official.ssd_chunk_scan_combined_ref(**call, chunk_size=16)
