"""The compile gate refuses kernels that are wrong, and says what is wrong."""

import pytest
from ssmref.gpu._launch import Budget, Program, product
from support.gate import (
    check_shared,
    findings,
    findings_among,
    refusals,
    representatives,
    violations,
)
from support.nvrtc import RefusedError, needs_nvrtc
from support.sass import instructions, listing

pytestmark = needs_nvrtc

# One thread scales 16 bytes; WIDE=0 takes them one by one.
SCALE = """
#include "io.cuh"

extern "C" __global__ void __launch_bounds__(128)
scale(const IO* x, IO* y, float by) {
  constexpr int COUNT = per_vector<IO>();
  const int first = (blockIdx.x * 128 + threadIdx.x) * COUNT;
  float v[COUNT];
#if WIDE
  load<COUNT>(v, x + first);
#else
  load_some<COUNT>(v, x + first, COUNT);
#endif
  for (int i = 0; i < COUNT; ++i) v[i] *= by;
  store_some<COUNT>(y + first, v, COUNT);
}
"""
# The index of v is known at run time only: it cannot be in registers.
LOCAL = """
extern "C" __global__ void local(float* x, int n) {
  float v[64];
  for (int i = 0; i < 64; ++i) v[i] = x[i];
  for (int k = 0; k < n; ++k) v[k % 64] += v[k * 7 % 64];
  for (int i = 0; i < 64; ++i) x[i] = v[i];
}
"""
# 256 numbers at work in at most 64 registers.
SPILLING = """
extern "C" __global__ void __launch_bounds__(1024) spilling(float* x, int n) {
  float v[256];
#pragma unroll
  for (int i = 0; i < 256; ++i) v[i] = x[i];
  for (int k = 0; k < n; ++k) {
#pragma unroll
    for (int i = 0; i < 256; ++i) v[i] = v[i] * v[(i * 77 + 1) % 256] + 1.f;
  }
#pragma unroll
  for (int i = 0; i < 256; ++i) x[i] = v[i];
}
"""
STATIC = """
extern "C" __global__ void fixed(float* x) {
  __shared__ float room[32];
  room[threadIdx.x % 32] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = room[(threadIdx.x + 1) % 32];
}
"""
# Four exponentials per turn of the loop.
DECAY = """
#include "port.cuh"

extern "C" __global__ void decay(const float* a, float* y, int length) {
  float h[4] = {1.f, 1.f, 1.f, 1.f};
#pragma unroll 1
  for (int t = 0; t < length; ++t) {
    const float x = a[t];
    for (int n = 0; n < 4; ++n) h[n] = ex2(x * (n + 1)) * h[n] + x;
    y[t] = h[0] + h[1] + h[2] + h[3];
  }
}
"""
PRODUCT = """
#include "port.cuh"

extern "C" __global__ void multiply(const unsigned* x, float* y) {
  const unsigned a[4] = {x[0], x[1], x[2], x[3]}, b[2] = {x[4], x[5]};
  float d[4] = {0.f, 0.f, 0.f, 0.f};
  mma_m16n8k16<bf16>(d, a, b);
  y[threadIdx.x] = d[0] + d[1] + d[2] + d[3];
}
"""


@pytest.fixture
def refused(tmp_path):
    """Return what the gate says of a source with these variants and budgets."""

    def judge(source, *budgets, variants=({},), architecture=90):
        _ = (tmp_path / "kernel.cu").write_text(source)
        program = Program("kernel.cu", variants, budgets, folder=tmp_path)
        return refusals(program, list(findings(program, architecture)))

    return judge


VECTORS = product(IO=("float", "bf16", "f16"), WIDE=(1,))


@pytest.mark.parametrize("architecture", [80, 120])
def test_kernel_within_its_budget_passes(refused, architecture):
    budget = Budget("scale", registers=40, needs=("LDG.E.128",))
    assert not refused(SCALE, budget, variants=VECTORS, architecture=architecture)


def test_missing_vector_loads_are_found(refused):
    budget = Budget("scale", registers=40, needs=("LDG.E.128",))
    (text,) = refused(SCALE, budget, variants=({"IO": "bf16", "WIDE": 0},))
    assert text == "kernel.cu: scale IO=bf16 WIDE=0 sm_90 has no LDG.E.128"


def test_too_many_registers_are_found(refused):
    texts = refused(SCALE, Budget("scale", registers=4), variants=VECTORS)
    assert len(texts) == 3
    assert "registers of 4" in texts[0]


@pytest.mark.parametrize("architecture", [80, 120])
def test_spills_are_found(refused, architecture):
    budget = Budget("spilling", registers=255)
    (text,) = refused(SPILLING, budget, architecture=architecture)
    assert "of stack" in text
    assert " 0 of them spilled" not in text
    budget = Budget("spilling", registers=255, spills=True)
    assert not refused(SPILLING, budget, architecture=architecture)


def test_arrays_in_local_memory_are_found(refused):
    (text,) = refused(LOCAL, Budget("local", registers=255))
    assert "has 256 bytes of stack, 0 of them spilled" in text


def test_static_shared_memory_is_found(refused):
    (text,) = refused(STATIC, Budget("fixed", registers=40))
    assert "has 128 bytes of static shared memory" in text


