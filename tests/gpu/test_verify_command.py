"""``ssmref verify ssmref.gpu``, as on a machine with a GPU."""

import pytest
from click.testing import CliRunner

from ssmref import cli
from ssmref.conformance.candidates import TargetError, load
from ssmref.conformance.precision import DTYPES
from ssmref.ops import OPS


def verify(*arguments):
    return CliRunner().invoke(cli.main, ["verify", *arguments])


def test_ops_of_the_package_are_found():
    found = load("ssmref.gpu").functions
    assert {"mamba1.selective_scan", "layers.rms_norm"} <= set(found)
    assert set(found) <= set(OPS)


@pytest.mark.parametrize("target", ["ssmref.gpu", "ssmref.gpu.layers:rms_norm"])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "float64"])
def test_command_judges_kernels(target, dtype):
    found = verify(target, "--op", "layers.rms_norm", "--dtype", dtype)
    assert found.exit_code == 0, found.output
    assert "layers.rms_norm" in found.output


def test_float64_is_not_provided():
    found = verify("ssmref.gpu", "--op", "layers.rms_norm", "--dtype", "float64")
    words = " ".join(found.output.split())
    assert found.exit_code == 3
    assert "x has dtype float64; it needs one of" in words
    assert "not provided" in words
    assert "FAILED" not in words


def test_wrong_kernels_fail(monkeypatch):
    from ssmref.gpu import layers

    right = layers.rms_norm
    monkeypatch.setattr(layers, "rms_norm", lambda x, weight: right(x, weight) * 2)
    found = verify("ssmref.gpu", "--op", "layers.rms_norm")
    assert found.exit_code == 1
    assert "FAILED" in found.output


def test_device_without_memory_for_arrays_is_a_mistake(cupy, monkeypatch):
    def no_device(*_):
        raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    monkeypatch.setattr(cupy, "asarray", no_device)
    with pytest.raises(TargetError, match=r"ssmref.gpu takes arrays of cupy: cudaErr"):
        load("ssmref.gpu")
