"""What all tests share."""

import os
from pathlib import Path

# Two processes that compile one function for two dtypes at once confuse Numba's cache:
# the index names one file for both. Each worker of pytest-xdist keeps its own.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    cache = Path(__file__).parents[1] / ".numba_cache" / worker
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
