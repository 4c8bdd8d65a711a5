"""Named tuples that kernels are given by reference.

Numba passes a tuple as all of its numbers: one of twenty arrays is a hundred and fifty
arguments, which each function on the way counts references to and copies. By reference
it is one, and a function loads the fields that it uses.
"""

from typing import Any

from numba import types
from numba.core.datamodel.models import PrimitiveModel
from numba.core.datamodel.registry import register_default
from numba.core.imputils import impl_ret_borrowed, lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr


class Reference(types.Type):
    """The type of the address of a named tuple, which nobody changes."""

    def __init__(self, target: Any):
        """Name the type by that of the tuple."""
        self.target = target
        super().__init__(name=f"Reference({target})")


@register_default(Reference)
class _Model(PrimitiveModel):
    def __init__(self, manager, kind):
        pointed = manager.lookup(kind.target).get_value_type()
        super().__init__(manager, kind, pointed.as_pointer())


@infer_getattr
class _Fields(AttributeTemplate):
    key = Reference

    def generic_resolve(self, typ, attr):
        if attr in typ.target.fields:
            return typ.target[typ.target.fields.index(attr)]
        return None


@lower_getattr_generic(Reference)
def _load(context, builder, kind, address, name):
    index = kind.target.fields.index(name)
    zero, own = (context.get_constant(types.int32, i) for i in (0, index))
    field = builder.load(builder.gep(address, [zero, own]))
    field.set_metadata("invariant.load", builder.module.add_metadata([]))
    return impl_ret_borrowed(context, builder, kind.target[index], field)
