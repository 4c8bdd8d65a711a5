"""The process in which one contender computes: ``python -m ssmref.bench.child``.

It reads orders, one JSON object per line, and answers each with one line; lines with
"step" say what it is doing in between. What the contender prints goes to the error
stream. It ends when its orders end: also when the process that gives them dies.

- ``{"do": "resolve", "names": [...], "tasks": [...]}``: who takes part in which task;
- ``{"do": "prepare", "task": ..., "implementation": ...}``: verify, make the inputs,
  verify a result at full size, warm up; an order may have what another process found
  at "small" sizes and on the "core" cases;
- ``{"do": "go"}``: one sample of what was prepared;
- ``{"do": "gauge", ...}``, then ``{"do": "speeds"}``: one sample of each rate;
- ``{"do": "memory", "task": ..., "call": true}``: verify, and measure one call.
"""

import gc
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np

from .contender import Contender, UnavailableError
from .field import Absent
from .measure import in_turn, settled, warm_up
from .peaks import measured_call
from .probes import Probes, wait_until_idle
from .run import ABSENT, NOTHING, WRONG, raised
from .task import Task, restore
from .threads import limited
from .verification import Check

# The first call at these sizes may load kernels, which is no memory of every call; of
# a call that is shorter than these seconds, the second one is measured.
REPEATED_BELOW = 1.0

Order = Mapping[str, Any]
Answer = dict[str, Any]


class DroppedError(Exception):
    """The contender gets no figure, with the status and the reason."""

    def __init__(self, status: str, reason: str, note: str = ""):
        """Say why."""
        super().__init__(reason)
        self.answer = {"dropped": status, "reason": reason, "note": note}


class Server:
    """What a child does: one method per order."""

    def __init__(self, say: Callable[[Answer], None]):
        """Answer with `say`."""
        self.say = say
        self.held = ExitStack()
        self.pinned: dict[str, Any] = {}
        self.call: Callable[[], object] | None = None
        self.latest, self.verified, self.copies = 0.0, 0.0, 1
        self.working = False
        self.check = NOTHING
        self.found: dict[str, dict[str, Any]] = {}
        self.probes: Probes | None = None

    def answer(self, order: Order) -> Answer:
        """Do what the order says."""
        try:
            return getattr(self, f"do_{order['do']}")(order)
        except DroppedError as dropped:
            return {**dropped.answer, "check": encoded(self.check), **self.found}

    def do_resolve(self, order: Order) -> Answer:
        """Return for each task who takes part, and what they predict to hold."""
        self._limit(order["threads"])
        return {
            "resolved": [
                [
                    _introduced(found, restore(task))
                    for found in restore(task).contenders(
                        order["names"], order["threads"]
                    )
                ]
                for task in order["tasks"]
            ]
        }

    def do_prepare(self, order: Order) -> Answer:
        """Verify and warm up; the answer has the times of warming up."""
        task, contender, dtype = self._verified(order)
        copies = task.copies(dtype, order["cache_bytes"])
        every = [task.arguments(dtype, copy) for copy in range(copies)]
        setup = time.monotonic() - self.verified
        self._step("computing golden on a sample")
        judge = self._attempt(contender, lambda: task.judge(every[0], dtype))
        calls: list[Callable[[], Any]] = []

        def first_result() -> Check:
            calls.extend(contender.prepare(copy) for copy in every)
            return judge(contender, contender.outputs(calls[0]()))

        self._step("verifying at full size")
        self._judge(contender, first_result)
        self._step("warming up")
        self.call, self.copies = in_turn(calls), copies
        seconds = order["warm_up"]
        warm = self._attempt(
            contender, lambda: warm_up(in_turn(calls), seconds=seconds)
        )
        self.latest = warm[-1]
        gc.collect()
        gc.disable()
        return self._ready(contender) | {
            "copies": copies,
            "setup": setup,
            "calls": warm,
            "warm_up": [seconds / copies for seconds in warm],
        }

    def do_go(self, _: Order) -> Answer:
        """Return the seconds of one sample; what it has begun has ended then."""
        call = self.call
        if call is None:
            raise ValueError("nothing was prepared")
        try:
            self.latest = settled(call, self.latest)
        except Exception as error:  # a stranger's code may raise anything
            raise DroppedError(WRONG, raised(error)) from error
        wait_until_idle()
        return {"seconds": self.latest / self.copies}

    def do_gauge(self, order: Order) -> Answer:
        """Get ready to measure rates; the answer has the names of them."""
        if self.probes is None:
            self._limit(order["threads"])
            dtype = np.dtype(order["dtype"])
            self.probes = Probes(order["threads"], dtype, order["cache_bytes"])
        sizes, products = (order["size"], order["copies"]), order["products"]
        return {"kinds": self.probes.prepare(*sizes, products=products)}

    def do_speeds(self, _: Order) -> Answer:
        """Return one sample of each rate."""
        assert self.probes is not None
        found = self.probes.speeds()
        wait_until_idle()
        return {"speeds": found}

    def do_memory(self, order: Order) -> Answer:
        """Return the peaks of one call, or what there is without the call."""
        task, contender, dtype = self._verified(order)
        arguments = task.arguments(dtype)
        setup = time.monotonic() - self.verified
        call = self._attempt(contender, lambda: contender.prepare(arguments))
        if not order["call"]:
            return self._ready(contender) | measured_call(None)[1]
        self._step("measuring memory")
        result, peaks, seconds = self._measured(contender, call)
        if seconds < REPEATED_BELOW:
            result, peaks, seconds = self._measured(contender, call)
        judge = self._attempt(contender, lambda: task.judge(arguments, dtype))
        self._judge(contender, lambda: judge(contender, contender.outputs(result)))
        return self._ready(contender) | peaks | {"setup": setup, "calls": [seconds]}

    def _measured(
        self, contender: Contender, call: Callable[[], Any]
    ) -> tuple[Any, Answer, float]:
        """Return what a call returned, its peaks of memory and its seconds."""
        start = time.monotonic()
        result, peaks = self._attempt(contender, lambda: measured_call(call))
        return result, peaks, time.monotonic() - start

    def _verified(self, order: Order) -> tuple[Task, Contender, np.dtype]:
        """Return who is right at small sizes and on the core cases."""
        self._limit(order["threads"])
        task, dtype = restore(order["task"]), np.dtype(order["dtype"])
        contender = _chosen(task, order)
        self._step("verifying")
        self._once("small", order, contender, task.check_small, dtype)
        self._once("core", order, contender, task.check_core, dtype)
        self.verified, self.working = time.monotonic(), True
        self._step("making inputs")
        return task, contender, dtype

    def _once(
        self,
        name: str,
        order: Order,
        contender: Contender,
        check: Callable[[Contender, np.dtype], Check | None],
        dtype: np.dtype,
    ) -> None:
        """Judge what does not depend on the length, unless the order has the result."""
        if order.get(name) is None:
            found = self._attempt(contender, lambda: check(contender, dtype) or NOTHING)
            self.found[name] = encoded(found)
        else:
            found = decoded(order[name])
        self._judge(contender, lambda: found)

    def _judge(self, contender: Contender, step: Callable[[], Check]) -> None:
        found = self._attempt(contender, step)
        self.check += found
        if not found.passed:
            raise DroppedError(WRONG, found.problem, contender.note)

    def _attempt(self, contender: Contender, step: Callable[[], Any]) -> Any:
        """Do a step; what it raises is wrong."""
        try:
            return step()
        except (UnavailableError, NotImplementedError) as error:
            raise DroppedError(ABSENT, str(error), contender.note) from error
        except Exception as error:  # a stranger's code may raise anything
            self.check = Check(False, float("inf"), (), raised(error))
            raise DroppedError(WRONG, raised(error), contender.note) from error

    def _ready(self, contender: Contender) -> Answer:
        return {
            "note": contender.note,
            "check": encoded(self.check),
            "pinned": self.pinned,
            **self.found,
        }

    def _limit(self, threads: int) -> None:
        self.pinned = self.held.enter_context(limited(threads))

    def _step(self, words: str) -> None:
        self.say({"step": words, "working": self.working})


