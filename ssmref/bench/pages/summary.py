"""What a run shows, in sentences that are written from its figures."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .findings import (
    OURS,
    Growth,
    Overtaking,
    agreement,
    cache_steps,
    fastest,
    growths,
    memory_series,
    overtakings,
    time_series,
)
from .growth import interval, named, onset
from .points import MEASURED, STATUSES, Subject
from .section import KINDS, in_order
from .series import labels, rank
from .sources import Run
from .telling import held, latency, states
from .words import (
    digits,
    listed,
    of_bytes,
    of_length,
    plural,
    spoken,
    unique,
)

# A power that is known no better than this says little.
LOOSE = 0.25
# A machine with so much load by CPU disturbs what is timed; so do unstable times.
BUSY, UNSTABLE_SHARE = 0.5, 0.25


def title(run: Run) -> str:
    """Return what stands on top."""
    return f"Scaling on {listed(list(run.machines.values()))}"


def summary(run: Run) -> list[str]:
    """Return the sentences; what the records do not show is not spoken of."""
    times = in_order(time_series(run, *KINDS))
    bytes_ = in_order(memory_series(run, *KINDS))
    crossed = fastest(list(overtakings(times)))
    found = list(growths(times, bytes_))
    return [
        *_counts(run),
        *_care(run),
        *_crossings([o for o in crossed if _spoken_of(run, o.other.subject)], times),
        *_powers(run, found, "time"),
        *_powers(run, found, "memory"),
        *_steps(run, times),
        *_agreement(run),
        *latency(run, _spoken_of),
        *held(run),
        *states(run),
        *run.notes,
    ]


def _spoken_of(run: Run, subject: Subject) -> bool:
    """Return whether a subject is one of ours; of no ours, the first who took part.

    The tables have everybody. Of several dtypes and numbers of threads sentences are
    about the one with most points.
    """
    names = {s.implementation for s in run.subjects}
    first = OURS if OURS in names else min(names, key=lambda n: (rank(n), n))
    settings = Counter((s.dtype, s.threads) for s in run.subjects)
    common = settings.most_common(1)[0][0]
    same = (subject.dtype, subject.threads) == common
    return subject.implementation == first and same


def _counts(run: Run) -> Iterator[str]:
    subjects = run.subjects
    measured = sum(s.status == MEASURED for s in subjects)
    settings = unique(f"{s.dtype}, {plural(s.threads, 'thread')}" for s in subjects)
    rest = Counter(STATUSES.get(s.status, s.status) for s in subjects)
    rest.pop(STATUSES[MEASURED], None)
    words = [f"{count} {status}" for status, count in rest.items()]
    more = f"; {listed(words)}, with the reasons in the last table" if words else ""
    yield (
        f"{plural(measured, 'point')} measured ({'; '.join(settings)}), every time "
        f"after its results were found right{more}."
    )


def _care(run: Run) -> Iterator[str]:
    """Say what makes the times uncertain, where something does."""
    busy = [e for e in run.environments.values() if _others(e) > BUSY]
    if busy:
        most = max(e["load"][0] for e in busy)
        cpus = busy[0]["cpus"]
        yield (
            f"The machine was busy with something else: a load of {digits(most, 2)} on "
            f"{plural(cpus, 'CPU')} before a run. Times are to be read with care, and "
            "measured again when it is idle."
        )
    timed = [t for t in run.timings if t.samples]
    unstable = sum(bool(t.unstable) for t in timed)
    if unstable > UNSTABLE_SHARE * len(timed):
        yield (
            f"{unstable} of {plural(len(timed), 'time')} have quartiles that are more "
            "than 10 % apart: other work, few samples or a frequency that varies. More "
            "rounds on an idle machine help."
        )


def _others(environment: Mapping[str, Any]) -> float:
    """Return which part of the CPUs was busy before the run."""
    load = environment.get("load") or [0.0]
    return load[0] / max(environment.get("cpus") or 1, 1)


def _crossings(found: Sequence[Overtaking], times: Sequence) -> Iterator[str]:
    """Say where attention is overtaken, by the fastest attention that was measured."""
    names = named(times)
    for one in found:
        other = spoken(names[id(one.other)])
        attention = spoken(names[id(one.attention)])
        if one.found is None:
            tail = f"{onset(one)} from {of_length(one.lengths[0])} to"
            tail = f"{tail} {of_length(one.lengths[-1])} tokens"
            yield f"{other} is faster than {attention} {tail}."
        else:
            yield (
                f"On this machine {other} overtakes {attention} at "
                f"{of_length(one.found.length)} tokens (by the quartiles: "
                f"{interval(one)})."
            )


def _powers(run: Run, found: Iterable[Growth], what: str) -> Iterator[str]:
    own = [g for g in found if g.of == what]
    own = [g for g in own if what == "memory" or _spoken_of(run, g.subject)]
    if not own:
        return
    names = labels([g.subject for g in own])
    words = unique(
        f"{spoken(name)} {_power_words(g)}" for g, name in zip(own, names, strict=True)
    )
    verb = "Time grows" if what == "time" else "Memory besides the inputs grows"
    counted = {g.provenance for g in own}
    how = "" if counted == {"measured"} else f" ({listed(sorted(counted))})"
    yield f"{verb} with this power of the length{how}: {'; '.join(words)}."


def _power_words(g: Growth) -> str:
    found = g.found
    if found.low is None or found.high is None:
        return f"{found.power:.2f}"
    reach = (found.high - found.low) / 2
    loose = f" (loose, of {found.points} lengths)" if reach > LOOSE else ""
    return f"{found.power:.2f} ± {reach:.2f}{loose}"


def _steps(run: Run, times: Sequence) -> Iterator[str]:
    own = [s for s in cache_steps(run, times) if _spoken_of(run, s.subject)]
    if not own:
        return
    names = labels([s.subject for s in own])
    seen = [
        f"{spoken(name)} slows down {digits(s.found.factor)} times beyond its usual "
        f"growth between {of_length(s.found.before)} and {of_length(s.found.after)} "
        f"tokens, where its data outgrow {s.cache} ({of_bytes(s.size)})"
        for s, name in zip(own, names, strict=True)
        if s.found is not None
    ]
    yield from (f"{sentence}." for sentence in seen)
    if not seen:
        caches = unique(s.cache for s in own)
        yield f"Steps in time where the data outgrow {listed(caches)}: not seen."


def _agreement(run: Run) -> Iterator[str]:
    found = agreement(run.memories)
    if found.worst is None:
        return
    own = found.worst.subject.implementation
    whose = f" of {own}" if own == OURS else ""
    sentence = (
        f"Measured memory{whose} is within 10 % of the byte model at {found.within} of "
        f"{plural(found.total, 'point')}"
    )
    worst = found.worst
    if found.within < found.total:
        [name] = labels([worst.subject])
        sentence += (
            f"; furthest off is {spoken(name)} at "
            f"{of_length(worst.subject.length or 1)} tokens, "
            f"{digits(worst.agreement or 0.0)} times the model"
        )
    yield f"{sentence}."
