"""Portable random numbers: the same arrays in any language.

The generator is SplitMix64 (Steele, Lea & Flood 2014, figure 16), here counted rather
than stepped. In words, with 64-bit unsigned arithmetic that wraps around:

1. The seed of an array is the FNV-1a hash of the text ``<case id>#<array name>``: start
   with 14695981039346656037; for each byte, xor it in, multiply by 1099511628211.
2. Number i (from 0) starts as ``seed + (i + 1) * 0x9E3779B97F4A7C15``.
3. Xor with itself shifted right by 30, multiply by 0xBF58476D1CE4E5B9; xor with itself
   shifted right by 27, multiply by 0x94D049BB133111EB; xor with itself shifted right
   by 31.
4. uniform i: number i shifted right by 11, times 2^-53; in [0, 1).
5. normal i: the sum of the 12 uniforms 12 i ... 12 i + 11, in that order, minus 6 (mean
   0, variance 1, within +-6; no logarithm or cosine, whose last digit is not portable).

Arrays are filled in C order in float64. Test values: seed 0 gives the numbers
16294208416658607535, 7960286522194355700, 487617019471545679.
"""

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_TERMS = 12


def seed_of(text: str) -> int:
    """Return the 64-bit FNV-1a hash of `text` in UTF-8."""
    value = 14695981039346656037
    for byte in text.encode():
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def integers(seed: int, count: int) -> np.ndarray:
    """Return the first `count` numbers of SplitMix64 as uint64."""
    x = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, count: int) -> np.ndarray:
    """Return `count` float64 numbers in [0, 1)."""
    return (integers(seed, count) >> np.uint64(11)) * 2.0**-53


def normal(seed: int, count: int) -> np.ndarray:
    """Return `count` float64 numbers of mean 0 and variance 1, within +-6."""
    terms = uniform(seed, count * _TERMS).reshape(count, _TERMS)
    total = np.zeros(count)
    for column in terms.T:  # in order: a sum by NumPy would choose its own
        total += column
    return total - _TERMS / 2


class Draw:
    """Arrays of one case, each from its own seed: their order does not matter."""

    def __init__(self, case_id: str):
        """Draw for the case of this id."""
        self.case_id = case_id

    def normal(self, name: str, *shape: int) -> np.ndarray:
        """Return normal numbers for the array `name`."""
        count = int(np.prod(shape))
        return normal(seed_of(f"{self.case_id}#{name}"), count).reshape(shape)

    def uniform(self, name: str, low: float, high: float, *shape: int) -> np.ndarray:
        """Return uniform numbers in [low, high) for the array `name`."""
        count = int(np.prod(shape))
        numbers = uniform(seed_of(f"{self.case_id}#{name}"), count).reshape(shape)
        return low + (high - low) * numbers
