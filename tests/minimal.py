"""Run with the plain install alone: golden and vectors, without SciPy or Numba."""

import importlib
import importlib.util
import pkgutil
import tempfile
from pathlib import Path

import ssmref.golden
import ssmref.models
from ssmref.conformance.vectors.export import unpack_frozen
from ssmref.conformance.vectors.stored import open_set, read_case
from ssmref.ops import OPS, implementation

ABSENT = ("numba", "scipy", "torch", "pandas", "beartype", "hypothesis", "pytest")


def main() -> None:
    """Fail unless golden imports and the optional packages are truly absent."""
    present = [name for name in ABSENT if importlib.util.find_spec(name)]
    if present:
        raise SystemExit(f"not minimal, installed are: {', '.join(present)}")
    for package in (ssmref.golden, ssmref.models):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    for op in OPS.values():
        implementation(op, "ssmref.golden")
    print(f"{len(OPS)} golden ops import without {', '.join(ABSENT)}")
    print(f"{read_vectors()} vectors fit their schema")


def read_vectors() -> int:
    """Read all of the frozen set, as a check of outputs does."""
    with tempfile.TemporaryDirectory() as folder:
        unpack_frozen(Path(folder))
        return len([read_case(Path(folder), r) for r in open_set(Path(folder))])


if __name__ == "__main__":
    main()
