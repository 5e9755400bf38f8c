"""What is raised for bad files."""

from __future__ import annotations

from pathlib import Path


class CaptureError(Exception):
    """A file or folder that cannot be used.

    Attributes:
        path: where.
        reason: what is wrong.
        remedy: what to do.
    """

    def __init__(self, path: Path | str, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path
        self.reason = reason
        self.remedy = remedy


class CameraFileError(CaptureError):
    """A camera file that cannot be used."""
