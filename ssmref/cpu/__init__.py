"""The ops of `ssmref.golden` for CPUs, compiled by Numba.

Golden defines what is right; here it is fast. The same modules, functions, parameters,
results and errors, in float32 and float64 and their complex counterparts. Nothing of
golden is used: what the two share is the definition, not the code.

Each op has two layers: a public function, which checks its arguments and allocates the
results, and a private kernel of explicit loops, which computes. Kernels know packed
sequences only; the rows of a batch are sequences of one length. What the ops share has
a leading underscore: `_arguments` checks and prepares arguments, `_types` has the
dtypes, and `toolkit` has what kernels are made of.
"""
