import subprocess
import sys

import pytest

from ssmref.bench import field
from ssmref.bench.field import Absent, check_name, resolve
from ssmref.bench.workloads import WORKLOADS

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


@pytest.mark.parametrize(
    "name",
    ["peer", "peer:torch:loop", "peer:transformers", "yardstick", "my.package"],
)
def test_known_names_are_accepted(name):
    check_name(name)
