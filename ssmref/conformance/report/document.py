"""The JSON file of verdicts; its format is published in verdicts.schema.json.

JSON has no infinity and no NaN: such numbers are the strings "inf", "-inf" and "nan".
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..diagnosis import Conclusion, diagnose_run
from ..expected import Expectation, expectation_of
from ..verdict import LIMIT, Finding, Verdict
from . import provenance
from .outcome import outcome
from .results import Results, place, repeat, words

FORMAT = 1


def write_json(path: Path, results: Results) -> None:
    """Write every verdict with the versions that it was given under."""
    text = json.dumps(document(results), indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def document(results: Results) -> dict[str, Any]:
    """Return what the file holds, in the types that JSON has."""
    end = outcome(results)
    return {
        "format": FORMAT,
        "target": results.candidate.name,
        "dtype": results.dtype,
        "limit": LIMIT,
        "created": provenance.now(),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "required": list(results.required),
        "counts": results.counts,
        "conclusion": end.sentence,
        "exit_status": end.status,
        "unmatched": [_expectation(e) for e in results.unmatched],
        "bugs": [_bugs(c) for c in diagnose_run(results.verdicts)],
        "verdicts": [_verdict(results, v) for v in results.verdicts],
    }


def _expectation(expectation: Expectation) -> dict[str, str]:
    return {
        "case": expectation.case,
        "reason": expectation.reason,
        "link": expectation.link,
    }


def _bugs(conclusion: Conclusion) -> dict[str, Any]:
    return {
        "op": conclusion.op,
        "bugs": list(conclusion.bugs),
        "explained": conclusion.explained,
        "failed": conclusion.failed,
        "alternatives": [list(names) for names in conclusion.alternatives],
    }


def _verdict(results: Results, verdict: Verdict) -> dict[str, Any]:
    known = expectation_of(verdict, results.expectations)
    return {
        "case": verdict.case.id,
        "op": verdict.case.op,
        "level": verdict.case.level,
        "flags": list(verdict.case.flags),
        "reason": verdict.case.reason,
        "dtype": verdict.dtype,
        "status": verdict.status,
        "expected": _expectation(known) if known else None,
        "message": verdict.message,
        "diagnosis": list(verdict.diagnosis),
        "resembles": [list(names) for names in verdict.resembles],
        "seconds": round(verdict.seconds, 6),
        "repeat": repeat(results.candidate, verdict),
        "outputs": [_finding(verdict, f) for f in verdict.findings],
    }


def _finding(verdict: Verdict, finding: Finding) -> dict[str, Any]:
    measured = not finding.problem and finding.size > 0
    return {
        "output": finding.output,
        "passed": finding.passed,
        "ratio": None if finding.problem else number(finding.ratio),
        "index": list(finding.index),
        "place": place(verdict, finding) if measured and not finding.passed else "",
        "got": number(finding.got) if measured else None,
        "expected": number(finding.expected) if measured else None,
        "wrong": finding.wrong,
        "size": finding.size,
        "problem": finding.problem,
        "words": "" if finding.passed else words(verdict, finding),
        "profile": [number(ratio) for ratio in finding.profile],
    }


def number(value: Any) -> Any:
    """Return a number as JSON can hold it."""
    if isinstance(value, complex | np.complexfloating):
        return {"real": number(value.real), "imag": number(value.imag)}
    value = float(value)
    return value if math.isfinite(value) else str(value)
