"""Tests of the test: every fault is found, and without it the kernel is right.

A kernel in `faults/` copies numbers, each from the place of its index with some bits
flipped. Compiled with FAULT it makes one mistake; the host runtime has to see it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import sanitized
from hostcupy.kernels import KernelFault
from hostcupy.module import cupy
from hostcupy.settings import current, using

FAULTS = Path(__file__).with_name("faults")
BLOCKS, THREADS = 3, 64
COUNT = BLOCKS * THREADS


class Fault(NamedTuple):
    """A kernel and what is said of its mistake, "" where numbers are wrong."""

    name: str
    message: str
    flipped: int = 31
    resident: int = 1
    seed: int = 0


FOUND = (
    Fault("global_overrun", "wrote beyond its array argument 0"),
    Fault("global_underrun", "wrote before its array argument 0"),
    Fault("shared_overrun", "wrote beyond its 256 bytes of shared memory"),
    Fault("different_barriers", r"different_barriers.cu:\d+: .*different __sync"),
    Fault("exited_lane", r"exited_lane.cu:12: the mask ffffffff .* has exited"),
    Fault("outside_mask", ""),
    Fault("not_in_mask", r"not_in_mask.cu:7: .* mask 7fffffff, which does not name it"),
    Fault("different_masks", r"mask ffffffff of lane 0 .* mask 0000ffff of lane 7"),
    Fault("early_read", ""),
    Fault("early_stage", ""),
    Fault("never_waited", r"never_waited.cu:7: .* cp.async is under way"),
    Fault("misaligned_copy", r"misaligned_copy.cu:8: cp.async of 16 bytes from"),
    Fault("never_written", ""),
    Fault("missing_barrier", "", flipped=63, seed=1),
    Fault("missing_barrier", "", flipped=63, seed=2, resident=3),
    Fault("missing_syncwarp", "", seed=1),
    Fault("lucky_order", "", seed=1),
    Fault("double_ticket", r"double_ticket.cu:11: livelock", resident=3),
    Fault("double_ticket", r"double_ticket.cu:11: livelock", seed=4),
    Fault("livelock", r"livelock.cu:11: livelock: threads have polled 2000 times"),
    Fault("deadlock", r"deadlock.cu:\d+: deadlock: .* __syncthreads"),
    Fault("waiting_for_the_gone", r"gone.cu:10: deadlock: .* __syncwarp"),
    Fault("null_pointer", r"touched memory at \(nil\)"),
    Fault("deep_stack", "more than 65536 bytes of stack"),
    Fault("divergent_matrix", r"divergent_matrix.cu:\d+: mma_m16n8k16 .* meets"),
)


def source(names: Iterable[str]) -> str:
    """Return kernels of these names as they should be, and `_wrong` with the fault."""
    pieces = ["#include <ssm_host.h>"]
    for name in names:
        text = (FAULTS / f"{name}.cu").read_text().replace('#include "port.cuh"', "")
        for entry, fault in (
            (name, "#undef FAULT"),
            (f"{name}_wrong", "#define FAULT"),
        ):
            pieces += [fault, f"#define flip {entry}", f'#line 1 "{name}.cu"', text]
            pieces.append("#undef flip")
    return "\n".join(pieces)


def flip(name: str, *, fault: bool = False, flipped: int = 31) -> bool:
    """Run a kernel; return whether its numbers are right."""
    module = cupy.RawModule(code=source(in_mode(current().mode)))
    kernel = module.get_function(f"{name}_wrong" if fault else name)
    given = np.random.default_rng(0).standard_normal(COUNT, np.float32)
    out, ticket = cupy.empty(COUNT, np.float32), cupy.zeros(2, np.uint32)
    arguments = out, cupy.asarray(given), ticket, np.int32(COUNT)
    kernel((BLOCKS,), (THREADS,), arguments, shared_mem=4 * THREADS)
    expected = given[np.arange(COUNT) ^ flipped]
    return np.allclose(out.get(), expected, rtol=0, atol=1e-5)


def each(faults: tuple[Fault, ...]) -> pytest.MarkDecorator:
    ids = [f"{f.name}-{f.seed}-{f.resident}" for f in faults]
    return pytest.mark.parametrize("fault", faults, ids=ids)


def running(fault: Fault):
    return using(resident=fault.resident, seed=fault.seed, patience=2000)


@each(FOUND)
def test_fault_is_found(fault):
    with running(fault):
        if not fault.message:
            assert not flip(fault.name, fault=True, flipped=fault.flipped)
            return
        with pytest.raises(KernelFault, match=fault.message):
            flip(fault.name, fault=True, flipped=fault.flipped)


@each(FOUND)
def test_without_the_fault_the_kernel_passes(fault):
    with running(fault):
        assert flip(fault.name, flipped=fault.flipped)


def test_every_fault_is_in_a_table():
    tabled = {fault.name for fault in FOUND} | {name for _, name, _ in SANITIZED}
    assert tabled == {path.stem for path in FAULTS.glob("*.cu")}


def test_taking_turns_alone_would_be_lucky():
    """Why there are other schedules than the fair one."""
    assert flip("lucky_order", fault=True)


def test_a_fault_says_where_it_was():
    place = r"\(block 0,0,0, thread 63 = warp 1 lane 31\)"
    with pytest.raises(KernelFault, match=place):
        flip("not_in_mask", fault=True)


def test_after_a_fault_the_next_launch_is_sound():
    for _ in range(3):
        with pytest.raises(KernelFault):
            flip("different_barriers", fault=True)
        assert flip("different_barriers")


SANITIZED = (
    ("asan", "global_overrun", r"use-after-poison[\s\S]*global_overrun.cu:8"),
    ("asan", "global_overread", r"use-after-poison[\s\S]*global_overread.cu:7"),
    ("asan", "shared_overrun", r"heap-buffer-overflow[\s\S]*shared_overrun.cu:9"),
    ("asan", "misaligned_vector", r"misaligned_vector.cu:12:.* misaligned address"),
    ("tsan", "missing_barrier", r"data race[\s\S]*missing_barrier.cu:(9|11)"),
    ("tsan", "missing_syncwarp", r"data race[\s\S]*missing_syncwarp.cu:(9|11)"),
    ("tsan", "missing_fence", r"data race[\s\S]*missing_fence.cu:(8|20)"),
    ("tsan", "exited_lane", r"has exited"),
)


def in_child(name: str, *, fault: bool) -> None:
    """Run a kernel in a child process that a sanitizer watches."""
    with using(resident=3):
        flipped = 63 if name == "missing_barrier" else 31
        assert flip(name, fault=fault, flipped=flipped)


def without_faults() -> None:
    """Run the kernels of the table as they should be, in a child process."""
    for name in in_mode(current().mode):
        in_child(name, fault=False)
        print(name)


def in_mode(mode: str) -> list[str]:
    """Return the faults that are found by a sanitizer, or without one."""
    if mode == "plain":
        return sorted({fault.name for fault in FOUND})
    return [name for its_mode, name, _ in SANITIZED if its_mode == mode]


def __getattr__(name: str):
    """``with_NAME`` runs the kernel of that name with its fault."""
    if not name.startswith("with_"):
        raise AttributeError(name)
    return lambda: in_child(name.removeprefix("with_"), fault=True)


@pytest.mark.parametrize(("mode", "name", "message"), SANITIZED)
def test_sanitizer_reports_the_line(mode, name, message):
    with pytest.raises(sanitized.SanitizerError, match=message):
        sanitized.run(mode, f"test_host_faults:with_{name}")


@pytest.mark.parametrize("mode", ["asan", "tsan"])
def test_sanitizer_is_content_without_the_faults(mode):
    passed = sanitized.run(mode, "test_host_faults:without_faults")
    assert passed.split() == in_mode(mode)
