"""The table of ops and the golden package say the same."""

import inspect
import re

import pytest

from ssmref.conformance.outputs import axes
from ssmref.ops import OPS, implementation

# What a form may have beyond the parameters of its definition.
OWN = {"chunk_size", "block_size"}


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_op_exists_with_its_outputs(op):
    golden = implementation(op, "ssmref.golden")
    assert golden.__module__ == f"ssmref.golden.{op.module}"
    assert list(axes(op)) == list(op.outputs)


FORMS = [(op, form) for op in OPS.values() for form in op.forms]


@pytest.mark.parametrize(("op", "form"), FORMS, ids=[f"{o.name}_{f}" for o, f in FORMS])
def test_form_has_the_signature_of_its_definition(op, form):
    module = inspect.getmodule(implementation(op, "ssmref.golden"))
    definition = inspect.signature(getattr(module, op.function)).parameters
    parameters = inspect.signature(getattr(module, f"{op.function}_{form}")).parameters
    extra = set(parameters) - set(definition)
    assert extra <= OWN
    kept = [p for name, p in parameters.items() if name not in extra]
    assert [(p.name, p.kind, p.default) for p in kept] == [
        (p.name, p.kind, p.default) for p in definition.values()
    ]


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_step_is_its_op_without_time(op):
    """A step takes the inputs of its op in the same order, then the state."""
    if not op.function.endswith("_step"):
        return
    scan = OPS[op.name.removesuffix("_step")]
    whole = inspect.signature(implementation(scan, "ssmref.golden")).parameters
    step = inspect.signature(implementation(op, "ssmref.golden")).parameters
    inputs = [n for n, p in whole.items() if p.kind is not p.KEYWORD_ONLY]
    assert list(step)[: len(inputs) + 1] == [*inputs, "state"]
    # An attention cache grows with its sequence: there is no pool of equal slots.
    assert ("slots" in step) is (op.module != "attention")


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_documentation_names_a_source(op):
    text = inspect.getdoc(implementation(op, "ssmref.golden")) or ""
    if not op.function.endswith(("_step", "_circular")):
        assert "::" in text or "``y =" in text
        assert re.search(r"arXiv|[Oo]fficial|algorithm|equation|section", text)
    assert text.split("\n")[0].endswith((".", "``."))
