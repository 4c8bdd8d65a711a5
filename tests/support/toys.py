# ruff: noqa: ARG002 - the parameters are those of every task
"""Tasks that take no time, and contenders that fail in every way, for sweeps."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssmref.bench.contender import Contender, UnavailableError
from ssmref.bench.costs import Cost
from ssmref.bench.field import Absent
from ssmref.bench.verification import Check

RIGHT = Check(True, 1.0, ("small sizes",))
MEBI = 2**20


@dataclass(frozen=True)
class Toy:
    """Doubles numbers."""

    op: str = "toy.double"
    sizes: Mapping[str, int] = field(default_factory=lambda: {"length": 8})
    growth: float = 1.0
    # Where larger than 0: what the model says that a call holds.
    workspace: int = 0
    kind = "op"
    group = form = note = ""
    definition = "0123456789ab"

    @property
    def id(self) -> str:
        return f"{self.op}/l{self.length}"

    @property
    def length(self) -> int:
        return self.sizes["length"]

    @property
    def tokens(self) -> int:
        return self.length

    @property
    def cost(self) -> Cost | None:
        return None

    def contenders(
        self, names: Iterable[str], threads: int
    ) -> Iterator[Contender | Absent]:
        assert threads > 0
        for name in names:
            if name == "toy.absent":
                yield Absent(name, "not installed: no toys")
            elif name == "peer":
                yield Absent("peer:toys", "not installed: no toys")
            elif name == "toy.explodes_when_imported":
                os._exit(5)
            else:
                prepare = _Prepare(name, self.length)
                yield Contender(name, self.op, prepare, lambda y: {"y": y})

    def copies(self, dtype: np.dtype, cache_bytes: int) -> int:
        return 1

    def arguments(self, dtype: np.dtype, copy: int = 0) -> dict[str, Any]:
        return {"x": np.full(self.length, 1.0 + copy, dtype)}

    def check_small(self, contender: Contender, dtype: np.dtype) -> Check:
        assert dtype
        wrong = contender.name == "toy.wrong"
        return Check(False, 99.0, ("small sizes",), "y is 3") if wrong else RIGHT

    def check_core(self, contender: Contender, dtype: np.dtype) -> Check | None:
        return Check(True, 2.0, ("core",)) if contender.name == "toy.core" else None

    def judge(self, arguments: Mapping[str, Any], dtype: np.dtype):
        expected = 2 * arguments["x"]

        def judged(_: Contender, got: dict[str, np.ndarray]) -> Check:
            right = np.array_equal(got["y"], expected)
            return Check(right, 1.0 if right else 99.0, ("timed result",), "y is off")

        return judged

    def bytes(self, dtype: np.dtype, threads: int = 1) -> dict[str, int]:
        own = self.length * dtype.itemsize
        more = {"state": 0, "workspace": self.workspace}
        return {"inputs": own, "outputs": own, **more}


@dataclass(frozen=True)
class _Prepare:
    """What a contender does, by its name."""

    name: str
    length: int

    def __call__(self, arguments: Mapping[str, Any]):
        x, calls = arguments["x"], []
        action = getattr(self, self.name.removeprefix("toy."), lambda _: None)

        def call() -> np.ndarray:
            calls.append(1)
            action(len(calls))
            return 2 * x

        return call

    def chatty(self, _: int) -> None:
        print(json.dumps({"seconds": -1.0}), flush=True)

    def killed(self, _: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def exits(self, _: int) -> None:
        print("no toys today", file=sys.stderr, flush=True)
        os._exit(3)

    def killed_later(self, count: int) -> None:
        if count > 12:
            os.kill(os.getpid(), signal.SIGKILL)

    def raises_later(self, count: int) -> None:
        if count > 12:
            raise MemoryError("no more toys")

    def hangs(self, _: int) -> None:
        time.sleep(600)

    def hangs_when_long(self, _: int) -> None:
        if self.length > 8:
            time.sleep(600)

    def slow(self, _: int) -> None:
        time.sleep(0.02 * self.length)

    def lazy(self, _: int) -> None:
        raise UnavailableError("only on Tuesdays")

    def hungry(self, _: int) -> None:
        np.ones(32 * MEBI, np.uint8).sum()

    def hungry_at_first(self, count: int) -> None:
        if count == 1:
            self.hungry(count)

    def slow_and_hungry_at_first(self, count: int) -> None:
        self.hungry_at_first(count)
        time.sleep(1.1)
