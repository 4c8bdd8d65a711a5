"""One case as a folder, and the outputs that a candidate left in another."""

from pathlib import Path

import numpy as np

from ...ops import OPS
from ..cases.case import Case
from ..truth import Truth
from . import npy
from .manifest import case_manifest, case_text, golden_manifest, json_bytes
from .parts import arrays, returned_dtype


def place(case_id: str, dtype: str) -> str:
    """Return the folder of a case within a set: ``op/family/sizes/dtype``."""
    return f"{case_id}/{dtype}"


def write_inputs(folder: Path, case: Case, truth: Truth) -> None:
    """Write what a candidate needs: manifest.json, case.txt and in/, no golden."""
    document = case_manifest(case, truth)
    _write_arrays(folder / "in", arrays(truth.arguments))
    folder.joinpath("manifest.json").write_bytes(json_bytes(document))
    folder.joinpath("case.txt").write_bytes(case_text(document).encode())


def write_golden(folder: Path, case: Case, truth: Truth) -> None:
    """Add what is right: out/ and scale/, and both in manifest.json."""
    _write_arrays(folder / "out", truth.outputs)
    _write_arrays(folder / "scale", truth.scales)
    document = golden_manifest(case, truth)
    folder.joinpath("manifest.json").write_bytes(json_bytes(document))


def _write_arrays(folder: Path, named: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in named.items():
        folder.joinpath(f"{name}.npy").write_bytes(npy.to_bytes(array))


def read_outputs(
    folder: Path, case: Case, truth: Truth, below: str = ""
) -> dict[str, np.ndarray]:
    """Return the outputs that a candidate left in `folder`; absent ones are left out.

    `below` is where in `folder` they are, so that no link on the way is followed.
    Raises MismatchError for a sound array of another dtype or shape than the op has to
    return, and VectorError for a file that cannot be read.
    """
    found = {}
    for name in OPS[case.op].outputs:
        golden = truth.outputs[name]
        needed = returned_dtype(name, golden, truth.dtype)
        file = f"{below}/{name}.npy".lstrip("/")
        try:
            found[name] = npy.read(folder, file, needed.name, golden.shape)
        except FileNotFoundError:
            continue
    return found
