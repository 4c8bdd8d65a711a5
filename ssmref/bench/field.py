"""Who takes part: names that the user gives, resolved for a workload.

A name is a package of ops (``ssmref.cpu``), or a contender of ours by its name or the
beginning of it: ``peer:torch`` stands for all that is done with torch, ``yardstick``
for every program in C.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from .contender import Contender, UnavailableError
from .packages import package_contender
from .workloads import Workload
from .yardsticks import scan

LIBRARIES = ("torch", "mambapy", "jax")
# Those that have whole blocks only.
OF_BLOCKS = ("transformers",)


@dataclass(frozen=True)
class Absent:
    """Who was asked for and cannot take part."""

    name: str
    reason: str


def resolve(
    names: Iterable[str], workload: Workload, threads: int
) -> Iterator[Contender | Absent]:
    """Yield everybody that the names stand for and that has this op.

    A name that stands for nobody with this op yields nothing, unless it is a package.
    """
    seen = set()
    for name in names:
        for found in _resolved(name, workload, threads):
            if found.name not in seen:
                seen.add(found.name)
                yield found


def check_name(name: str) -> None:
    """Raise ValueError for a name that can never stand for anybody."""
    kind, _, rest = name.partition(":")
    libraries = (*LIBRARIES, *OF_BLOCKS)
    known = [*(f"peer:{x}" for x in libraries), "yardstick:c"]
    if kind == "peer" and rest and rest.partition(":")[0] not in libraries:
        raise ValueError(f"{name!r} is unknown; bundled are: {', '.join(known)}")
    if kind == "yardstick" and rest and rest.partition(":")[0] != "c":
        raise ValueError(f"{name!r} is unknown; bundled are: {', '.join(known)}")
    if kind not in ("peer", "yardstick") and not is_module(kind):
        raise ValueError(
            f"{name!r} is neither a module that is found here nor one of: peer, "
            f"yardstick, {', '.join(known)}"
        )


def is_module(name: str) -> bool:
    """Return whether a module of this name is found; whether it loads shows later."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _resolved(
    name: str, workload: Workload, threads: int
) -> Iterator[Contender | Absent]:
    kind = name.partition(":")[0]
    if kind == "yardstick":
        offered = scan.contenders(threads)
        # The variants are for those who ask for them.
        exact = [c for c in offered if c.name == name]
        yield from _fitting(exact or offered, name, workload)
    elif kind == "peer":
        yield from _peers(name, workload)
    else:
        try:
            yield package_contender(name, workload)
        except UnavailableError as error:
            yield Absent(name, str(error))


def _peers(name: str, workload: Workload) -> Iterator[Contender | Absent]:
    asked = name.split(":")[1:2]
    for library in LIBRARIES:
        if asked and asked != [library]:
            continue
        try:
            module = import_module(f"{__package__}.peers.{library}")
        except ImportError as error:
            if workload.op in OFFERED[library]:
                yield Absent(f"peer:{library}", f"not installed: {error}")
            continue
        yield from _fitting(module.CONTENDERS, name, workload)


def _fitting(
    offered: Iterable[Contender], name: str, workload: Workload
) -> Iterator[Contender]:
    for contender in offered:
        begins = contender.name == name or contender.name.startswith(f"{name}:")
        if begins and contender.op == workload.op:
            yield contender


# Who would be missed where a library is not installed.
OFFERED = {
    "torch": (
        "mamba1.selective_scan",
        "mamba1.selective_scan_step",
        "mamba2.ssd",
        "mamba2.ssd_step",
        "layers.causal_conv1d",
        "layers.rms_norm",
        "layers.rms_norm_gated",
        "attention.attention",
    ),
    "mambapy": ("mamba1.selective_scan",),
    "jax": ("mamba1.selective_scan",),
}
