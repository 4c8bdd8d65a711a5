"""Whole blocks as tasks: at equal parameter counts, or layers of published models."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from ..conformance.candidates import TargetError, arrays_of, load
from . import blocks_check as check
from .blocks_cost import block_cost
from .blocks_run import Layers, caches_of, flat, inputs, needed_ops, run, small
from .bytes import block_bytes, cache_numbers
from .contender import Contender, Outputs, UnavailableError
from .costs import Cost
from .field import Absent
from .presets import BLOCKS, MODELS, block_of, matched, parameters
from .run import NOTHING
from .task import Judge
from .verification import Check

if TYPE_CHECKING:
    from .suites import Choice

PREFILL, DECODE = "prefill", "decode"
MATCHED = "matched"
# As wide as models of 130 million parameters.
WIDTH = 768
# Four times the tokens need so much more where all but attention is negligible.
_QUADRATIC = 4**1.9
# Changed when times of the same block cease to be comparable.
_DEFINITION = 1
# The parameters of a decoded token take turns until the last cache is filled so often.
_TIMES_CACHE, _MOST_COPIES = 3, 64
# Tokens of the timed result that golden computes too: several chunks and some more.
_FIRST, _LAST = 200, 70
_SMALL = {"batch": 2, "length": 330}
# Sizes of what is computed; the others are those of the block.
_TOKENS = ("batch", "length", "context")
# Peers by library; a module has `CONTENDERS`.
PEERS = {"torch": "torch_blocks", "transformers": "transformers_blocks"}


@dataclass(frozen=True)
class BlockTask:
    """A block over tokens, or over one token behind a context.

    `model` is a published one, of which one layer is measured, or "matched": layers of
    about equally many parameters. Sizes: batch and length, or context for the form
    decode; width, layers and parameters tell blocks apart.
    """

    op: str
    sizes: Mapping[str, int]
    model: str = MATCHED
    form: str = ""
    group: str = "blocks"

    @property
    def kind(self) -> str:
        """Prefill and decode are inference."""
        return "inference" if self.form else "block"

    @property
    def layers(self) -> Layers:
        """The layers that make up the block."""
        if self.model == MATCHED:
            return matched(self.sizes["width"])[self.op]
        every = [layer for _, layer in MODELS[self.model].layers]
        return tuple(layer for layer in every if block_of(layer) == self.op)[:1]

    @property
    def id(self) -> str:
        """The name: ``block.mamba2/b1l8192e768`` or ``.../b1c8192e768:mamba2-130m``."""
        form = f"_{self.form}" if self.form else ""
        sizes = self.sizes
        tokens = f"c{sizes['context']}" if self._decodes else f"l{sizes['length']}"
        own = "" if self.model == MATCHED else f":{self.model}"
        return f"{self.op}{form}/b{sizes['batch']}{tokens}e{sizes['width']}{own}"

    @property
    def note(self) -> str:
        """What the block is made of."""
        count = sum(map(parameters, self.layers))
        of = "" if self.model == MATCHED else f" of {self.model}"
        many = f"{len(self.layers)} layers" if len(self.layers) > 1 else "1 layer"
        return f"{many}{of}, {count / 1e6:.2f} million parameters"

    @property
    def definition(self) -> str:
        """A short hash of all that a time depends on but machine and implementation."""
        parts = [self.op, self.form, sorted(self.sizes.items()), repr(self.layers)]
        text = json.dumps([*parts, _DEFINITION])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def _decodes(self) -> bool:
        return self.form == DECODE

    @property
    def _tokens(self) -> dict[str, int]:
        """Batch, and the length or the context."""
        return {name: s for name, s in self.sizes.items() if name in _TOKENS}

    @property
    def cost(self) -> Cost:
        """What one call needs at least."""
        return block_cost(self.layers, **self._tokens)

    @property
    def tokens(self) -> int:
        """Tokens that one call computes."""
        return self.sizes["batch"] * self.sizes.get("length", 1)

    @property
    def length(self) -> int:
        """Tokens, or those before the one that is decoded."""
        return self.sizes["context" if self._decodes else "length"]

    @property
    def growth(self) -> float:
        """A token behind a state costs the same; else what is certain of the time.

        A block with attention is linear in the tokens as long as its projections count,
        and a prediction that is too high would leave points out.
        """
        if self._decodes:
            return 1.0 if self.op == "block.transformer" else 0.0
        shorter = resized(self, length=max(self.length // 4, 1))
        ratio = self.cost.products / shorter.cost.products
        return 2.0 if ratio > _QUADRATIC else 1.0

    def contenders(
        self, names: Iterable[str], threads: int
    ) -> Iterator[Contender | Absent]:
        """Yield everybody whom the names stand for and who has this block."""
        del threads  # held by whoever starts the process
        seen = set()
        for name in names:
            for found in _resolved(name, self):
                if found.name not in seen:
                    seen.add(found.name)
                    yield found

    def copies(self, dtype: np.dtype, cache_bytes: int) -> int:
        """Return how many inputs take turns: decoding finds no parameters cached."""
        if not self._decodes:
            return 1
        needed = _TIMES_CACHE * cache_bytes / self._input_bytes(dtype)
        return min(max(ceil(needed), 1), _MOST_COPIES)

    def arguments(self, dtype: np.dtype, copy: int = 0) -> dict[str, Any]:
        """Return the layers, their parameters, x, and the caches of a decoded token."""
        name = f"bench/{self.id}" + (f"/{copy}" if copy else "")
        return inputs(name, self.layers, dtype, **self._tokens)

    def check_small(self, contender: Contender, dtype: np.dtype) -> Check:
        """Judge a contender on a narrow block of the same kind."""
        sizes = {"batch": 2, "context": 70} if self._decodes else _SMALL
        arguments = inputs(f"bench/{self.op}", small(self.layers), dtype, **sizes)
        right = check.expected(arguments, dtype)
        got = contender.outputs(contender.prepare(arguments)())
        return check.judged(right, got, "small sizes")

    def check_core(self, contender: Contender, dtype: np.dtype) -> Check | None:
        """There are no cases of blocks; their ops have some."""
        del contender, dtype

    def judge(self, arguments: Mapping[str, Any], dtype: np.dtype) -> Judge:
        """Compute golden on the last row: on its first tokens, later on its last ones.

        What golden needs of the tokens before the last ones is what the contender
        itself keeps of them: a mistake in between would show at the level of ops.
        """
        row = check.last_row(arguments)
        whole = self._decodes or self.length <= _FIRST + _LAST
        first = row if whole else {**row, "x": row["x"][:, :_FIRST]}
        right = check.expected(first, dtype)

        def judged(contender: Contender, got: Outputs) -> Check:
            own = {name: array[-1:] for name, array in got.items()}
            if whole:
                return check.judged(right, own, "timed result, the last row")
            head = {"y": own["y"][:, :_FIRST]} if "y" in own else {}
            place = f"timed result, the last row, its first {_FIRST} tokens"
            found = check.judged(right, head, place)
            if not found.passed:
                return found
            return found + self._judged_end(contender, row, got, dtype)

        return judged

    def _judged_end(
        self,
        contender: Contender,
        row: dict[str, Any],
        got: Outputs,
        dtype: np.dtype,
    ) -> Check:
        """Judge the last tokens, where the contender tells what it kept before them."""
        before = {**row, "x": row["x"][:, :-_LAST]}
        kept = contender.outputs(contender.prepare(before)())
        try:
            caches = caches_of(self.layers, kept)
        except KeyError:
            return NOTHING
        end = {**row, "x": row["x"][:, -_LAST:], "caches": caches}
        right = check.expected(end, dtype)
        own = {name: array[-1:] for name, array in got.items()}
        own["y"] = own["y"][:, -_LAST:]
        return check.judged(right, own, f"its last {_LAST} tokens")

    def bytes(self, dtype: np.dtype, threads: int = 1) -> dict[str, int]:
        """Predict what a call over `ssmref.cpu` holds at its fullest moment."""
        del threads
        given = self._input_bytes(dtype)
        return block_bytes(self.layers, dtype, inputs=given, **self._tokens)

    def _input_bytes(self, dtype: np.dtype) -> int:
        """Return the bytes of parameters, x and caches."""
        batch, width = self.sizes["batch"], self.sizes["width"]
        numbers = sum(map(parameters, self.layers)) + self.tokens * width
        if self._decodes:
            context = self.sizes["context"]
            own = (cache_numbers(layer, batch, context) for layer in self.layers)
            numbers += sum(own)
        return numbers * dtype.itemsize


def _resolved(name: str, task: BlockTask) -> Iterator[Contender | Absent]:
    kind = name.partition(":")[0]
    if kind == "peer":
        yield from _peers(name, task)
    elif kind != "yardstick":
        try:
            yield package_block(name, task)
        except UnavailableError as error:
            yield Absent(name, str(error))


def _peers(name: str, task: BlockTask) -> Iterator[Contender | Absent]:
    asked = name.split(":")[1:2]
    wanted = f"{task.op}_step" if task.form == DECODE else task.op
    for library, module in PEERS.items():
        if asked and asked != [library]:
            continue
        if wanted not in OFFERED[library]:
            continue
        try:
            offered = import_module(f"{__package__}.peers.{module}").CONTENDERS
        except ImportError as error:
            yield Absent(f"peer:{library}", f"not installed: {error}")
            continue
        for found in offered:
            begins = found.name == name or found.name.startswith(f"{name}:")
            if begins and found.op == wanted:
                yield found


OFFERED = {
    "torch": ("block.transformer", "block.transformer_step"),
    "transformers": tuple(
        f"block.{name}" for name in ("mamba1", "mamba2", "mamba1_step", "mamba2_step")
    ),
}


def package_block(package: str, task: BlockTask) -> Contender:
    """Return a block over a package of ops, or raise UnavailableError."""
    try:
        offered = load(package).functions
    except TargetError as error:
        raise UnavailableError(str(error)) from error
    needed = needed_ops(task.layers, step=task.form == DECODE)
    if missing := [name for name in needed if name not in offered]:
        raise UnavailableError(f"{package} does not offer {', '.join(missing)}")
    if arrays := arrays_of(import_module(package)):
        raise UnavailableError(f"blocks are of NumPy's arrays, {package} of {arrays}'s")

    def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
        return partial(run, **arguments, ops=package)

    return Contender(package, task.op, prepare, flat)


def block_tasks(choice: "Choice") -> Iterator[BlockTask]:
    """Yield all blocks of equal parameter counts."""
    for op in BLOCKS:
        for length in choice.lengths:
            yield matched_task(op, {"batch": choice.batch, "length": length})


def matched_task(
    op: str, tokens: Mapping[str, int], form: str = "", width: int = WIDTH
) -> BlockTask:
    """Return a block of equal parameter counts over so many tokens."""
    own = _sizes(tokens, width, matched(width)[op])
    return BlockTask(op, own, form=form)


def model_tasks(choice: "Choice", *names: str) -> Iterator[BlockTask]:
    """Yield a layer of each kind of these models; of all where none is named."""
    for name in names or MODELS:
        kinds = {block_of(layer): layer for _, layer in MODELS[name].layers}
        for op, layer in kinds.items():
            for length in choice.lengths:
                tokens = {"batch": choice.batch, "length": length}
                own = _sizes(tokens, layer.mixer.d_model, (layer,))
                yield BlockTask(op, own, name)


def _sizes(tokens: Mapping[str, int], width: int, layers: Layers) -> dict[str, int]:
    count = sum(map(parameters, layers))
    return {**tokens, "width": width, "layers": len(layers), "parameters": count}


def resized(task: BlockTask, **sizes: int) -> BlockTask:
    """Return the same block at other sizes."""
    return replace(task, sizes={**task.sizes, **sizes})