def test_missing_tensor_instructions_are_found(refused):
    assert not refused(PRODUCT, Budget("multiply", registers=40, needs=("HMMA",)))
    (text,) = refused(DECAY, Budget("decay", registers=40, needs=("HMMA",)))
    assert "has no HMMA" in text


@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_instructions_of_the_hot_loop_are_counted(refused, architecture):
    """Four exponentials, four multiply-adds, and at most six per state besides."""
    enough = Budget("decay", registers=40, per=("MUFU.EX2", 8))
    assert not refused(DECAY, enough, architecture=architecture)
    few = Budget("decay", registers=40, per=("MUFU.EX2", 2))
    (text,) = refused(DECAY, few, architecture=architecture)
    assert "instructions per MUFU.EX2, 2 are allowed" in text


def test_loop_without_the_operation_is_refused(refused):
    (text,) = refused(DECAY, Budget("decay", registers=40, per=("MUFU.LG2", 99)))
    assert "has None instructions per MUFU.LG2" in text


def test_kernel_without_budget_is_refused(refused):
    (text,) = refused(DECAY)
    assert text == "kernel.cu: decay  sm_90 no budget holds for it"


def test_budget_for_nothing_is_refused(refused):
    decay, typo = Budget("decay", registers=40), Budget("deacy", registers=40)
    (text,) = refused(DECAY, decay, typo)
    assert "holds for nothing" in text


def test_shared_memory_beyond_the_budget_is_found():
    budgets = (
        Budget("scan", registers=40, shared=200),
        Budget("scan", registers=40, shared=100, when={"N": 3}),
    )
    program = Program("scan.cu", product(N=(1, 3)), budgets)
    check_shared(program.kernel("scan", N=1), 200)
    check_shared(program.kernel("scan", N=3), 100)
    check_shared(program.kernel("other", N=3), 300)
    for number, shared in ((1, 201), (3, 101)):
        with pytest.raises(AssertionError, match=f"'N': {number}.*: {shared}"):
            check_shared(program.kernel("scan", N=number), shared)


def test_programs_that_share_a_disassembly_are_told_apart(tmp_path):
    programs = []
    for name, source, budget in (("a", SCALE, 40), ("b", DECAY, 4)):
        _ = (tmp_path / f"{name}.cu").write_text(source)
        budgets = tuple(Budget(kernel, budget) for kernel in ("scale", "decay"))
        programs.append(Program(f"{name}.cu", ({},), budgets, folder=tmp_path))
    variants = [*product(IO=("bf16", "f16"), WIDE=(1,)), {}]
    a, b = programs
    chosen = [(a, variants[0]), (b, variants[2]), (a, variants[1])]
    found = list(findings_among(chosen, 90))
    assert [f.kernel for f in found] == ["scale", "decay", "scale"]
    assert [f.listing.has("MUFU.EX2") for f in found] == [False, True, False]
    assert [f.listing.has("LDG.E.128") for f in found] == [True, False, True]
    (text,) = violations(found)
    assert text.startswith("b.cu: decay  sm_90 takes")


def test_file_without_kernel_is_refused(refused):
    assert refused('#include "io.cuh"\n') == ["kernel.cu has no kernel"]


def test_representatives_have_every_value_and_every_budget():
    pair = {"IO": "bf16", "N": 3, "FAST": 1}
    variants = product(IO=("float", "bf16", "f16"), N=(1, 2, 3), FAST=(0, 1))
    budgets = Budget("scan", registers=40), Budget("scan", registers=30, when=pair)
    chosen = representatives(Program("scan.cu", variants, budgets))
    assert pair in chosen
    assert len(chosen) == 3
    assert {v for c in chosen for v in c.items()} == {
        v for c in variants for v in c.items()
    }
    assert representatives(Program("scan.cu")) == ({},)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (SCALE.replace("*= by;", "*= bye;"), r'kernel.cu\(14\): error: .*"bye"'),
        (SCALE.replace("WIDE\n", "WIDE &&\n"), r"kernel.cu\(9\): error"),
    ],
)
def test_mistakes_are_refused_with_file_and_line(refused, wrong, line):
    with pytest.raises(RefusedError, match=line):
        refused(wrong, Budget("scale", registers=40), variants=VECTORS)


NESTED = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   FADD R1, R1, R2 ;
        /*0020*/                   MUFU.EX2 R3, R1 ;
        /*0030*/                   FFMA R4, R3, R4, R1 ;
        /*0040*/              @!P1 BRA 0x20 ;
        /*0050*/                   MUFU.EX2 R3, R1 ;
        /*0060*/                   NOP ;
        /*0070*/                   BRA.U UP0, 0x10 ;
        /*0080*/                   BRA 0x80;
"""


def test_hot_loop_is_the_innermost():
    found = instructions(NESTED)
    nested = listing(found)
    assert [(p.first, p.last) for p in nested.inner_loops] == [(0x20, 0x40)]
    assert nested.per("MUFU.EX2") == 3
    assert nested.count("") == 8
    assert nested.per("MUFU.LG2") is None
    assert listing(found[5:], 0x50).inner_loops == ()
