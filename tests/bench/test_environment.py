import json
import os
import socket
from pathlib import Path

import pytest

from ssmref.bench import environment as module
from ssmref.bench.environment import environment, identity, machine_slug


def test_neither_the_machine_nor_its_folders_are_named():
    text = json.dumps(environment({"requested": 1})) + machine_slug()
    host = socket.gethostname()
    assert len(host) < 4 or host not in text
    assert str(Path.home()) == "/" or str(Path.home()) not in text
    assert str(Path(module.__file__).parents[2]) not in text
    assert "filepath" not in text


def test_what_changes_by_the_minute_does_not_change_the_identity():
    found = environment({"requested": 1})
    assert identity(found) == identity(found | {"load": [99.0]})
    assert identity(found) != identity(found | {"threads": {"requested": 2}})


def test_the_slug_is_a_name_of_a_folder():
    slug = machine_slug()
    assert slug.replace("-", "").isalnum()
    assert slug.endswith(f"{os.cpu_count()}cpu")


def test_caches_are_read_by_level_without_those_of_instructions(monkeypatch, tmp_path):
    for i, (level, kind, size) in enumerate(
        [(1, "Data", "32K"), (1, "Instruction", "64K"), (3, "Unified", "2M")]
    ):
        folder = tmp_path / "cpu0/cache" / f"index{i}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    monkeypatch.setattr(module, "_CPU", tmp_path)
    assert module.caches() == {"L1d": 32 * 2**10, "L3": 2 * 2**20}
    assert module.last_cache_bytes() == 2 * 2**20


def test_without_a_word_on_caches_a_size_is_assumed(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_CPU", tmp_path)
    assert module.last_cache_bytes() == 32 * 2**20


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1000"}, 1.5, 1000),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            {
                "cpu/cpu.cfs_quota_us": "200000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "5000",
            },
            2.0,
            5000,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
        ({}, None, None),
    ],
    ids=["v2", "v2 without", "v1", "v1 without", "none"],
)
def test_limits_of_containers(monkeypatch, files, cpus, memory):
    def text(path):
        return files.get(str(path).removeprefix("/sys/fs/cgroup/"), "")

    monkeypatch.setattr(module, "_text", text)
    assert module.cpu_limit() == cpus
    assert module.memory_limit() == memory


def test_available_memory_is_what_machine_and_container_leave(monkeypatch):
    files = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:     8 kB",
        "/sys/fs/cgroup/memory.max": "6000",
        "/sys/fs/cgroup/memory.current": "5000",
    }
    monkeypatch.setattr(module, "_text", lambda path: files.get(str(path), ""))
    assert module.available_bytes() == 1000
    del files["/sys/fs/cgroup/memory.max"]
    assert module.available_bytes() == 8192
    files.clear()
    assert module.available_bytes() is None


def test_outside_of_its_repository_there_is_no_commit(monkeypatch):
    monkeypatch.setattr(module, "_git", lambda *_: "")
    assert module.commit() == ""


def test_every_change_of_the_tree_is_a_commit_of_its_own(monkeypatch):
    said = {"ls-files": "environment.py", "diff": "+ x", "rev-parse": "abc"}
    monkeypatch.setattr(module, "_git", lambda _, *words: said[words[0]])
    first = module.commit()
    assert first.startswith("abc-dirty-")
    said["diff"] = "+ y"
    assert module.commit() not in (first, "abc")
    said["diff"] = ""
    assert module.commit() == module.version() == "abc"
    said["ls-files"] = ""
    assert module.version() == f"v{module.versions()['ssmref']}"


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ("echo 'NVIDIA X1, 600.1'; echo 'NVIDIA X2, 600.1'", "NVIDIA X1"),
        ("echo 'no devices were found'", None),
        ("echo 'NVIDIA X1, 600.1'; exit 9", None),
    ],
)
def test_the_first_gpu_is_named(monkeypatch, tmp_path, says, found):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(module, "gpu", module.gpu.__wrapped__)
    assert environment({}).get("gpu", {}).get("name") == found
