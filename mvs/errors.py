"""The error that stages raise when a capture cannot be reconstructed."""

from __future__ import annotations


class ReconstructionError(Exception):
    """A stage has nothing to go on with; says why and what to do about it.

    Attributes:
        reason: what went wrong.
        remedy: what the user can do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"
