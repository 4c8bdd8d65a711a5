"""What kernels are made of: nothing here knows an op.

`vectors` are instructions for LLVM, of which `kernels` makes functions for Numba;
`formulas` over them, with their `coefficients`, are the `elementary` functions.
`products` and `rows` compute on tiles and rows of arrays in cache, whose `memory`
begins with a line of it. `threads` says how work is divided, and `items` compiles a
piece of it once for all loops.
"""
