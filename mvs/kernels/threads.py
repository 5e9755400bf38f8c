"""Parallel loops: which threading layer Numba takes.

OpenMP comes first: Numba would rather have TBB, but Open3D brings one that is too old for it, and
which of the two is loaded first must not decide.
"""

from __future__ import annotations

import numba

setattr(numba.config, "THREADING_LAYER_PRIORITY", ["omp", "workqueue", "tbb"])  # noqa: B010

prange = numba.prange

__all__ = ["prange"]
