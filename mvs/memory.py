"""Memory that this process has freed, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes


def return_memory() -> None:
    """Give back what was freed: of many arrays of some megabytes, glibc keeps hundreds for later.

    Does nothing where the C library knows no ``malloc_trim``.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
