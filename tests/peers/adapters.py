"""What is asked of every bundled adapter."""

import inspect

import numpy as np

from ssmref.conformance.adjudication import known
from ssmref.conformance.candidates import load_peer
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.programs import Program
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import FAILED
from ssmref.ops import OPS, implementation


def functions(peer):
    return load_peer(peer).functions


def cases(ops):
    """Return the core cases of ops."""
    return [c for op in ops for c in cases_of(op) if c.level == "core"]


def status(peer, case, dtype="float32"):
    """Judge a case; a failure has to be one whose cause is known."""
    verdict = verify_case(functions(peer)[case.op], case, dtype_of(dtype))
    assert verdict.status != FAILED or known(peer, case.id), verdict
    return verdict.status


def strange_arguments(peer):
    """Return the arguments that golden does not have or has otherwise."""
    strange = []
    for op, function in functions(peer).items():
        assert not isinstance(function, Program)
        golden = inspect.signature(implementation(OPS[op], "ssmref.golden")).parameters
        for name, theirs in inspect.signature(function).parameters.items():
            ours = golden.get(name)
            same = ours and (ours.kind, ours.default) == (theirs.kind, theirs.default)
            if not same and name != "chunk_size":
                strange.append(f"{op}: {name}")
    return strange


def uses(case, *names):
    """Say whether a case has any of these arguments."""
    return any(name in case.arguments(np.dtype(np.float32)) for name in names)
