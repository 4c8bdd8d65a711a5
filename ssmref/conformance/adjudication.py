"""The verdicts on the bundled peers as one document in Markdown.

A run of a peer is what `ssmref verify --peer` wrote as JSON, with the versions of the
peer's packages, or the reason why there is none. Failures come with their diagnosis
and, where somebody has looked, with the cause and a link.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .verdict import FAILED, LIMIT, NOT_PROVIDED, PASSED

FORMAT = 1
MAMBA = "https://github.com/state-spaces/mamba"
S5 = "https://github.com/i404788/s5-pytorch"

# The packages that a peer's verdict depends on, by the names of their distributions.
PACKAGES = {
    "jax": ("jax", "jaxlib"),
    "mamba_ssm": ("mamba_ssm", "causal_conv1d", "torch"),
    "mamba_ssm_triton": ("mamba_ssm", "triton", "torch"),
    "mambapy": ("mambapy", "torch"),
    "s5": ("s5-pytorch", "torch"),
    "transformers": ("transformers", "torch"),
}


class RunsError(Exception):
    """A file does not hold runs of peers; the message says which and why."""


@dataclass(frozen=True)
class Run:
    """What came of one peer: a document of verdicts, or the reason for having none.

    The document is that of `ssmref verify --json`.
    """

    peer: str
    packages: dict[str, str]
    document: dict[str, Any] | None = None
    reason: str = ""

    def of(self, op: str) -> list[dict[str, Any]]:
        """Return the verdicts on one op."""
        return [v for v in self.verdicts if v["op"] == op]

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """All verdicts."""
        return self.document["verdicts"] if self.document else []

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The verdicts on cases that failed."""
        return [v for v in self.verdicts if v["status"] == FAILED]


@dataclass(frozen=True)
class Known:
    """Why cases of a peer fail, as found by reading its source; cases by pattern."""

    peer: str
    cases: str
    cause: str
    link: str

    def explains(self, peer: str, case: str) -> bool:
        """Return whether this is about a case of a peer."""
        return peer == self.peer and fnmatchcase(case, self.cases)


KNOWN = (
    Known(
        "mamba_ssm",
        "layers.causal_conv1d/empty/*",
        "an error of the reference, which leaves a sequence without tokens to "
        "torch's convolution; that wants at least one output",
        "https://github.com/Dao-AILab/causal-conv1d/blob/main/causal_conv1d/"
        "causal_conv1d_interface.py",
    ),
    Known(
        "mamba_ssm_triton",
        "mamba[12].*/softplus-tails*/*",
        "softplus is log(exp(dt) + 1), whose sum rounds to 1 for dt below about -17 "
        "in float32: such a token is ignored",
        f"{MAMBA}/blob/main/mamba_ssm/ops/triton/softplus.py",
    ),
    Known(
        "mamba_ssm_triton",
        "mamba3.siso_step/*",
        "the step multiplies state and query in bfloat16, whatever the dtype of its "
        "arguments; the state itself is right",
        f"{MAMBA}/blob/main/mamba_ssm/ops/triton/mamba3/mamba3_siso_step.py",
    ),
    Known(
        "s5",
        "s5.s5/no-decay/*",
        "zero-order hold divides by A without a limit for A = 0: NaN",
        f"{S5}/blob/master/s5/s5_model.py",
    ),
    Known(
        "s5",
        "s5.s5/empty/*",
        "an error of the library, which adds the initial state to the first token",
        f"{S5}/blob/master/s5/s5_model.py",
    ),
    Known(
        "s5",
        "s5.s5/*",
        "zero-order hold is (exp(dt A) - 1) / A, which loses the digits of a small "
        "dt A; expm1 would keep them",
        f"{S5}/blob/master/s5/s5_model.py",
    ),
)


