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
    from mvs.network.regressor import Regressor


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


@dataclass(frozen=True, kw_only=True)
class PictureOptions(ModelOptions):
    """A head model for pictures of one camera.

    Attributes:
        focal_px: focal length in pixels; without, that of a picture's EXIF, or else it is solved
            for.
        regressor: weights of the shape regressor, see ``mvs headmodel train``; the shipped ones if
            none are given.
    """

    focal_px: float | None = None
    regressor: Path | None = None

    def check_focal(self) -> None:
        """Refuse a focal length that is none.

        Raises:
            ValueError: saying so.
        """
        if self.focal_px is not None and not self.focal_px > 0:
            raise ValueError(f"--focal-px must be positive, got {self.focal_px}")

    def load_regressor(self, weight: float) -> Regressor | None:
        """The shape regressor; None where it counts for nothing.

        Raises:
            CheckpointError: if the weights cannot be used.
        """
        from mvs.network.regressor import load_regressor

        return load_regressor(self.regressor) if weight > 0 else None