def encoded(check: Check) -> dict[str, Any]:
    """Return a check as JSON holds it: there is no infinity."""
    ratio = check.ratio if np.isfinite(check.ratio) else None
    return asdict(check) | {"ratio": ratio, "places": list(check.places)}


def decoded(check: Mapping[str, Any]) -> Check:
    """Return what was encoded."""
    ratio = float("inf") if check["ratio"] is None else check["ratio"]
    places = tuple(check["places"])
    return Check(check["passed"], ratio, places, check["problem"])


def _introduced(found: Contender | Absent, task: Task) -> dict[str, Any]:
    if isinstance(found, Absent):
        return {"name": found.name, "absent": found.reason}
    numbers = found.workspace(**task.sizes)
    return {"name": found.name, "note": found.note, "workspace": numbers}


def _chosen(task: Task, order: Order) -> Contender:
    name = order["implementation"]
    for found in task.contenders([name], order["threads"]):
        if found.name == name:
            if isinstance(found, Absent):
                raise DroppedError(ABSENT, found.reason)
            return found
    raise DroppedError(ABSENT, f"{name} does not offer {task.op}")


def _orders(stream: Any) -> queue.SimpleQueue:
    """Return a queue of orders; the process ends with the stream, whatever it does."""
    orders: queue.SimpleQueue = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            orders.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return orders


def main() -> None:
    """Answer orders until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what contenders print is no answer

    def say(answer: Answer) -> None:
        answers.write(json.dumps(answer, allow_nan=False) + "\n")
        answers.flush()

    server, orders = Server(say), _orders(sys.stdin)
    while True:
        say(server.answer(orders.get()))


if __name__ == "__main__":
    main()