def write_runs(path: Path, runs: Iterable[Run]) -> None:
    """Write runs to a file that `read_runs` reads."""
    document = {"format": FORMAT, "peers": [asdict(run) for run in runs]}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_runs(path: Path) -> list[Run]:
    """Read what `write_runs` has written. Raises RunsError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise RunsError(
                f"{path}: the format is {document['format']!r}, not {FORMAT}"
            )
        runs = [Run(**run) for run in document["peers"]]
        _ = markdown(runs)  # needs all that it shows
    except OSError as error:
        raise RunsError(f"{path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunsError(f"{path} is not a file of `ssmref peers --json`") from error
    return runs


def merged(runs: Iterable[Run]) -> list[Run]:
    """Return one run of each peer: the last that has verdicts, if any has."""
    best: dict[str, Run] = {}
    for run in runs:
        if run.peer not in best or run.document:
            best[run.peer] = run
    return [best[peer] for peer in sorted(best)]


def markdown(runs: Sequence[Run]) -> str:
    """Return the whole document."""
    judged = [run for run in runs if run.document]
    absent = [run for run in runs if not run.document]
    lines = [
        "# Verdicts on peers",
        "",
        "Generated by `ssmref peers`; not edited by hand. Only what was run is shown. "
        f"A case passes where no error exceeds {LIMIT:g} times what rounding explains; "
        "the worst ratio is the largest of these over all cases that were run. Not "
        "provided is what the peer has no function or option for.",
        "",
        *_overview(judged),
        *_versions(judged),
        *_failures(judged),
        *_absent(absent),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _overview(runs: Sequence[Run]) -> list[str]:
    rows = [
        "| peer | version | op | run | passed | failed | not provided | worst ratio |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        version = next(iter(run.packages.values()), "")
        for op in dict.fromkeys(v["op"] for v in run.verdicts):
            cells = (run.peer, version, op, *_counts(run.of(op)))
            rows.append(_row(cells))
    return [*rows, ""] if runs else ["No peer was run.", ""]


def _counts(verdicts: Sequence[dict[str, Any]]) -> tuple[object, ...]:
    of = [v["status"] for v in verdicts]
    run = [v for v in verdicts if v["status"] != NOT_PROVIDED]
    worst = f"{max(map(_ratio, run)):.3g}" if run else "-"
    counts = (of.count(status) for status in (PASSED, FAILED, NOT_PROVIDED))
    return (len(run), *counts, worst)


def _ratio(verdict: dict[str, Any]) -> float:
    """Return the worst ratio of a verdict, infinite where an output has none."""
    ratios = [o["ratio"] for o in verdict["outputs"]]
    return max((float("inf" if r is None else r) for r in ratios), default=float("inf"))


def _versions(runs: Sequence[Run]) -> list[str]:
    if not runs:
        return []
    lines = [
        "## Versions",
        "",
        "| peer | run at | in | versions |",
        "|---|---|---|---|",
    ]
    for run in runs:
        document = run.document or {}
        versions = run.packages | document["versions"]
        words = ", ".join(f"{name} {version}" for name, version in versions.items())
        cells = (run.peer, document["created"], document["dtype"], words)
        lines.append(_row(cells))
    return [*lines, ""]


def _failures(runs: Sequence[Run]) -> list[str]:
    lines = ["## Failures", ""] if any(run.failures for run in runs) else []
    for run in runs:
        causes: dict[Known | str, list[dict[str, Any]]] = {}
        for verdict in run.failures:
            cause = known(run.peer, verdict["case"]) or verdict["case"]
            causes.setdefault(cause, []).append(verdict)
        for cause, verdicts in causes.items():
            lines += _failure(run, cause, verdicts)
    return lines


def _failure(
    run: Run, cause: Known | str, verdicts: Sequence[dict[str, Any]]
) -> list[str]:
    """Describe failures of one cause by the worst of them."""
    worst = max(verdicts, key=_ratio)
    count = "1 case" if len(verdicts) == 1 else f"{len(verdicts)} cases"
    cases = ", ".join(f"`{v['case']}`" for v in verdicts)
    lines = [f"### {run.peer}: {worst['op']}, {count}", "", cases, ""]
    if isinstance(cause, Known):
        lines += [f"Cause: {cause.cause}. See <{cause.link}>.", ""]
    else:
        lines += ["Cause: not looked into.", ""]
    found = [worst["message"]] if worst["message"] else []
    found += [f"{o['output']}: {o['words']}" for o in worst["outputs"] if o["words"]]
    lines += [f"- {_plain(text)}" for text in (*found, *worst["diagnosis"])]
    return [*lines, "", f"Repeat: `{worst['repeat']}`", ""]


def known(peer: str, case: str) -> Known | None:
    """Return what is known of a failure, the first entry that is about it."""
    return next((k for k in KNOWN if k.explains(peer, case)), None)


def _absent(runs: Sequence[Run]) -> list[str]:
    if not runs:
        return []
    lines = [f"- {run.peer}: {_plain(run.reason)}" for run in runs]
    return ["## Not run", "", *lines, ""]


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(_plain(str(cell)) for cell in cells)} |"


def _plain(text: str) -> str:
    """Keep a stranger's text on one line and from being markup."""
    text = " ".join(text.split())
    return text.replace("<", "&lt;").replace("|", "\\|")
