"""Inference: the prompt, one token behind a context, and many requests at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .blocks import DECODE, PREFILL, WIDTH, BlockTask, matched_task
from .bytes import request_bytes
from .presets import BLOCKS, MODELS, Model, matched

if TYPE_CHECKING:
    from .suites import Choice

# Rows that are decoded side by side, behind the shortest context.
BATCHES = (1, 4, 16, 64, 128)
# Requests that a server holds at once.
REQUESTS = (1, 100, 1000)
CONTEXTS = tuple(1024 * n for n in (1, 8, 32, 128))
# As many layers of a Transformer as there are pairs of layers in mamba-130m.
_DEPTH = 12


@dataclass(frozen=True)
class Held:
    """What a model keeps of so many requests of this context, in bytes: counted."""

    model: str
    context: int
    requests: int
    dtype: str
    bytes: int


def prefill_tasks(choice: "Choice") -> Iterator[BlockTask]:
    """Yield every block over prompts, with the caches that it leaves."""
    for op in BLOCKS:
        for length in choice.lengths:
            sizes = {"batch": choice.batch, "length": length}
            yield matched_task(op, sizes, PREFILL)


def decode_tasks(choice: "Choice") -> Iterator[BlockTask]:
    """Yield every block on one token behind each context."""
    for op in BLOCKS:
        for context in choice.lengths:
            sizes = {"batch": choice.batch, "context": context}
            yield matched_task(op, sizes, DECODE)


def batch_tasks(choice: "Choice") -> Iterator[BlockTask]:
    """Yield every block on one token for several requests, 100 and 1000 among them."""
    context = min(choice.lengths)
    for op in BLOCKS:
        for batch in sorted({*BATCHES, *REQUESTS}):
            sizes = {"batch": batch, "context": context}
            yield matched_task(op, sizes, DECODE)


def stack(op: str, width: int = WIDTH, depth: int = _DEPTH) -> Model:
    """Return a model of so many blocks of equal parameter counts."""
    layers = tuple((depth, layer) for layer in matched(width)[op])
    return Model(f"{depth} x {op}", layers, "equal parameter counts, not published")


def held(
    models: Iterable[Model] = (),
    *,
    dtype: np.dtype,
    contexts: Iterable[int] = CONTEXTS,
    requests: Iterable[int] = REQUESTS,
) -> Iterator[Held]:
    """Yield what models keep of requests; of all that are known where none is given."""
    lengths, counts = tuple(contexts), tuple(requests)
    for model in models or MODELS.values():
        for context in lengths:
            for count in counts:
                size = request_bytes(model, dtype, context, count)
                yield Held(model.name, context, count, str(dtype), size)
