"""Failures that are known: a file says which, why, and where that is tracked.

::

    [[expected]]
    case = "mamba2.ssd/packed/l140"
    reason = "sequences of length 0 are not supported"
    link = "https://example.org/issues/1"
    dtype = "float16"

``link`` and ``dtype`` may be left out; without a dtype the entry holds for all. There
are no patterns: an entry is one case, so that it is seen when that case recovers.
"""

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .catalogue import ALL_CASES
from .precision import PRECISIONS
from .verdict import EXPECTED, FAILED, PASSED, UNEXPECTED, Verdict


class ExpectationError(Exception):
    """The file of expected failures cannot be used; the message says why."""


@dataclass(frozen=True)
class Expectation:
    """A case that is known to fail, in one dtype or, without one, in all."""

    case: str
    reason: str
    link: str = ""
    dtype: str = ""

    def covers(self, case_id: str, dtype: str) -> bool:
        """Return whether this is said of a case in a dtype."""
        return self.case == case_id and self.dtype in ("", dtype)


def load(path: Path) -> tuple[Expectation, ...]:
    """Read a file of expected failures. Raises ExpectationError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExpectationError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExpectationError(f"{path} is no TOML: {error}") from error
    entries = document.pop("expected", [])
    if document or not _is_list_of_tables(entries):
        raise ExpectationError(f"{path} may hold nothing but [[expected]] tables")
    found: list[Expectation] = []
    for number, entry in enumerate(entries, 1):
        if problem := _problem(entry) or _clash(entry, found):
            raise ExpectationError(f"{path}, entry {number} of [[expected]]: {problem}")
        found.append(Expectation(**entry))
    return tuple(found)


def _is_list_of_tables(entries: Any) -> bool:
    return isinstance(entries, list) and all(isinstance(e, dict) for e in entries)


def _problem(entry: dict[str, Any]) -> str:
    """Say what is wrong with an entry; nothing where it is right."""
    known = [field.name for field in fields(Expectation)]
    if unknown := [key for key in entry if key not in known]:
        return f"{unknown[0]!r} is unknown; known are {', '.join(known)}"
    for key in ("case", "reason"):
        if not str(entry.get(key, "")).strip():
            return f"it needs a {key}"
    if wrong := [key for key, value in entry.items() if not isinstance(value, str)]:
        return f"{wrong[0]} is {entry[wrong[0]]!r}; it has to be a string"
    if entry["case"] not in ALL_CASES:
        return _unknown_case(entry["case"])
    if entry.get("dtype", PRECISIONS[0]) not in PRECISIONS:
        return f"dtype is {entry['dtype']!r}; it may be {', '.join(PRECISIONS)}"
    if not entry.get("link", "https://").startswith(("https://", "http://")):
        return f"link is {entry['link']!r}; it has to start with https:// or http://"
    return ""


def _unknown_case(case_id: str) -> str:
    close = difflib.get_close_matches(case_id, ALL_CASES, n=1, cutoff=0.6)
    hint = f"; meant was: {close[0]}" if close else "; see `ssmref cases`"
    return f"the case {case_id!r} is unknown{hint}"


def _clash(entry: dict[str, Any], earlier: Iterable[Expectation]) -> str:
    dtype = entry.get("dtype", "")
    for other in earlier:
        same = other.case == entry["case"]
        if same and (dtype == other.dtype or not dtype or not other.dtype):
            return f"the case {other.case} has an earlier entry"
    return ""


def expectation_of(
    verdict: Verdict, expectations: Iterable[Expectation]
) -> Expectation | None:
    """Return what is expected of the case of a verdict in its dtype, if anything."""
    fitting = (e for e in expectations if e.covers(verdict.case.id, verdict.dtype))
    return next(fitting, None)


def apply(
    verdicts: Iterable[Verdict], expectations: Sequence[Expectation]
) -> list[Verdict]:
    """Return the verdicts as seen by someone who knows what is expected.

    A failure that is expected becomes EXPECTED, a pass that is not UNEXPECTED; what is
    not provided stays so.
    """
    seen = {FAILED: EXPECTED, PASSED: UNEXPECTED}
    return [
        replace(v, status=seen.get(v.status, v.status))
        if expectation_of(v, expectations)
        else v
        for v in verdicts
    ]


def unmatched(
    verdicts: Iterable[Verdict], expectations: Iterable[Expectation], dtype: str
) -> list[Expectation]:
    """Return the entries for `dtype` whose case was not run: nobody knows if they hold.

    To be asked of verdicts to which the expectations were applied.
    """
    run = {v.case.id for v in verdicts if v.status in (EXPECTED, UNEXPECTED)}
    return [e for e in expectations if e.dtype in ("", dtype) and e.case not in run]
