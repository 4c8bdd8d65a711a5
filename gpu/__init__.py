"""The ops of `ssmref.golden` for NVIDIA GPUs: CUDA C++, compiled at run time by CuPy.

The same modules, functions, parameters, results and errors as golden, for arrays of
CuPy, and of any library that hands them over by DLPack; results are CuPy's. What comes
per token may be in float32, bfloat16 or float16; parameters and states are in float32.
Nothing of golden is used, and importing needs no GPU: the first call does.

A public function checks its arguments and allocates the results; a kernel file under
``kernels/`` computes. `_contract` and `_arrays` have what the ops share about their
arguments, `_launch` and `_arguments` what leads from a kernel file to a launch.
"""

# Whose arrays the ops take, for `ssmref verify ssmref.gpu`.
ARRAYS = "cupy"
