"""The rules of the house: who may import whom, and how large things may grow."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"ssmref": ROOT / "ssmref", "ssmref.gpu": ROOT / "gpu"}

# What the modules under a prefix may import, besides the standard library and their
# own folder. The longest prefix counts.
ALLOWED = {
    "ssmref.golden": {"numpy", "jaxtyping"},
    # The checks of arguments are all that fast paths share.
    "ssmref.contract": set(),
    "ssmref.cpu.toolkit": {"numpy", "numba", "llvmlite", "scipy"},
    "ssmref.cpu": {"numpy", "numba", "llvmlite", "scipy", "jaxtyping"}
    | {"ssmref.contract", "ssmref.cpu.toolkit"},
    "ssmref.gpu": {"numpy", "cupy", "jaxtyping", "ml_dtypes", "ssmref.contract"},
    # The one place of the package that judges and measures: a command of its own.
    "ssmref.gpu.check": {"numpy", "cupy", "ssmref.ops", "ssmref.gpu"}
    | {"ssmref.conformance", "ssmref.bench"},
    "ssmref.ops": set(),
    "ssmref.models": {"numpy"},
    "ssmref.conformance": {
        "jsonschema",
        "numpy",
        "ml_dtypes",
        "rich",
        "ssmref",
        "ssmref.ops",
        "ssmref.golden",
    }
    | {"ssmref.conformance.peers"},  # the folder, to list it; adapters load by name
    "ssmref.conformance.peers": {"numpy", "ssmref.golden", "ssmref.conformance"}
    | {"torch", "transformers", "jax", "mambapy", "mamba_ssm", "causal_conv1d", "s5"}
    | {"triton"},
    "ssmref.bench": {"numpy", "rich", "ssmref.ops", "ssmref.conformance"}
    | {"ssmref.models", "pandas"},
    "ssmref.bench.peers": {"numpy", "torch", "transformers", "jax", "mambapy"}
    | {"ssmref.conformance", "ssmref.bench"},
    "ssmref.commands": {"click", "numpy", "rich", "ssmref.ops", "ssmref.conformance"}
    | {"ssmref.bench"},
    "ssmref.cli": {"click", "ssmref", "ssmref.commands"},
    "ssmref.__main__": {"ssmref.cli"},
    "ssmref": set(),
}
LONGEST_FUNCTION = 40
LONGEST_GOLDEN_BODY = 20
LONGEST_FILE = 400


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(p for p in parts if p != "__init__")))] = path
    return found


MODULES = modules()


def imported(name: str, tree: ast.AST, is_package: bool) -> set[str]:
    """Return the absolute names of all that a module imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = name.split(".")[: len(name.split(".")) - node.level + is_package]
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{stem}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return names


def under(name: str, prefixes) -> str | None:
    fitting = [p for p in prefixes if name == p or name.startswith(f"{p}.")]
    return max(fitting, key=len, default=None)


def violations(name: str, source: str, is_package: bool = False) -> set[str]:
    home = under(name, ALLOWED)
    assert home is not None
    wrong = set()
    for target in imported(name, ast.parse(source), is_package):
        if target.split(".")[0] in sys.stdlib_module_names:
            continue
        if under(target, ALLOWED) == home and home != "ssmref":
            continue
        allowed = under(target, ALLOWED[home] - {"ssmref"})
        itself = "ssmref" in ALLOWED[home] and target in ("ssmref.__version__",)
        if allowed is None and not itself:
            wrong.add(target)
    return wrong


@pytest.mark.parametrize("name", MODULES)
def test_imports_keep_their_direction(name):
    path = MODULES[name]
    assert not violations(name, path.read_text(), path.name == "__init__.py")


def test_every_folder_is_checked():
    for prefix in (
        "golden",
        "bench",
        "cpu",
        "models",
        "commands",
        "conformance",
        "conformance.bugs",
        "contract",
        "cpu.toolkit",
        "gpu",
        "gpu.check",
    ):
        assert sum(m.startswith(f"ssmref.{prefix}") for m in MODULES) >= 2, prefix
    assert len(MODULES) > 30


def test_every_folder_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(settings["tool"]["setuptools"]["packages"])
    ours = {m for m, p in MODULES.items() if p.name == "__init__.py"}
    # Text alone; setuptools calls it a package, as Python could import the folder.
    assert packages == ours | {"ssmref.gpu.kernels"}


FORBIDDEN = [
    ("ssmref.golden.s4", "import scipy.linalg"),
    ("ssmref.golden.s4", "from ..conformance import cases"),
    ("ssmref.golden.s4", "from ssmref.models import blocks"),
    ("ssmref.golden.s4", "def f():\n    import numba"),
    ("ssmref.models.blocks", "from ..golden import mamba2"),
    ("ssmref.models.blocks", "import ssmref.gpu.mamba2"),
    ("ssmref.conformance.run", "from ..models import blocks"),
    ("ssmref.conformance.run", "import ssmref.gpu"),
    ("ssmref.conformance.run", "from tests import support"),
    ("ssmref.ops", "import numpy"),
    ("ssmref", "import numpy"),
    ("ssmref.gpu.mamba1", "from ssmref.golden import mamba1"),
    ("ssmref.cpu.mamba1", "from ..golden import mamba1"),
    ("ssmref.cpu.mamba1", "from ..golden._contract import checked"),
    ("ssmref.cpu.mamba1", "from ssmref.conformance import verdict"),
    ("ssmref.contract.calls", "import numpy"),
    ("ssmref.cpu.toolkit.rows", "from .._mamba1_scan import scan"),
    ("ssmref.golden.mamba2", "from ..contract import choose"),
]


@pytest.mark.parametrize(("name", "source"), FORBIDDEN)
def test_forbidden_import_is_found(name, source):
    assert violations(name, source)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def lines_of_body(node: Function) -> int:
    """Count lines from the first statement to the last, without the docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("name", MODULES)
def test_files_and_functions_stay_small(name):
    text = MODULES[name].read_text()
    golden = name.startswith("ssmref.golden")
    limit = LONGEST_GOLDEN_BODY if golden else LONGEST_FUNCTION
    assert text.count("\n") <= LONGEST_FILE
    for node in functions(ast.parse(text)):
        assert lines_of_body(node) <= limit, node.name


@pytest.mark.parametrize("name", [m for m in MODULES if m.startswith("ssmref.golden")])
def test_golden_shows_its_source(name):
    """No dtype is named, no LAPACK but where it is documented, nothing is printed."""
    if name in ("ssmref.golden._types", "ssmref.golden"):
        return
    tree = ast.parse(MODULES[name].read_text())
    used = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert not used & {"np.float32", "np.float64", "np.longdouble", "np.random"}
    lapack = {u for u in used if u.startswith("np.linalg.")}
    lapack -= {"np.linalg.matrix_power"}
    # LAPACK stops at float64: only the eigenvectors of initialisations come from it.
    assert lapack <= ({"np.linalg.eigh"} if name == "ssmref.golden.hippo" else set())
