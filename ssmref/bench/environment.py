"""The machine and the software that figures were measured on, without its name."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = (
    *("numpy", "numba", "llvmlite", "scipy"),
    *("torch", "transformers", "jax", "jaxlib", "mambapy"),
    *("cupy-cuda12x", "cupy-cuda13x"),
)
# Those that decide how wide vectors are.
_ISA = re.compile(r"sse4_2|avx\w*|fma|f16c|amx\w*|asimd\w*|sve\w*|neon")
_CPU = Path("/sys/devices/system/cpu")


def environment(threads: dict[str, Any]) -> dict[str, Any]:
    """Return all that figures may depend on; `threads` is what was set."""
    own = {"gpu": gpu()} if gpu() else {}
    return own | {
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "isa": isa(),
        "caches": caches(),
        "governor": _text(_CPU / "cpu0/cpufreq/scaling_governor") or "unknown",
        "memory": memory_bytes(),
        "limits": {"cpus": cpu_limit(), "memory": memory_limit()},
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(),
        "blas": blas(),
        "commit": commit(),
        "threads": threads,
    }


def identity(environment: dict[str, Any]) -> str:
    """Return a short hash of an environment without what changes by the minute."""
    lasting = {k: v for k, v in environment.items() if k != "load"}
    text = json.dumps(lasting, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def machine_slug() -> str:
    """Return the kind of machine as the name of a folder: CPU, family, number."""
    fields = _cpuinfo()
    numbers = [fields[n] for n in ("cpu family", "model") if n in fields]
    text = " ".join((cpu_model(), *numbers, f"{os.cpu_count()}cpu"))
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def now() -> str:
    """Return the time in UTC to the second, as in ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@cache
def cpu_model() -> str:
    """Return the name that the CPU gives itself."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


@cache
def gpu() -> dict[str, str]:
    """Return name and driver of the first NVIDIA GPU; nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return {}
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    first = done.stdout.partition("\n")[0].split(",")
    if done.returncode or len(first) != 2:
        return {}
    return {"name": first[0].strip(), "driver_version": first[1].strip()}


@cache
def isa() -> list[str]:
    """Return the instruction sets that matter here."""
    fields = _cpuinfo()
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return sorted(f for f in flags if _ISA.fullmatch(f))


@cache
def _cpuinfo() -> dict[str, str]:
    """Return the fields of the first CPU."""
    first = _text(Path("/proc/cpuinfo")).partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def caches() -> dict[str, int]:
    """Return the bytes of each cache that the first CPU sees: L1d, L2, L3."""
    return dict(_caches())


def _caches() -> Iterator[tuple[str, int]]:
    for folder in sorted((_CPU / "cpu0/cache").glob("index*")):
        size, kind = _text(folder / "size"), _text(folder / "type")
        if kind == "Instruction" or not size:
            continue
        suffix = "d" if kind == "Data" else ""
        yield f"L{_text(folder / 'level')}{suffix}", _bytes(size)


def last_cache_bytes() -> int:
    """Return the size of the largest cache; 32 MiB where the system does not say."""
    return max(caches().values(), default=32 * 2**20)


def _bytes(text: str) -> int:
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
    return int(text.rstrip("KMG")) * factor


def memory_bytes() -> int | None:
    """Return the memory of the machine."""
    return _meminfo("MemTotal")


def available_bytes() -> int | None:
    """Return how much memory may still be taken, None where nobody says."""
    given = [n for n in (_meminfo("MemAvailable"), _left_in_group()) if n is not None]
    return min(given, default=None)


def _meminfo(name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB", _text(Path("/proc/meminfo")), re.M)
    return int(found[1]) * 1024 if found else None


def memory_limit() -> int | None:
    """Return what the container may take, None without a limit."""
    for path in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _text(Path("/sys/fs/cgroup", path))
        if text.isdigit() and int(text) < 2**60:
            return int(text)
    return None


def _left_in_group() -> int | None:
    limit = memory_limit()
    for path in ("memory.current", "memory/memory.usage_in_bytes"):
        used = _text(Path("/sys/fs/cgroup", path))
        if limit is not None and used.isdigit():
            return limit - int(used)
    return None


def cpu_limit() -> float | None:
    """Return how many CPUs the container may use on average, None without a limit."""
    quota, _, period = _text(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    if not quota:
        quota = _text(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
        period = _text(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
    if quota.isdigit() and period.isdigit() and int(period):
        return int(quota) / int(period)
    return None


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
    for name in (*PACKAGES, "ssmref"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def blas() -> list[dict[str, Any]]:
    """Return the libraries of threads and linear algebra that are loaded."""
    if find_spec("threadpoolctl") is None:
        return []
    loaded = import_module("threadpoolctl").threadpool_info()
    kept = ("user_api", "internal_api", "version", "architecture", "threading_layer")
    return [{k: i[k] for k in kept if k in i} for i in loaded]


def commit() -> str:
    """Return the commit of this code; empty where it is installed without git.

    After changes ``-dirty`` follows, with a hash of them: two trees are two commits.
    """
    folder = Path(__file__).parent
    if not _git(folder, "ls-files", "--error-unmatch", "environment.py"):
        return ""
    own = [str(folder.parents[1] / name) for name in ("ssmref", "gpu")]
    changed = _git(folder, "diff", "--no-ext-diff", "HEAD", "--", *own)
    name = _git(folder, "rev-parse", "--short=10", "HEAD")
    digest = hashlib.sha256(changed.encode()).hexdigest()[:6]
    return f"{name}-dirty-{digest}" if changed else name


def version() -> str:
    """Return the commit, or else the version of the package: what was measured."""
    return commit() or f"v{metadata.version('ssmref')}"


def _git(folder: Path, *words: str) -> str:
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    return "" if done.returncode else done.stdout.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
