"""Results of every kind, for the tests of reports."""

from dataclasses import replace

import numpy as np

from ssmref.conformance.candidates import Candidate
from ssmref.conformance.catalogue import CASES
from ssmref.conformance.expected import Expectation, apply
from ssmref.conformance.report.results import Results
from ssmref.conformance.run import verify
from ssmref.conformance.verdict import Verdict
from ssmref.golden import mamba2

F32 = np.dtype(np.float32)
# Nobody may be able to put an element into a page, nor a control character anywhere.
HOSTILE = "kernels.<script>document.title='owned'</script>\"&'\x1b[2J\x00\ud800"

PLAIN = CASES["mamba2.ssd/plain/b2l37h3p5n4"]
PACKED = CASES["mamba2.ssd/packed/l140"]
PACKED_ZERO = CASES["mamba2.ssd/packed-zero/l70"]
TILED = CASES["mamba2.ssd/groups-inner/b2l37h6g2"]
EMPTY = CASES["mamba2.ssd/empty/l0"]
CHUNK = CASES["mamba2.ssd/chunk/l64"]
EVERYTHING = CASES["mamba2.ssd/everything/b2l99h6p3g3n5"]
OTHER = CASES["mamba1.selective_scan/groups/b2l19d6g2"]


def faulty(x, dt, A, B, C, **options):
    """An SSD with a fault of each kind."""
    if "dt_limit" in options:
        raise NotImplementedError(f"no dt_limit {HOSTILE}")
    if len(x) == 2 and B.shape[2] == 1:
        y, state = mamba2.ssd(x, dt, A, B, C, **options)
        y[1, 20:] = np.nan
        return y, state
    if "cu_seqlens" in options:
        bounds = options.pop("cu_seqlens")
        options.pop("initial_state", None)
        y, state = mamba2.ssd(x, dt, A, B, C, **options)
        return y, np.repeat(state, len(bounds) - 1, axis=0)
    if B.shape[2] > 1:
        raise ValueError(f"groups {HOSTILE}")
    return mamba2.ssd(x, dt, A, B, C, **options)


ENTRIES = (
    Expectation(PACKED.id, "sequences leak <b>", "https://example.org/a?b=1&c='2'"),
    Expectation(CHUNK.id, "was wrong once"),
    Expectation(OTHER.id, "nobody ran it"),
)


def results() -> Results:
    """Return verdicts of every status, with hostile names and messages."""
    cases = [PLAIN, PACKED, PACKED_ZERO, TILED, EMPTY, CHUNK, EVERYTHING]
    candidate = Candidate(HOSTILE, {"mamba2.ssd": faulty})
    verdicts = apply(verify(candidate, cases, F32), ENTRIES)
    verdicts[2] = replace(
        verdicts[2],
        diagnosis=("Behaves like <i>packed</i>.", "Fix"),
        resembles=(("packing-ignored",),),
    )
    return Results(candidate, "float32", verdicts, (), ENTRIES)


def of(*statuses: str, required: tuple[str, ...] = (), entries=()) -> Results:
    """Return results on a case of SSD with these statuses."""
    verdicts = [Verdict(PLAIN, "float32", status) for status in statuses]
    return Results(Candidate("x", {}), "float32", verdicts, required, entries)
