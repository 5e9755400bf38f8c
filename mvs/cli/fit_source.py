"""Options that the commands of ``mvs fit`` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mvs.cli.source import NetworkOptions
from mvs.stages.model import Axis, Unit

if TYPE_CHECKING:
    from mvs.headmodel.output import OutputOptions
    from mvs.headmodel.types import HeadModel


@dataclass(frozen=True, kw_only=True)
class ModelOptions(NetworkOptions):
    """A head model, and where its fit goes.

    Attributes:
        model: head model: packed ICT-FaceKit (npz) or its folder of OBJ files, or FLAME (pkl, npz).
        output: folder for the results.
        up: axis that shall point up in meshes; y in fit.glb, else as the input has it.
        unit: of meshes; m in fit.glb, else the input's.
        overlay: draw the head over the pictures too.
    """

    model: Path
    output: Path
    up: Axis | None = None
    unit: Unit | None = None
    overlay: bool = True

    def load_model(self) -> HeadModel:
        """The model named.

        Raises:
            ValueError: if there is no such file, or it holds no head model.
        """
        from mvs.headmodel.load import load_head_model

        return load_head_model(self.model)

    def output_options(self, rate: float = 25.0, meshes: bool = False) -> OutputOptions:
        """What is written, at so many frames a second, of every frame or of the first."""
        from mvs.headmodel.output import OutputOptions

        return OutputOptions(self.up, self.unit, rate, meshes, self.overlay)
