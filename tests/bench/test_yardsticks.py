import ctypes
from typing import Any

import numpy as np
import pytest

from ssmref.bench.contender import UnavailableError
from ssmref.bench.environment import isa
from ssmref.bench.yardsticks import compile as compiling
from ssmref.bench.yardsticks import scan
from ssmref.bench.yardsticks.compile import library
from ssmref.golden.mamba1 import selective_scan

RUNNABLE = [v for v, needs in scan._NEEDS.items() if needs <= set(isa())]


def kernels():
    try:
        library("rates.c")
    except UnavailableError as error:
        pytest.skip(str(error))
    return [c for c in scan.contenders(2) if c.name.split(":")[-1] in (*RUNNABLE, "c")]


def arguments(
    channels=32, state=16, dtype: Any = np.float32, batch=2, length=70
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made = {
        "u": rng.standard_normal((batch, length, channels)),
        "dt": rng.uniform(0.001, 0.1, (batch, length, channels)),
        "A": -rng.uniform(0.5, 16, (channels, state)),
        "B": rng.standard_normal((batch, length, state)),
        "C": rng.standard_normal((batch, length, state)),
        "D": rng.standard_normal(channels),
    }
    return {name: array.astype(dtype) for name, array in made.items()}


def test_kernels_compute_the_scan():
    given = arguments()
    expected, _ = selective_scan(**given)
    for contender in kernels():
        y = contender.outputs(contender.prepare(given)())["y"]
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5)


def test_kernels_survive_decays_that_vanish():
    given = arguments()
    given["dt"][:] = 50
    expected, _ = selective_scan(**given)
    for contender in kernels():
        y = contender.outputs(contender.prepare(given)())["y"]
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-3)


def test_fresh_means_a_new_array_per_call():
    fresh = {c.name: c for c in kernels()}
    for name, differs in (("yardstick:c", False), ("yardstick:c:fresh", True)):
        if name in fresh:
            call = fresh[name].prepare(arguments())
            assert (call() is not call()) is differs


def test_arrays_start_on_a_cache_line():
    for count in (1, 3, 17):
        assert scan.empty_aligned((count, 5)).ctypes.data % 64 == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (arguments(channels=12), "multiples of"),
        (arguments(state=8), "a state of 16"),
        (arguments(dtype=np.float64), "float32"),
        (arguments() | {"z": 1}, "no more"),
        ({n: a for n, a in arguments().items() if n != "D"}, "no more"),
        (arguments() | {"B": np.ones((16, 16), "f4")}, "groups"),
    ],
)
def test_what_the_kernels_lack_is_refused(given, words):
    with pytest.raises(UnavailableError, match=words):
        scan._refuse(given, "avx512")


def test_other_processors_are_told_what_is_missing(monkeypatch):
    monkeypatch.setattr(scan, "isa", lambda: ["sse4_2"])
    with pytest.raises(UnavailableError, match="AVX2"):
        scan.best_variant()
    with pytest.raises(UnavailableError, match="no avx512"):
        scan._kernel("avx512")


def test_without_a_compiler_there_is_no_yardstick(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
    with pytest.raises(UnavailableError, match="no C compiler"):
        library.__wrapped__("rates.c")
    assert compiling.compiler_version() == ""


def test_a_program_that_does_not_compile_says_why(tmp_path):
    kernels()  # there is a compiler
    with pytest.raises(UnavailableError, match="the C compiler failed"):
        compiling._compile("cc", "int main( {", tmp_path / "x.so")
    assert not list(tmp_path.iterdir())


def test_programs_are_compiled_once_into_the_cache(monkeypatch, tmp_path):
    kernels()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert isinstance(library.__wrapped__("rates.c"), ctypes.CDLL)
    (made,) = compiling.cache_folder().glob("rates-*.so")
    before = made.stat().st_mtime_ns
    assert library.__wrapped__("rates.c")
    assert made.stat().st_mtime_ns == before
