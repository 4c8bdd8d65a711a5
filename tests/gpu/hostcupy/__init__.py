"""A stand-in for CuPy: kernels run on the CPU, by the host runtime beside it.

`module.cupy` has the names that the ops use, with CuPy's meaning and errors, and no
others. `settings.using` says how kernels run: how many blocks at once, in which order,
on which addresses.
"""
