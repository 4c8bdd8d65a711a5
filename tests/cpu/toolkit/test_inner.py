"""What has no entry for Python (`inner`) is not called from Python: it would crash."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "ssmref" / "cpu"
COMPILED = {"kernel", "parallel_kernel", "inner", "Item", "njit", "together"}


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def decorators(function: ast.FunctionDef) -> set[str]:
    nodes = (n for d in function.decorator_list for n in ast.walk(d))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def names(tree: ast.Module, module: str) -> dict[str, str]:
    """Return what the names of a module mean: ``module.function``, or a module."""
    meaning = {f.name: f"{module}.{f.name}" for f in functions(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = f"{node.module.split('.')[-1]}." if node.module else ""
            meaning |= {a.asname or a.name: source + a.name for a in node.names}
    return meaning


def calls(function: ast.FunctionDef, meaning: dict[str, str]) -> set[str]:
    """Return the functions that one calls, by name or in a module."""
    nodes = [n.func for n in ast.walk(function) if isinstance(n, ast.Call)]
    found = {meaning.get(n.id, n.id) for n in nodes if isinstance(n, ast.Name)}
    return found | {
        f"{meaning.get(n.value.id, n.value.id)}.{n.attr}"
        for n in nodes
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
    }


def calls_from_python(sources: dict[str, str]) -> set[tuple[str, str]]:
    """Return (caller, called) where a function of Python calls an inner one."""
    trees = {module: ast.parse(text) for module, text in sources.items()}
    every = [(m, f) for m, tree in trees.items() for f in functions(tree)]
    inner = {f"{m}.{f.name}" for m, f in every if "inner" in decorators(f)}
    assert inner, "there is nothing to check"
    return {
        (f"{m}.{f.name}", called)
        for m, f in every
        if not decorators(f) & COMPILED
        for called in calls(f, names(trees[m], m)) & inner
    }


def test_inner_functions_are_called_by_compiled_ones_only():
    sources = {path.stem: path.read_text() for path in PACKAGE.rglob("*.py")}
    assert calls_from_python(sources) == set()


def test_calls_from_python_are_found():
    kernels = "@inner\ndef add(): pass\n@kernel\ndef run(): add()\ndef own(): add()"
    user = (
        "from . import _k as k\nfrom ._k import add\ndef f(): add()\ndef g(): k.add()"
    )
    assert calls_from_python({"_k": kernels, "user": user}) == {
        ("_k.own", "_k.add"),
        ("user.f", "_k.add"),
        ("user.g", "_k.add"),
    }
