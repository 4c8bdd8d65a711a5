"""The parallel scan and the selective scan of mambapy, in double precision."""

import numpy as np
import pytest
from peers.requirement import require
from support.compare import assert_close
from support.mamba1_inputs import selective_scan_inputs

from ssmref.golden import layers, mamba1, scan

torch = require("torch", "peers")
pscan = require("mambapy.pscan", "peers").pscan
mamba = require("mambapy.mamba", "peers")

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("length", [1, 2, 3, 5, 16, 37])
def test_pscan_is_linear_scan(length):
    rng = np.random.default_rng(length)
    a = rng.uniform(0.2, 1, (2, length, 3, 4))
    b = rng.standard_normal(a.shape)
    found = pscan(torch.tensor(a), torch.tensor(b)).numpy()
    assert_close(found, scan.linear_scan(a, b))


@pytest.mark.parametrize("method", ["selective_scan", "selective_scan_seq"])
def test_selective_scan(method):
    call = selective_scan_inputs(
        np.random.default_rng(0), length=37, B="varying", C="varying"
    )
    call = {name: call[name] for name in ("u", "dt", "A", "B", "C", "D")}
    call["dt"] = layers.softplus(call["dt"])
    config = mamba.MambaConfig(d_model=3, n_layers=1, d_state=4, expand_factor=2)
    theirs = getattr(mamba.MambaBlock(config).double(), method)
    y = theirs(*map(torch.tensor, call.values())).detach().numpy()
    assert_close(y, mamba1.selective_scan(**call)[0])
