"""GPU implementations of the ops of `ssmref.golden`, for CuPy arrays.

No op is here yet. Importing the package never needs a GPU; its ops will.
"""
