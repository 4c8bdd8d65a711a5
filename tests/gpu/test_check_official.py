"""The official kernels in the check: their layouts, and what is said without them.

Their packages are not here: functions of their signatures compute by golden.
"""

from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ssmref.gpu.check import contenders, official
from ssmref.gpu.check.grid import GRID

from ssmref.bench.contender import UnavailableError
from ssmref.bench.verification import check_small
from ssmref.golden import layers, mamba1, mamba2

torch: Any = import_module("torch") if find_spec("torch") else None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


@pytest.fixture
def packages(monkeypatch):
    """Stand-ins for the official packages, by their signatures, over golden."""

    def tensor(array, *swapped):
        if array is None:
            return None
        made = torch.from_numpy(array.get())
        return made.transpose(*swapped).contiguous() if swapped else made

    def numbers(*tensors) -> list[Any]:
        return [None if t is None else t.numpy() for t in tensors]

    def selective_scan_fn(u, delta, A, B, C, D=None, z=None, **options):
        arrays = [np.swapaxes(a, 1, 2) for a in numbers(u, delta, B, C, z)]
        u, dt, B, C, z = arrays
        A, D, bias = numbers(A, D, options["delta_bias"])
        softplus = options["delta_softplus"]
        y, state = mamba1.selective_scan(
            u, dt, A, B, C, D=D, z=z, dt_bias=bias, dt_softplus=softplus
        )
        assert options["return_last_state"]
        return torch.from_numpy(y).movedim(1, -1), torch.from_numpy(state)

    def selective_state_update(state, x, dt, A, B, C, dt_softplus=False, **options):
        golden = mamba1.selective_scan_step if x.ndim == 2 else mamba2.ssd_step
        x, dt, A, B, C, *rest = numbers(x, dt, A, B, C, *options.values())
        named = dict(zip(options, rest, strict=True))
        if x.ndim == 3:  # heads share what is expanded
            dt, A = dt[..., 0], A[:, 0, 0]
            named = {name: v[:, 0] for name, v in named.items()}
        y, new = golden(x, dt, A, B, C, state.numpy(), **named, dt_softplus=dt_softplus)
        state[:] = torch.from_numpy(new)
        return torch.from_numpy(y)

    def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, **options):
        assert options.pop("return_final_states")
        softplus = options.pop("dt_softplus")
        assert chunk_size == 256
        named = dict(zip(options, numbers(*options.values()), strict=True))
        y, state = mamba2.ssd(*numbers(x, dt, A, B, C), **named, dt_softplus=softplus)
        return torch.from_numpy(y), torch.from_numpy(state)

    def causal_conv1d_fn(x, weight, bias, return_final_states, activation):
        x, weight, bias = numbers(x, weight, bias)
        y, state = layers.causal_conv1d(
            np.swapaxes(x, 1, 2), weight, bias=bias, activation=activation
        )
        assert return_final_states
        return tuple(torch.from_numpy(a).movedim(1, -1) for a in (y, state))

    def causal_conv1d_update(x, state, weight, bias, activation):
        before = np.swapaxes(state.numpy(), 1, 2)
        x, weight, bias = numbers(x, weight, bias)
        y, new = layers.causal_conv1d_step(
            x, weight, before, bias=bias, activation=activation
        )
        state[:] = torch.from_numpy(new).movedim(1, -1)
        return torch.from_numpy(y)

    def scaled_dot_product_attention(*tensors, **options):
        return torch.nn.functional.scaled_dot_product_attention(*tensors, **options)

    offered = SimpleNamespace(**{k: v for k, v in locals().items() if "_" in k})
    monkeypatch.setattr(official, "_found", lambda _: offered)
    monkeypatch.setattr(official, "_tensor", tensor)
    return offered


@needs_torch
@pytest.mark.parametrize(
    "name",
    [
        "mamba1.selective_scan",
        "mamba1.selective_scan_step",
        "mamba2.ssd",
        "mamba2.ssd_step",
        "layers.causal_conv1d",
        "layers.causal_conv1d_step",
        "attention.attention",
        "attention.attention_step",
    ],
)
@pytest.mark.usefixtures("packages")
def test_official_kernels_get_their_layouts(name):
    point = next(p for own in GRID.values() for p in own if p.workload.op == name)
    theirs = contenders.contenders(name, np.dtype(np.float32))[-1]
    assert not theirs.name.startswith("ssmref")
    check = check_small(theirs, point.small_case(), np.dtype(np.float32))
    assert check.passed, check.problem


def test_packages_that_are_missing_are_not_available(monkeypatch):
    monkeypatch.setattr(official, "find_spec", lambda _: None)
    official._found.cache_clear()
    for op, offered in official.OFFICIAL.items():
        assert op.count(".") == 1
        for make in offered.values():
            with pytest.raises(UnavailableError, match="torch is not installed"):
                _ = make({})
