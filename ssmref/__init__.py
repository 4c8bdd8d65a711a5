"""Reference, conformance and benchmark suite for state space model kernels.

Import what you need: ``ssmref.golden.mamba2``, ``ssmref.conformance`` ... This
module imports nothing.
"""

__version__ = "0.1.0"
