"""Suites: which tasks are measured together, at which lengths, and what of them.

A suite names its sources, functions ``module:function`` of this package, which are
loaded when the suite runs. A source is given a `Choice` and yields tasks
(`ssmref.bench.task.Task`) of its lengths and batch; what the user did not choose is
left out afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .task import OpTask, Task

# Beyond this many tokens the result is verified on so many of the first ones.
_SAMPLED = 256
# Heads of 64 channels: those of models of 130 million parameters have so many channels
# inside of their Mamba layers, and half of them outside.
_HEADS = 24
_QUICK_HEADS = 12
# Sequences that are longer than what an op can hold are not lengths.
LONGEST = 2**30


@dataclass(frozen=True)
class Choice:
    """What the user chose: lengths in ascending order, sequences side by side."""

    lengths: tuple[int, ...]
    batch: int = 1
    ops: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()

    def holds(self, name: str) -> bool:
        """Return whether an op or a block takes part: all do where none is named."""
        named = (*self.ops, *self.blocks)
        return not named or name in named


@dataclass(frozen=True)
class Suite:
    """What is measured together.

    `times` and `memory` are the sources of the tasks of which these are measured;
    `lengths` are those without ``--seq-lens``; `budget`, `limit` and `warm_up` are
    seconds, of all, of one point, and of its calls before it is timed; the rates of the
    machine are measured `rate_repeats` times. A `brief` suite shows one table in the
    end, not one for each task.
    """

    name: str
    purpose: str
    lengths: str
    times: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    budget: float | None = None
    limit: float = 120.0
    rounds: int = 11
    warm_up: float = 2.0
    impls: str = "cpu,peer"
    rate_repeats: int = 7
    brief: bool = False

    def wanted(self, choice: Choice) -> "list[tuple[Task, str]]":
        """Return what the user chose: tasks, and what is measured of them."""
        sources = (("times", self.times), ("memory", self.memory))
        found: dict[str, list[tuple[Task, str]]] = {}
        for what, names in sources:
            own = {task.id: task for task in _tasks(names, choice)}
            for task in filter(lambda task: choice.holds(task.op), own.values()):
                found.setdefault(task.id, []).append((task, what))
        return [entry for entries in found.values() for entry in entries]

    def names(self) -> list[str]:
        """Return the ops and blocks of this suite."""
        choice = Choice(parse_lengths(self.lengths)[:1])
        return list(dict.fromkeys(task.op for task, _ in self.wanted(choice)))


def _tasks(sources: tuple[str, ...], choice: Choice) -> "Iterator[Task]":
    for source in sources:
        module, _, function = source.partition(":")
        loaded = import_module(f".{module}", __package__)
        yield from getattr(loaded, function)(choice)


def op_tasks(choice: Choice) -> "Iterator[OpTask]":
    """Yield the ops that mix tokens, all as wide as in models of 130M."""
    return _op_tasks(choice, _HEADS, "inner width of models of 130M")


def quick_tasks(choice: Choice) -> "Iterator[OpTask]":
    """Yield the same ops at half of the width, without MIMO."""
    every = _op_tasks(choice, _QUICK_HEADS, "width of models of 130M")
    return (task for task in every if task.op != "mamba3.mimo")


def quick_memory_tasks(choice: Choice) -> "Iterator[OpTask]":
    """Yield those of a middle and of the longest sequence."""
    two = {choice.lengths[len(choice.lengths) // 2], choice.lengths[-1]}
    return (task for task in quick_tasks(choice) if task.length in two)


def _op_tasks(choice: Choice, heads: int, note: str) -> "Iterator[OpTask]":
    from dataclasses import replace

    from .task import OpTask
    from .workloads import FEW, MAMBA1, MAMBA2, MAMBA3, MIMO

    own = {"heads": heads}
    channels = {"channels": heads * MAMBA2["headdim"]}
    first = {"length": _SAMPLED, "heads": 2, "kv_heads": 2}
    rows = (
        ("mamba1.selective_scan", MAMBA1 | channels, {"channels": 32}, {"channels": 2}),
        ("mamba2.ssd", MAMBA2 | own, {"heads": 3}, {"heads": 1}),
        ("mamba3.siso", MAMBA3 | own, {"heads": 3}, {"heads": 1}),
        ("mamba3.mimo", MIMO | own, {"heads": 3}, {"heads": 1}),
        ("attention.attention", own | {"headdim": 64}, {"heads": 3}, first),
    )
    for op, width, smaller, sample in rows:
        small = {**width, **FEW, **smaller}
        task = OpTask(op, "scaling", note, {}, small, sample)
        for length in choice.lengths:
            cut = {"length": _SAMPLED, **sample} if length > _SAMPLED else sample
            sizes = {"batch": choice.batch, "length": length, **width}
            yield replace(task, sizes=sizes, sample=cut)


_OPS, _BLOCKS = ("suites:op_tasks",), ("blocks:block_tasks",)
_NAIVE = ("explorers:naive_tasks",)
_INFERENCE = (
    "inference:prefill_tasks",
    "inference:decode_tasks",
    "inference:batch_tasks",
)


def _suite(name: str, purpose: str, lengths: str, *sources: str) -> Suite:
    """Return a suite of times and memory."""
    return Suite(name, purpose, lengths, times=sources, memory=sources)


_EVERY = (
    Suite(
        *("quick", "A first look in two minutes: attention and three Mambas."),
        "256,1K,2K,4K,8K",
        times=("suites:quick_tasks",),
        memory=("suites:quick_memory_tasks",),
        # Enough for a machine that is four times as slow as usual ones.
        budget=240.0,
        limit=60.0,
        rounds=5,
        warm_up=0.3,
        impls="cpu,peer:torch:sdpa",
        rate_repeats=3,
        brief=True,
    ),
    _suite(
        *("scaling", "Time and memory against the length of the sequence."),
        *("1K..1Mx4", *_OPS, *_BLOCKS),
    ),
    Suite(
        *("memory", "Memory against the length of the sequence."),
        "1K,8K,32K,128K,800K",
        memory=(*_OPS, *_NAIVE, *_BLOCKS),
    ),
    _suite(
        *("inference", "Prompts, one token behind so many, many requests at once."),
        *("1K,8K,32K", *_INFERENCE),
    ),
    _suite(
        *("models", "A layer of each kind of every published model that is known."),
        *("2K", "blocks:model_tasks"),
    ),
    _suite(
        *("chunks", "Time, memory and error against the length of chunks."),
        *("8K", "explorers:chunk_tasks"),
    ),
    _suite(
        *("state", "Time and memory against the size of the state."),
        *("8K", "explorers:state_tasks"),
    ),
    _suite(
        *("forms", "Forms of the scan: one by one, in parallel, in chunks."),
        *("16K", "explorers:form_tasks"),
    ),
)
SUITES = {suite.name: suite for suite in _EVERY}


def parse_lengths(text: str) -> tuple[int, ...]:
    """Return the lengths of ``1K,8K``, ``1K..1M`` (doubling) or ``1K..1Mx4``.

    K and M are 1024 and its square. Raises ValueError with what is wrong.
    """
    lengths = {n for part in text.split(",") for n in _range(part.strip())}
    return tuple(sorted(lengths))


def _range(part: str) -> list[int]:
    first, dots, rest = part.partition("..")
    if not dots:
        return [_length(part, part)]
    last, _, factor = rest.partition("x")
    if factor not in ("", "2", "4"):
        raise ValueError(f"{part!r} multiplies by {factor!r}; possible are x2 and x4")
    low, high = _length(first, part), _length(last, part)
    if low > high:
        raise ValueError(f"{part!r} is empty: {first} is more than {last}")
    found = []
    while low <= high:
        found.append(low)
        low *= int(factor or 2)
    return found


def _length(text: str, part: str) -> int:
    factor = {"K": 2**10, "M": 2**20}.get(text[-1:].upper(), 1)
    digits = text if factor == 1 else text[:-1]
    number = int(digits) * factor if digits.isascii() and digits.isdecimal() else 0
    if not 0 < number <= LONGEST:
        example = "a length like 1024, 8K or 1M, or a range like 1K..1M or 1K..1Mx4"
        raise ValueError(f"{part!r} is no length; needed is {example}")
    return number
