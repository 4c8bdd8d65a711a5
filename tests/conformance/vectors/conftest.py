"""A small set of vectors, written once, and outputs of golden for it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ssmref.commands.vectors import vectors as command
from ssmref.conformance.catalogue import CASES
from ssmref.conformance.outputs import flatten
from ssmref.conformance.vectors import npy
from ssmref.conformance.vectors.export import write_set
from ssmref.conformance.vectors.stored import open_set, read_case
from ssmref.ops import OPS, implementation

F32 = np.dtype(np.float32)
IDS = (
    "layers.causal_conv1d/everything/b2l33d7",
    "mamba1.selective_scan/complex-A/b2l21g2",
    "mamba2.ssd/packed/l140",
    "mamba3.siso/initial-state/b2l40",
    "mamba3.siso_step/slots/b3",
)


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("vectors")
    jobs = [(CASES[i], F32) for i in IDS]
    assert [written for *_, written in write_set(root, jobs)] == [True] * len(IDS)
    return root


@pytest.fixture(scope="session")
def answered(exported, tmp_path_factory) -> Path:
    outputs = tmp_path_factory.mktemp("outputs")
    for reference in open_set(exported):
        case, truth = read_case(exported, reference)
        golden = implementation(OPS[case.op], "ssmref.golden")
        found = flatten(OPS[case.op], golden(**truth.arguments))
        folder = outputs / reference.id / reference.dtype
        folder.mkdir(parents=True)
        for name, array in found.items():
            folder.joinpath(f"{name}.npy").write_bytes(npy.to_bytes(array))
    return outputs


@pytest.fixture
def vectors(exported, tmp_path) -> Path:
    """The set, to be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "vectors"))


@pytest.fixture
def outputs(answered, tmp_path) -> Path:
    """Right outputs, to be damaged."""
    return Path(shutil.copytree(answered, tmp_path / "outputs"))


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory) -> Path:
    """The frozen set, as a user gets it."""
    root = tmp_path_factory.mktemp("frozen") / "set"
    result = CliRunner().invoke(command, ["export", str(root), "--frozen"])
    assert result.exit_code == 0, result.output
    return root
