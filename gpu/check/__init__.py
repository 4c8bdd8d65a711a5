"""Is it right, and how fast is it: one command for a machine with a GPU.

``python -m ssmref.gpu.check`` verifies every op of `ssmref.gpu`, measures what the GPU
can do, times the ops beside the official kernels, and writes records. See
``docs/gpu-check.md``.
"""
