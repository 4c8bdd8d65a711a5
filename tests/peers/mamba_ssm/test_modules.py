"""The official Mamba-2 and Mamba-3 modules, in single precision, are our blocks."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from peers.mamba_ssm import official
from peers.requirement import require
from support.compare import error

from ssmref.golden import mamba3
from ssmref.models import blocks

pytestmark = pytest.mark.peers
torch = official.torch
modules2 = require("mamba_ssm.modules.mamba2", official.ENVIRONMENT)
modules3 = require("mamba_ssm.modules.mamba3", official.ENVIRONMENT)
# Of the largest output or state, in single precision; angles add up.
ROUNDING = 2e-5
WIDTH = 32

MAMBA2: dict[str, Any] = {"d_model": WIDTH, "d_state": 8, "headdim": 16}
OPTIONS2: dict[str, dict[str, Any]] = {
    "plain": {},
    "two groups": {"ngroups": 2},
    "gated slice": {"d_ssm": 32},
    "norm before gate": {"norm_before_gate": True, "ngroups": 2},
    "no norm": {"rmsnorm": False},
    "biases": {"bias": True},
    "no bias of the convolution": {"conv_bias": False},
    "D per dimension": {"D_has_hdim": True},
    "limits of dt": {"dt_limit": (0.2, 0.8)},
}
MAMBA3: dict[str, Any] = {"d_model": WIDTH, "d_state": 16, "headdim": 16}
OPTIONS3: dict[str, dict[str, Any]] = {
    "plain": {},
    "two groups": {"ngroups": 2},
    "all pairs rotate": {"rope_fraction": 1.0},
    "norm": {"is_outproj_norm": True},
    "floor of A": {"A_floor": 0.7},
}
MIMO3 = {"is_mimo": True, "mimo_rank": 3}


@pytest.fixture
def close(record_property):
    errors = []

    def close(found, golden):
        errors.append(error(found.numpy(), golden))
        record_property("error", max(errors))
        return errors[-1] <= ROUNDING

    return close


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch):
    """Convolutions fall back to PyTorch; Mamba-3 skips its rounding to bfloat16."""
    monkeypatch.setattr(modules2, "causal_conv1d_fn", None)
    monkeypatch.setattr(modules2, "causal_conv1d_update", None)
    monkeypatch.setattr(modules3, "mamba3_siso_combined", siso_combined)
    monkeypatch.setattr(modules3, "mamba3_mimo_combined", mimo_combined)


def siso_combined(
    *, chunk_size, Input_States, return_final_states, cu_seqlens, **named
):
    assert Input_States is cu_seqlens is None
    states = (None,) * 4
    return official.mamba3._Mamba3Function.apply(
        *named.values(), *states, None, chunk_size, return_final_states
    )


def mimo_combined(**named):
    """Golden stands in for a kernel in TileLang: this is about the module around it."""
    arrays = {n: v.numpy() for n, v in named.items() if isinstance(v, torch.Tensor)}
    DT, ADT, trap = (np.swapaxes(arrays[n], 1, 2) for n in ("DT", "ADT", "Trap"))
    y, _ = mamba3.mimo(
        arrays["V"],
        DT,
        ADT / DT,
        arrays["K"],
        arrays["Q"],
        trap,
        arrays["Angles"],
        B_bias=arrays["K_bias"],
        C_bias=arrays["Q_bias"],
        D=arrays["D"],
        z=arrays["Z"],
        mimo_x=arrays["MIMO_V"],
        mimo_z=arrays["MIMO_Z"],
        mimo_o=arrays["MIMO_Out"],
    )
    return torch.tensor(y)


def randomised(kind, **options):
    """Return a module with all parameters drawn anew, and these in double precision."""
    _ = torch.manual_seed(0)
    module = kind(layer_idx=0, chunk_size=16, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            _ = parameter.copy_(0.3 * torch.randn_like(parameter))
    state = module.state_dict().items()
    return module, {name: array.numpy().astype(np.float64) for name, array in state}


def tokens(length):
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, length, WIDTH)).astype(np.float32)


def cache():
    return SimpleNamespace(key_value_memory_dict={}, seqlen_offset=0)


def run(module, x, inference):
    with torch.no_grad():
        y = module(torch.tensor(x), inference_params=inference)
    inference.seqlen_offset += x.shape[1]
    return y


@pytest.mark.parametrize("options", OPTIONS2.values(), ids=OPTIONS2)
def test_mamba2(options, close):
    module, parameters = randomised(modules2.Mamba2, **MAMBA2, **options)
    x, inference = tokens(21), cache()
    y = run(module, x, inference)
    config = blocks.Mamba2Config(**MAMBA2, **options)
    golden, after = blocks.mamba2_block(parameters, x.astype(np.float64), config)
    assert close(y, golden)
    conv, ssm = inference.key_value_memory_dict[0]
    assert close(conv[:, :, 1:].mT, after.conv)
    assert close(ssm, after.ssm)


@pytest.mark.parametrize(
    "name", ["two groups", "gated slice", "norm before gate", "no norm"]
)
def test_mamba2_decodes(name, close):
    options = OPTIONS2[name]
    module, parameters = randomised(modules2.Mamba2, **MAMBA2, **options)
    x, inference = tokens(10), cache()
    config = blocks.Mamba2Config(**MAMBA2, **options)
    _ = run(module, x[:, :7], inference)
    _, after = blocks.mamba2_block(parameters, x[:, :7].astype(np.float64), config)
    for t in range(7, 10):
        y = run(module, x[:, t : t + 1], inference)
        golden, after = blocks.mamba2_block_step(
            parameters, x[:, t].astype(np.float64), config, after
        )
        assert close(y[:, 0], golden)
    assert close(inference.key_value_memory_dict[0][1], after.ssm)


def test_mamba2_decodes_without_its_limits_of_dt():
    limited: dict[str, Any] = MAMBA2 | {"dt_limit": (0.2, 0.8)}
    module, parameters = randomised(modules2.Mamba2, **limited)
    x, inference = tokens(8), cache()
    _ = run(module, x[:, :7], inference)
    y = run(module, x[:, 7:], inference)[:, 0]
    config = blocks.Mamba2Config(**limited)
    x = x.astype(np.float64)
    _, after = blocks.mamba2_block(parameters, x[:, :7], config)
    golden, free = (
        blocks.mamba2_block_step(parameters, x[:, 7], c, after)[0]
        for c in (config, blocks.Mamba2Config(**MAMBA2))
    )
    assert error(y.numpy(), golden) > 1e-2
    assert error(y.numpy(), free) < ROUNDING


def test_mamba2_cannot_decode_with_a_skip_per_dimension():
    module, _ = randomised(modules2.Mamba2, D_has_hdim=True, **MAMBA2)
    inference = cache()
    _ = run(module, tokens(3), inference)
    with pytest.raises(AssertionError):
        run(module, tokens(1), inference)


def ours3(parameters, x, options):
    config = blocks.Mamba3Config(**MAMBA3, **options, a_activation="softplus")
    return blocks.mamba3_block(parameters, x.astype(np.float64), config)


@pytest.mark.parametrize("options", OPTIONS3.values(), ids=OPTIONS3)
def test_mamba3(options, close):
    module, parameters = randomised(modules3.Mamba3, **MAMBA3, **options)
    x, inference = tokens(21), cache()
    y = run(module, x, inference)
    golden, after = ours3(parameters, x, options)
    assert close(y, golden)
    angle, ssm, k, v = inference.key_value_memory_dict[0]
    assert close(torch.cos(angle), np.cos(after.ssm.angle))
    assert close(torch.sin(angle), np.sin(after.ssm.angle))
    for found, part in zip((ssm, k, v), after.ssm[1:], strict=True):
        assert close(found, part)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_mamba3_around_mimo(groups, close):
    options = MIMO3 | {"ngroups": groups}
    module, parameters = randomised(modules3.Mamba3, **MAMBA3, **options)
    x = tokens(9)
    with torch.no_grad():
        y = module(torch.tensor(x))
    assert close(y, ours3(parameters, x, options)[0])
