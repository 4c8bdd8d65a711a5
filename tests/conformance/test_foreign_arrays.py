"""Modules that take the arrays of another library, and say so by ARRAYS."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner

from ssmref import cli
from ssmref.conformance.arrays import on_numpy
from ssmref.conformance.candidates import TargetError, load
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.run import verify, verify_case
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED
from ssmref.golden import layers, mamba3

F32 = np.dtype(np.float32)
WEIGHTED = [c for c in cases_of("layers.rms_norm") if "weight" in c.arguments(F32)]
NORM = WEIGHTED[0]

BOXES = """
import numpy as np

class Box:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array

"""
NORMS = """
def rms_norm(x, weight, *, eps=1e-5):
    x, weight = x.array, weight.array
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * weight
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package with a module ``layers``; return its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text, layers):
        (tmp_path / name).mkdir()
        _ = (tmp_path / name / "__init__.py").write_text(text)
        _ = (tmp_path / name / "layers.py").write_text("import numpy as np\n" + layers)
        return name

    yield write
    for name in [m for m in sys.modules if m.partition(".")[0] in SAYINGS]:
        del sys.modules[name]


SAYINGS = ("boxes", "mixed", "silent", "lost")


@pytest.mark.parametrize("target", ["{}", "{}.layers", "{}.layers:rms_norm"])
def test_package_speaks_for_all_below_it(package, target):
    name = target.format(package("boxes", BOXES + "ARRAYS = Box\n", NORMS))
    candidate = load(name)
    assert set(candidate.functions) == {"layers.rms_norm"}
    found = list(verify(candidate, WEIGHTED, F32))
    assert found
    assert {v.status for v in found} == {PASSED}


def test_module_speaks_before_its_package(package):
    own = package("mixed", BOXES + "ARRAYS = Box\n", 'ARRAYS = "numpy"\n' + NORMS)
    with pytest.raises(TargetError, match=r"mixed.layers takes arrays of numpy: to is"):
        load(f"{own}.layers")


def test_without_a_word_arrays_are_those_of_numpy(package):
    candidate = load(package("silent", "", NORMS))
    (found,) = verify(candidate, [NORM], F32)
    assert found.status == FAILED
    assert "AttributeError" in str(found.message)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("tensorflow", "to is 'tensorflow'; it may be a function or one of: torch"),
        ("cupy", "lost takes arrays of cupy: .*cupy"),
    ],
)
def test_arrays_that_cannot_be_made_are_a_mistake(package, monkeypatch, said, message):
    monkeypatch.setitem(sys.modules, "cupy", None)
    name = package("lost", f'ARRAYS = "{said}"\n', NORMS)
    with pytest.raises(TargetError, match=message):
        load(name)


def test_command_explains_missing_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    found = CliRunner().invoke(cli.main, ["verify", "ssmref.gpu"])
    assert found.exit_code == 2
    assert "takes arrays of cupy" in found.output
    assert "Traceback" not in found.output


class Copied:
    """An array on a device: a copy, which comes back when asked."""

    __cuda_array_interface__ = None

    def __init__(self, array):
        self.array = array.copy()

    def get(self):
        return self.array.copy()


def test_device_functions_are_judged():
    def on_device(x, weight, **options):
        return Copied(layers.rms_norm(x.array, weight.array, **options))

    assert verify_case(on_numpy(on_device, Copied), NORM, F32).status == PASSED


def test_scribbling_on_the_device_is_seen():
    def scribbles(x, weight, **options):
        y = Copied(layers.rms_norm(x.array, weight.array, **options))
        weight.array[0] = 7
        return y

    found = verify_case(on_numpy(scribbles, Copied), NORM, F32)
    assert found.status == FAILED
    assert "modified its input weight" in found.message


def test_scribbling_on_a_state_is_seen():
    op = "mamba3.siso_step"
    case = next(iter(cases_of(op)))

    def scribbles(*inputs, **options):
        arrays = [_inside(value) for value in inputs]
        result = mamba3.siso_step(
            *arrays, **{n: _inside(v) for n, v in options.items()}
        )
        state = next(value for value in inputs if hasattr(value, "_fields"))
        state[-1].array[...] += 1
        return result

    found = verify_case(on_numpy(scribbles, Copied), case, F32)
    assert found.status == FAILED
    assert "modified its input state" in found.message


def _inside(value):
    if hasattr(value, "_fields"):
        return type(value)(*(part.array for part in value))
    return value.array if isinstance(value, Copied) else value


def test_options_that_are_missing_stay_missing():
    def without_eps(x, weight):
        return Copied(layers.rms_norm(x.array, weight.array))

    function = on_numpy(without_eps, Copied)
    found = {verify_case(function, case, F32).status for case in WEIGHTED}
    assert found == {PASSED, NOT_PROVIDED}
