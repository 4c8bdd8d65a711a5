import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ssmref.bench import field
from ssmref.bench.contender import Contender
from ssmref.bench.field import Absent, check_name, resolve
from ssmref.bench.workloads import WORKLOADS
from ssmref.golden import layers

SCAN = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan")
SSD = next(w for w in WORKLOADS if w.op == "mamba2.ssd")


def names(*given, workload=SCAN):
    return [found.name for found in resolve(given, workload, 1)]


def test_packages_and_programs_are_found_by_name():
    assert names("ssmref.golden", "yardstick:c") == ["ssmref.golden", "yardstick:c"]
    assert names("yardstick") == [
        "yardstick:c",
        "yardstick:c:fresh",
        "yardstick:c:avx512",
        "yardstick:c:avx2",
    ]
    assert names("yardstick:c:avx2") == ["yardstick:c:avx2"]


def test_nobody_takes_part_twice():
    assert (
        names("yardstick:c", "yardstick:c", "ssmref.golden").count("yardstick:c") == 1
    )


def test_programs_take_part_where_they_have_the_op():
    assert names("yardstick", workload=SSD) == []


def test_a_missing_library_is_named_with_the_reason(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name.rpartition('.')[2]!r}")

    monkeypatch.setattr(field, "import_module", missing)
    found = list(resolve(["peer"], SCAN, 1))
    assert all(isinstance(f, Absent) for f in found)
    assert [f.name for f in found] == ["peer:torch", "peer:mambapy", "peer:jax"]
    assert "not installed: No module named 'torch'" in str(found[0])
    assert names("peer", workload=SSD) == ["peer:torch"]


NORM = """from ssmref.golden import layers
ARRAYS = "cupy"
def rms_norm(x, weight, **options):
    assert x.flags.writeable is False, "not from asarray"
    return layers.rms_norm(x, weight, **options)
"""


def test_arrays_of_another_library_are_made_before_the_time(monkeypatch, tmp_path):
    made, waits = [], []

    def asarray(array):
        made.append(array)
        array = array.copy()
        array.flags.writeable = False
        return array

    stream = SimpleNamespace(synchronize=lambda: waits.append(1))
    cuda = SimpleNamespace(get_current_stream=lambda: stream)
    cupy = SimpleNamespace(asarray=asarray, cuda=cuda)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    (tmp_path / "norms_on_a_device.py").write_text(NORM)
    monkeypatch.syspath_prepend(tmp_path)
    norm = next(w for w in WORKLOADS if w.op == "layers.rms_norm").resized(length=3)
    (found,) = resolve(["norms_on_a_device"], norm, 1)
    assert isinstance(found, Contender)
    arguments = norm.arguments(np.dtype(np.float32))
    made.clear()
    call = found.prepare(arguments)
    assert len(made) == len(arguments)
    results = [call() for _ in range(3)]
    assert (len(made), len(waits)) == (len(arguments), 3)
    expected = layers.rms_norm(**arguments)
    np.testing.assert_array_equal(found.outputs(results[0])["y"], expected)


def test_peers_are_loaded_only_when_they_are_asked_for():
    code = (
        "import sys, ssmref.bench.run, ssmref.commands.bench; "
        "sys.exit(bool({'torch', 'jax', 'mambapy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["peer:tensorflow", "yardstick:fortran", "peer:c:x"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="bundled are: peer:torch"):
        check_name(name)


@pytest.mark.parametrize("name", ["no.such.thing", "ssmref.cpv", "a/b.py", ""])
def test_what_is_no_module_is_refused_before_anything_is_measured(name):
    with pytest.raises(ValueError, match="neither a module that is found here"):
        check_name(name)


@pytest.mark.parametrize(
    "name",
    ["peer", "peer:torch:loop", "peer:transformers", "yardstick", "ssmref.golden"],
)
def test_known_names_are_accepted(name):
    check_name(name)
