"""Options that the commands of ``mvs fit`` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mvs.cli.source import NetworkOptions

if TYPE_CHECKING:
    from mvs.headmodel.types import HeadModel


@dataclass(frozen=True, kw_only=True)
class ModelOptions(NetworkOptions):
    """A head model, and where its fit goes.

    Attributes:
        model: head model: packed ICT-FaceKit (npz) or its folder of OBJ files, or FLAME (pkl, npz).
        output: folder for the results.
    """

    model: Path
    output: Path

    def load_model(self) -> HeadModel:
        """The model named.

        Raises:
            ValueError: if there is no such file, or it holds no head model.
        """
        from mvs.headmodel.load import load_head_model

        return load_head_model(self.model)
