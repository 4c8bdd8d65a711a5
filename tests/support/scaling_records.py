"""Made-up records of every kind and status, with known answers.

Attention takes ``2e-9 L^2`` seconds, Mamba-2 ``2e-6 L``: they cross at 1000 tokens.
"""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

LENGTHS = (256, 512, 1024, 4096, 16384)
TIME = "2026-01-02T03:04:05Z"
ENVIRONMENT = "0123456789ab"
# Nobody may be able to put an element into a page.
HOSTILE = "my.<script>document.title='owned'</script>\"&'|kernels"
MEMORY = 2**34
DETAILS = {
    "cpu": "Example CPU 3000",
    "cpus": 4,
    "isa": ["avx2", "fma"],
    "caches": {"L1d": 2**15, "L2": 2**20, "L3": 2**25},
    "governor": "performance",
    "memory": MEMORY,
    "limits": {"cpus": None, "memory": None},
    "load": [0.1, 0.2, 0.3],
    "system": "Linux 6.0 x86_64",
    "python": "3.11.9",
    "versions": {"numpy": "2.4.6", "ssmref": "0.1.0"},
    "compiler": "gcc 13",
    "blas": [{"user_api": "blas", "internal_api": "openblas", "version": "0.3.29"}],
    "commit": "abc1234def",
    "threads": {"requested": 4, "blas": 4},
}
RATES = {
    "triad": ("B/s", 2e10),
    "gemm_float32": ("FLOP/s", 2e11),
    "exp_cpu": ("1/s", 2e9),
}
# Around the median, as samples are: seven of them.
NOISE = (0.97, 0.98, 0.99, 1.0, 1.01, 1.03, 1.08)


def environment(name=ENVIRONMENT, **changes):
    head = {"format": 1, "kind": "environment", "time": TIME, "environment": name}
    return head | {"details": DETAILS | changes}


def rates(name=ENVIRONMENT):
    found = [
        {"name": n, "unit": unit, "method": "C", "samples": [0.9 * r, r]}
        for n, (unit, r) in RATES.items()
    ]
    head = {"format": 1, "kind": "rates", "time": TIME, "environment": name}
    return head | {"threads": 4, "rates": found}


def _subject(kind, op, sizes, implementation, form="", suite="scaling", **more):
    workload = f"{op}{'_' + form if form else ''}/" + "".join(
        f"{name[0]}{size}" for name, size in sizes.items()
    )
    return {
        "format": 1,
        "time": TIME,
        "environment": ENVIRONMENT,
        "suite": suite,
        "workload": workload,
        "definition": hashlib.sha256(workload.encode()).hexdigest()[:12],
        "kind_of_workload": kind,
        "op": op,
        "form": form,
        "sizes": sizes,
        "dtype": "float32",
        "threads": 4,
        "implementation": implementation,
        "note": "",
        "status": "measured",
        "reason": "",
        **more,
    }


def timing(kind, op, sizes, implementation, seconds, *, ratio: Any = 1.5, **more):
    """Return a measurement around a median; without one, a point without a time."""
    tokens = sizes.get("batch", 1) * sizes.get("length", 1)
    if more.get("form") == "decode":
        tokens = sizes["batch"]
    verdict = {"passed": True, "ratio": ratio, "limit": 30.0, "places": ["all"]}
    return _subject(kind, op, sizes, implementation, **more) | {
        "kind": "measurement",
        "copies": 1,
        "samples": [seconds * n for n in NOISE] if seconds else [],
        "warm_up": [],
        "verdict": verdict if seconds else None,
        "tokens": tokens,
        "cost": {
            "elements": 512.0 * tokens,
            "instructions": 0.0,
            "flops": 4000.0 * tokens,
            "products": 0.0,
            "exps": 0.0,
        },
        "limit": {"memory": 1e-8 * tokens, "products": 2e-8 * tokens},
    }


def memory(kind, op, sizes, implementation, model, peak=None, **more):
    """Return bytes by the model and as measured."""
    needed = sum(model[part] for part in ("outputs", "state", "workspace"))
    return _subject(kind, op, sizes, implementation, **more) | {
        "kind": "memory",
        "model": model,
        "tracemalloc_peak": peak,
        "resident_peak": None if peak is None else peak + 2**16,
        "gpu_pool_peak": None,
        "agreement": None if peak is None else peak / needed,
    }


def seconds_of(op, length, implementation):
    """Return the time that the made-up machine takes."""
    slower = {"ssmref.cpu": 1.0, "ssmref.golden": 60.0}.get(implementation, 1.5)
    if "attention" in op or "transformer" in op:
        return slower * 2e-9 * length**2
    return slower * 2e-6 * length


OPS = {
    "attention.attention": {"heads": 4, "headdim": 16},
    "mamba2.ssd": {"heads": 4, "headdim": 16, "state": 16, "groups": 1},
    "mamba1.selective_scan": {"channels": 64, "state": 16},
}
BLOCKS = ("block.transformer", "block.mamba1", "block.mamba2", "block.mamba3_siso")


