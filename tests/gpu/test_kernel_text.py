"""The rules of the house for kernel files: what may stand where."""

import re
from itertools import takewhile

import pytest
from ssmref.gpu._arguments import COMMENT
from ssmref.gpu._launch import KERNELS, Program
from support.gate import programs

FILES = sorted([*KERNELS.glob("*.cu"), *KERNELS.glob("*.cuh")])
LONGEST_FILE = 400

# What may stand nowhere but in the port header, and why.
FORBIDDEN = {
    r"\basm\b": "instructions come from port.cuh",
    r"#\s*include\s*<": "no headers: NVRTC of every version has what we need",
    r"\b__shared__\b": "dynamic shared memory only, by SSM_DYN_SMEM",
    r"\bdouble\b": "no float64 on GPUs",
    r"\b(printf|assert)\s*\(": "kernels are silent",
    r"\batomicAdd\s*\(\s*\(?\s*float": "sums of floats have one order",
    r"\bSSM_HOST\b": "kernels do not know where they run",
}
CONDITION = re.compile(r"^\s*#\s*(?:el)?if\s+(.+)$", re.MULTILINE)
DEFINED = re.compile(r"^\s*#\s*define\s+(\w+)", re.MULTILINE)


def complaints(name: str, text: str) -> list[str]:
    """Return what is wrong with the text of a kernel file."""
    wrong = [] if text.count("\n") <= LONGEST_FILE else [f"over {LONGEST_FILE} lines"]
    comment = takewhile(lambda line: line.startswith("//"), text.splitlines())
    head = "\n".join(comment)
    if not head:
        wrong.append("no head: what it computes, who owns what, memory, macros")
    elif name.endswith(".cu") and "golden" not in head.lower():
        wrong.append("the head does not name the golden function")
    if name != "port.cuh":
        code = COMMENT.sub("", text)
        wrong += [why for rule, why in FORBIDDEN.items() if re.search(rule, code)]
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_kernel_files_follow_the_rules(path):
    assert not complaints(path.name, path.read_text())


def test_kernel_files_are_found():
    assert {"port.cuh", "io.cuh"} < {path.name for path in FILES}


HEAD = "// Golden: ssmref/golden/mamba1.py::selective_scan\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('#include "port.cuh"\n', "no head"),
        ("// A scan.\n\n// golden\n", "does not name the golden function"),
        (HEAD + 'asm("exit;");', "port.cuh"),
        (HEAD + "#include <cuda_bf16.h>", "no headers"),
        (HEAD + "__shared__ float room[3];", "SSM_DYN_SMEM"),
        (HEAD + "double x = 0;", "float64"),
        (HEAD + 'printf("%d", 3);', "silent"),
        (HEAD + "atomicAdd((float*)p, x);", "one order"),
        (HEAD + "#ifdef SSM_HOST", "where they run"),
        (HEAD + "\n" * 401, "lines"),
    ],
)
def test_breaches_are_found(text, complaint):
    (found,) = complaints("scan.cu", text)
    assert complaint in found


def test_comments_and_the_port_may_say_all():
    assert not complaints("scan.cu", HEAD + "// no double, no asm\n")
    assert not complaints("port.cuh", '// PTX\nasm("exit;");')


def unknown(program: Program) -> set[str]:
    """Return what conditions of the preprocessor ask for and nobody defines.

    An undefined macro counts as 0, so a typing mistake would choose a branch silently.
    """
    source = COMMENT.sub("", program.source)
    words = {w for text in CONDITION.findall(source) for w in re.findall(r"\w+", text)}
    known = {*DEFINED.findall(source), "defined", "SSM_HOST"}
    asked = {word for word in words - known if not word[0].isdigit()}
    return {word for word in asked if any(word not in v for v in program.variants)}


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.file)
def test_conditions_ask_for_macros_of_every_variant(program):
    assert not unknown(program)


def test_unknown_macros_in_conditions_are_found(tmp_path):
    text = "#define A 1\n#if A && WIDE > 2\n#elif GATED  // X\n#endif\n"
    _ = (tmp_path / "kernel.cu").write_text(text)
    variants = ({"WIDE": 1}, {"WIDE": 0, "GATED": 1})
    assert unknown(Program("kernel.cu", variants, folder=tmp_path)) == {"GATED"}
    assert not unknown(Program("kernel.cu", variants[1:], folder=tmp_path))
