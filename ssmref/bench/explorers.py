"""Explorers as tasks: chunk lengths, sizes of states, forms of a scan, naive attention.

What is varied stands in the sizes of the task: chunk, state, length.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import explorers_chunked as chunked
from . import explorers_naive as naive
from . import explorers_scans as scans
from .bytes import naive_attention_bytes
from .contender import Contender, UnavailableError
from .costs import Cost
from .field import Absent, resolve
from .task import Judge, OpTask
from .verification import Check
from .workloads import MAMBA1, MAMBA2, MAMBA3

if TYPE_CHECKING:
    from .suites import Choice

CHUNKS = (16, 32, 48, 64, 96, 128, 256)
STATES = (16, 32, 64, 128, 256)
GOLDEN = "ssmref.golden"
# Forms are compared at a width at which everything can be written out.
_FORM_CHANNELS, _FORM_STATE = 64, 16
_FEW = {"batch": 2, "length": 130}
_SAMPLED = {"length": 512, "heads": 2, "kv_heads": 2}
# Several chunks of the longest and a ragged one.
_LONG = {"batch": 2, "length": 700}


@dataclass(frozen=True)
class StateTask(OpTask):
    """An op whose state is varied."""

    @property
    def kind(self) -> str:
        """Sizes of states are a kind of workloads."""
        return "state"

    def contenders(
        self, names: Iterable[str], threads: int
    ) -> Iterator[Contender | Absent]:
        """Yield everybody who has this op; libraries if they are asked for by name.

        What they write out grows with the state: it would fill the memory.
        """
        yield from resolve(_ours(names), self, threads)


@dataclass(frozen=True)
class FormTask(OpTask):
    """A form of the selective scan; the recurrence has no name.

    `cost` counts what the form does and moves, not what any algorithm needs.
    """

    @property
    def kind(self) -> str:
        """Forms are a kind of workloads."""
        return "forms"

    @property
    def cost(self) -> Cost:
        """Operations and numbers moved by this form."""
        return scans.cost(self.form, **self.sizes)

    def contenders(
        self, names: Iterable[str], threads: int
    ) -> Iterator[Contender | Absent]:
        """Yield everybody who has this form, and golden; libraries have none of them.

        Who has only the recurrence is not missed elsewhere.
        """
        asked = [
            name for name in _ours(names) if not self.form or not _is_library(name)
        ]
        for found in resolve([*asked, GOLDEN], self, threads):
            if isinstance(found, Contender) or not self.form:
                yield found

    def bytes(self, dtype: np.dtype, threads: int = 1) -> dict[str, int]:
        """Predict what a call of `ssmref.cpu` holds, with what the form writes out."""
        plain = replace(self, form="")
        fused = OpTask.bytes(plain, dtype, threads)
        held = scans.workspace(self.form, **self.sizes) * dtype.itemsize
        return fused | {"workspace": fused["workspace"] + held}


def _ours(names: Iterable[str]) -> list[str]:
    """Return the names without those that stand for all libraries or yardsticks."""
    return [name for name in names if name not in ("peer", "yardstick")]


def _is_library(name: str) -> bool:
    return name.partition(":")[0] in ("peer", "yardstick")


@dataclass(frozen=True)
class _Dressed(OpTask):
    """An op that is run in another way, and verified as the op that it is."""

    @property
    def plain(self) -> OpTask:
        """The op itself, with the sizes that it knows."""
        raise NotImplementedError

    @property
    def cost(self) -> Cost:
        """What one call needs at least."""
        return self.plain.cost

    def arguments(self, dtype: np.dtype, copy: int = 0) -> dict[str, Any]:
        """Return the inputs of the op."""
        return self.plain.arguments(dtype, copy)

    def input_bytes(self, dtype: np.dtype) -> int:
        """Return how much memory they take."""
        return self.plain.input_bytes(dtype)

    def check_small(self, contender: Contender, dtype: np.dtype) -> Check:
        """Judge a contender as one of the op."""
        return self.plain.check_small(contender, dtype)

    def check_core(self, contender: Contender, dtype: np.dtype) -> Check | None:
        """There are no cases of this."""
        del contender, dtype

    def judge(self, arguments: Mapping[str, Any], dtype: np.dtype) -> Judge:
        """Compute golden on a sample of the op."""
        return self.plain.judge(arguments, dtype)


@dataclass(frozen=True)
class ChunkTask(_Dressed):
    """An op in chunks of ``sizes["chunk"]`` tokens."""

    @property
    def kind(self) -> str:
        """Chunks are a kind of workloads."""
        return "chunks"

    @property
    def plain(self) -> OpTask:
        """The op, without chunks."""
        known = {name: size for name, size in self.sizes.items() if name != "chunk"}
        return OpTask(self.op, self.group, "", known, self.small, self.sample)

    @property
    def id(self) -> str:
        """The name: ``mamba2.ssd_chunked/b1l8192h24p64g1n128q64``."""
        name, _, sizes = self.plain.id.partition("/")
        return f"{name}_{self.form}/{sizes}q{self.sizes['chunk']}"

    def contenders(
        self, names: Iterable[str], threads: int
    ) -> Iterator[Contender | Absent]:
        """Yield packages whose chunks can be chosen, and for SSD our own in NumPy."""
        del threads
        own = [chunked.NUMPY] if self.op == "mamba2.ssd" else []
        asked = [name for name in names if not _is_library(name)]
        for name in dict.fromkeys((*asked, *own)):
            try:
                yield chunked.contender(name, self.op, self.sizes["chunk"])
            except UnavailableError as error:
                yield Absent(name, str(error))

    def bytes(self, dtype: np.dtype, threads: int = 1) -> dict[str, int]:
        """Predict what a call of `ssmref.cpu` holds with such chunks."""
        usual = self.plain.bytes(dtype, threads)
        numbers = chunked.workspace(self.op, threads, **self.sizes)
        return usual | {"workspace": numbers * dtype.itemsize}


@dataclass(frozen=True)
class NaiveTask(_Dressed):
    """Attention that writes all scores out."""

    @property
    def plain(self) -> OpTask:
        """Attention, however it is computed."""
        named = ("attention.attention", self.group, self.note)
        return OpTask(*named, self.sizes, self.small, self.sample)

    @property
    def id(self) -> str:
        """The name: ``attention.naive/b1l1024h24p64``."""
        return f"{self.op}/{self.plain.id.partition('/')[2]}"

    @property
    def growth(self) -> float:
        """Every token looks at every token."""
        return 2.0

    def contenders(
        self, names: Iterable[str], threads: int
    ) -> Iterator[Contender | Absent]:
        """Yield the one that we have, in NumPy."""
        del names, threads
        yield naive.CONTENDER

    def bytes(self, dtype: np.dtype, threads: int = 1) -> dict[str, int]:
        """Predict what the matrix of scores takes, and the rest."""
        del threads
        return naive_attention_bytes(dtype, **self.sizes)


def naive_tasks(choice: "Choice") -> Iterator[NaiveTask]:
    """Yield naive attention at the width of attention in the other suites."""
    heads = {"heads": 24, "headdim": 64}
    small = {**_FEW, **heads, "heads": 3}
    for length in choice.lengths:
        sizes = {"batch": choice.batch, "length": length, **heads}
        yield NaiveTask("attention.naive", "explorers", "", sizes, small, _SAMPLED)


def chunk_tasks(choice: "Choice") -> Iterator[ChunkTask]:
    """Yield SSD and Mamba-3 in chunks of each length."""
    for op, width in (("mamba2.ssd", MAMBA2), ("mamba3.siso", MAMBA3)):
        small = {**width, **_LONG, "heads": 3}
        for length in choice.lengths:
            for chunk in CHUNKS:
                sizes = {"batch": choice.batch, "length": length, **width}
                yield ChunkTask(
                    *(op, "explorers", "", {**sizes, "chunk": chunk}, small),
                    sample={"heads": 1},
                    form="chunked",
                )


def state_tasks(choice: "Choice") -> Iterator[StateTask]:
    """Yield the scan and SSD with equal channels and equal states, and Mamba-3."""
    cut = {"heads": 3}
    rows = (
        ("mamba1.selective_scan", MAMBA1, {"channels": 32}, {"channels": 2}),
        ("mamba2.ssd", MAMBA2, cut, {"heads": 1}),
        ("mamba3.siso", MAMBA3, cut, {"heads": 1}),
    )
    for op, width, smaller, sample in rows:
        for length in choice.lengths:
            for state in STATES:
                own = {**width, "state": state}
                if "angles" in own:
                    own["angles"] = state // 4
                sizes = {"batch": choice.batch, "length": length, **own}
                small = {**own, **_FEW, **smaller}
                yield StateTask(op, "explorers", "", sizes, small, sample)


def form_tasks(choice: "Choice") -> Iterator[FormTask]:
    """Yield all forms of the selective scan, at these lengths and shorter ones."""
    width = {"channels": _FORM_CHANNELS, "state": _FORM_STATE}
    parts = {max(n // part, 1) for n in choice.lengths for part in (1, 4, 16)}
    for form in scans.FORMS:
        for length in sorted(parts):
            sizes = {"batch": choice.batch, "length": length, **width}
            small = {**width, **_FEW, "channels": 5}
            note = scans.words(form, length)
            named = ("mamba1.selective_scan", "explorers", note, sizes, small)
            yield FormTask(*named, {"channels": 2}, form)
