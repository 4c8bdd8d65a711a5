"""What functions promise about their array arguments, for any library of arrays.

A shape and the dtypes are written once, in the annotation; `Library.checked` turns it
into errors that name the argument, what it was and what is needed: the sentences of
golden, with which this shares no code. A package of fast paths has one `Library`::

    checked = Library("NumPy", lambda: np.ndarray).checked

Nothing is imported but what comes with Python.
"""

from .calls import Library
from .values import at_least, choose, heads_per_group

__all__ = ["Library", "at_least", "choose", "heads_per_group"]