def _ops():
    who = ("ssmref.cpu", "ssmref.golden", "peer:torch:sdpa")
    for (op, width), name, n in itertools.product(OPS.items(), who, LENGTHS):
        if name.startswith("peer") and "attention" not in op:
            continue
        sizes = {"batch": 1, "length": n, **width}
        if name == "ssmref.golden" and n > 4096:
            reason = "would take about 33 s, 12 s of the budget are left"
            yield timing("op", op, sizes, name, None, status="timed_out", reason=reason)
            continue
        yield timing("op", op, sizes, name, seconds_of(op, n, name))


def _failures():
    sizes = {"batch": 1, "length": 256, **OPS["mamba2.ssd"]}
    for status, reason in {
        "wrong": "y at token 17 is 0.5, expected 0.25, ratio 1e+06, limit 30",
        "crashed": "the process was ended by signal 11",
        "skipped": f"no such size in {HOSTILE}",
        "not available": "not installed: No module named 'jax'",
    }.items():
        name = HOSTILE if status == "skipped" else f"peer:{status.split()[0]}"
        more = {"status": status, "reason": reason}
        yield timing("op", "mamba2.ssd", sizes, name, None, **more)
    large = {"batch": 1, "length": 2**20, **OPS["attention.attention"]}
    reason = "needs about 17.6 TB of memory, 14.0 GB are available"
    more = {"status": "oom_predicted", "reason": reason, "form": "naive"}
    yield timing("op", "attention.attention", large, "ssmref.cpu", None, **more)


def _blocks():
    for op, n in itertools.product(BLOCKS, LENGTHS):
        seconds = 5 * seconds_of(op, n, "ssmref.cpu") + 1e-5
        yield timing("block", op, {"batch": 1, "length": n}, "ssmref.cpu", seconds)


def _memories():
    for (op, width), n in itertools.product(OPS.items(), (*LENGTHS, 2**17)):
        sizes = {"batch": 1, "length": n, **width}
        model = {"inputs": 1024 * n, "outputs": 256 * n, "state": 4096}
        model["workspace"] = 64 * n
        peak = sum(model.values()) - model["inputs"]
        # One point is 25 % off, for the warning.
        peak = int(1.25 * peak) if (op, n) == ("mamba2.ssd", 512) else peak
        yield memory("op", op, sizes, "ssmref.cpu", model, peak, suite="memory")
    for n in (*LENGTHS, 2**17):
        sizes = {"batch": 1, "length": n, **OPS["attention.attention"]}
        model = {"inputs": 1024 * n, "outputs": 256 * n, "state": 0}
        model["workspace"] = 16 * n * n
        fits = model["workspace"] < 0.8 * MEMORY
        more = {"form": "naive", "suite": "memory"}
        if not fits:
            more |= {"status": "oom_predicted", "reason": "needs 256 GiB, 14 are there"}
        peak = model["workspace"] + model["outputs"] if fits else None
        args = ("op", "attention.attention", sizes, "ssmref.golden", model, peak)
        yield memory(*args, **more)


def _inference():
    more = {"suite": "inference"}
    for op, n in itertools.product(BLOCKS, (256, 1024, 4096)):
        sizes = {"batch": 1, "length": n}
        seconds = 4 * seconds_of(op, n, "ssmref.cpu")
        args = ("inference", op, sizes, "ssmref.cpu")
        yield timing(*args, seconds, form="prefill", **more)
        grows = "transformer" in op
        token = 1e-4 + (1e-7 * n if grows else 0)
        sizes = {"batch": 1, "context": n}
        args = ("inference", op, sizes, "ssmref.cpu")
        yield timing(*args, token, form="decode", **more)
        state = 1024 * n if grows else 2**18
        model = {"inputs": 256, "outputs": 256, "state": state, "workspace": 0}
        yield memory(*args, model, state + 256, form="decode", **more)
    for op, batch in itertools.product(BLOCKS, (4, 16, 64)):
        sizes = {"batch": batch, "context": 1024}
        args = ("inference", op, sizes, "ssmref.cpu")
        yield timing(*args, 1e-4 * batch**0.6, form="decode", **more)


def _explorers():
    width = OPS["mamba2.ssd"]
    more = {"form": "chunked", "suite": "chunks"}
    for q in (16, 32, 64, 128, 256):
        sizes = {"batch": 1, "length": 2048, **width, "chunk_size": q}
        args = ("chunks", "mamba2.ssd", sizes, "ssmref.golden")
        yield timing(*args, 1e-3 * (q / 64 + 64 / q), ratio=q / 40, **more)
        model = {"inputs": 2**20, "outputs": 2**19, "state": 4096}
        yield memory(*args, model | {"workspace": 4096 * q}, 2**19 + 4096 * q, **more)
    for n in (16, 32, 64, 128):
        for op in ("mamba2.ssd", "mamba1.selective_scan"):
            sizes = {"batch": 1, "length": 2048, **OPS[op], "state": n}
            args = ("state", op, sizes, "ssmref.cpu")
            yield timing(*args, 1e-4 * n, suite="state")
    for form, n in itertools.product(("sequential", "blelloch"), (256, 1024)):
        args = ("forms", "scan.scan", {"length": n, "channels": 8}, "ssmref.golden")
        yield timing(*args, 1e-7 * n, form=form, suite="forms")


def records():
    """Return everything, in the order in which a run would have written it."""
    return [
        *(environment(), rates(), *_ops(), *_failures(), *_blocks()),
        *(*_memories(), *_inference(), *_explorers()),
    ]


def write(path, found):
    """Write records to a file and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in found))
    return path
