"""The official references in PyTorch, run in double precision, are golden."""

import numpy as np
import pytest
from peers.mamba_ssm import official
from support.compare import assert_close
from support.mamba1_inputs import KINDS, selective_scan_inputs
from support.mamba3_inputs import mimo_example, step_of

from ssmref.conformance.catalogue import cases_of
from ssmref.golden import layers, mamba1, mamba2, mamba3

pytestmark = pytest.mark.peers
torch, references = official.torch, official.references


@pytest.fixture(autouse=True)
def double_precision(monkeypatch):
    """They compute in float32 by ``.float()``; here that is float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(references, "REFUSED", frozenset())


def each_call(op, *lacks):
    """Parametrise over the cases of `op` that use none of the arguments in `lacks`.

    No reference takes empty sequences; complex numbers have their own test. Where sums
    of dt A reach 1e10, their differences lose the digits that 1e-12 asks for; the
    verdict on the references, by ratio, has that case.
    """
    calls = [(case.id, case.arguments(np.dtype(np.float64))) for case in cases_of(op)]
    offered = [
        pytest.param(call, id=name)
        for name, call in calls
        if not set(lacks) & set(call)
        and next(iter(call.values())).size
        and not np.iscomplexobj(call.get("A", 0))
        and "/huge-steps/" not in name
    ]
    assert len(offered) > 5
    return pytest.mark.parametrize("call", offered)


@each_call("mamba1.selective_scan", "initial_state", "cu_seqlens")
def test_selective_scan(call):
    assert_close(references.selective_scan(**call), mamba1.selective_scan(**call))


@pytest.mark.parametrize("complex_A", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("B", KINDS)
@pytest.mark.parametrize("C", KINDS)
def test_selective_scan_of_every_kind(B, C, complex_A):
    call = selective_scan_inputs(
        np.random.default_rng(0), B=B, C=C, complex_A=complex_A, initial_state=False
    )
    assert_close(references.selective_scan(**call), mamba1.selective_scan(**call))


@each_call("mamba1.selective_scan_step", "slots")
def test_selective_scan_step(call):
    theirs = references.selective_scan_step(**call)
    assert_close(theirs, mamba1.selective_scan_step(**call))


@each_call("mamba2.ssd_step", "slots", "dt_limit")
def test_ssd_step(call):
    theirs = references.ssd_step(**call)
    assert_close(theirs, mamba2.ssd_step(**call))


@each_call("mamba2.ssd", "cu_seqlens", "D", "z", "dt_softplus", "dt_limit")
@pytest.mark.parametrize("chunk_size", [1, 16, 64])
def test_ssd_minimal(call, chunk_size):
    theirs = references.ssd(**call, chunk_size=chunk_size)
    assert_close(theirs, mamba2.ssd(**call))


@each_call("mamba2.ssd", "cu_seqlens", "initial_state", "dt_limit")
def test_ssd_chunk_scan_combined(call):
    length = call["x"].shape[1]
    chunk_size = max(q for q in range(1, 65) if length % q == 0)
    theirs = official.ssd_chunk_scan_combined_ref(**call, chunk_size=chunk_size)
    assert_close(theirs, mamba2.ssd(**call)[0])


@each_call("layers.causal_conv1d", "cu_seqlens")
def test_causal_conv1d(call):
    assert_close(references.causal_conv1d(**call), layers.causal_conv1d(**call))


@each_call("layers.causal_conv1d_step", "slots")
def test_causal_conv1d_step(call):
    theirs = references.causal_conv1d_step(**call)
    assert_close(theirs, layers.causal_conv1d_step(**call))


@pytest.mark.parametrize(("tokens", "window"), [(1, 3), (3, 3), (1, 4), (4, 4), (5, 7)])
def test_causal_conv1d_step_circular(tokens, window):
    rng = np.random.default_rng(window)
    call = {
        "x": rng.standard_normal((3, tokens, 5)),
        "weight": rng.standard_normal((5, 4)),
        "state": rng.standard_normal((3, window, 5)),
        "position": np.array([0, 2, 11]),
        "bias": rng.standard_normal(5),
        "activation": "silu",
    }
    theirs = references.causal_conv1d_step_circular(**call)
    assert_close(theirs, layers.causal_conv1d_step_circular(**call))


def test_packed_causal_conv1d():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((1, 17, 5)), rng.standard_normal((5, 4))
    bounds = np.array([0, 6, 7, 9, 17])
    theirs = references.causal_conv1d(x, weight, cu_seqlens=bounds)
    assert_close(theirs, layers.causal_conv1d(x, weight, cu_seqlens=bounds))


@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
def test_rotation_of_mamba3_keys(pairing):
    rng = np.random.default_rng(0)
    call = step_of(mimo_example(rng, ranks=2)) | {"pairing": pairing}
    _, after = mamba3.mimo_step(**call)
    C, B = (np.repeat(call[name], 2, axis=2) for name in "CB")
    arrays = (C, B, call["state"].angle, call["angles"], call["dt"])
    biases = (call["C_bias"], call["B_bias"])
    _, k, angle = official.rotary.apply_rotary_qk_inference_reference(
        *map(torch.tensor, arrays),
        *(torch.tensor(bias.swapaxes(0, 1)) for bias in biases),
        rotate_pairwise=pairing == "pairwise",
    )
    assert_close(k.numpy(), after.k)
    assert_close(np.exp(1j * angle.numpy()), np.exp(1j * after.angle))


@pytest.mark.parametrize("gate", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("group_size", [None, 3])
@pytest.mark.parametrize("norm_before_gate", [False, True])
def test_rms_norm_gated(gate, group_size, norm_before_gate):
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 2, 5, 12))
    weight = rng.standard_normal(12)
    options = {
        "eps": 1e-3,
        "group_size": group_size,
        "norm_before_gate": norm_before_gate,
    }
    arrays = (x, weight, z if gate else None)
    theirs = references.rms_norm_gated(*arrays, **options)
    assert_close(theirs, layers.rms_norm_gated(*arrays, **options))


def test_norms():
    rng = np.random.default_rng(0)
    x = 3 + rng.standard_normal((2, 5, 12))
    weight, bias = rng.standard_normal((2, 12))
    rms = references.rms_norm(x, weight, eps=1e-3)
    assert_close(rms, layers.rms_norm(x, weight, eps=1e-3))
    layer = references.layer_norm(x, weight, bias, eps=1e-3)
    assert_close(layer, layers.layer_norm(x, weight, bias, eps=1e-3))
