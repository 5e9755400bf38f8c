"""Options that several commands share: which capture, which embedder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from calib.capture import Capture
    from mvs.types import Embedder

# The keys of calib.formats.FORMATS, spelt out so that --help need not import the readers.
FormatName = Literal[
    "colmap", "cameras", "nerfstudio", "middlebury", "opencv", "metashape", "bundler", "mvsnet"
]


def _usable_cores() -> int:
    """Cores this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(threads: int) -> None:
    """Set the number of threads of the parallel kernels.

    Raises:
        ValueError: if it is not positive.
    """
    from mvs.kernels.threads import use_threads

    if threads < 1:
        raise ValueError(f"--threads must be at least 1, got {threads}")
    use_threads(threads)


def load_noted(
    folder: Path,
    capture: Path | None,
    images: Path | None = None,
    masks: Path | None = None,
    format: FormatName | None = None,  # noqa: A002
) -> Capture:
    """The capture named, or else that of a run's folder, with what else is named put right.

    Raises:
        ValueError: if neither names one.
        CaptureError: if it cannot be read.
    """
    from calib.capture import CaptureError
    from calib.formats import read_capture
    from mvs.record import noted_source

    if capture is not None:
        return read_capture(capture, images, masks, format)
    noted = noted_source(folder)
    if noted is None:
        raise ValueError(f"{folder}: no run.json names the capture; say --capture")
    if not noted.path.exists():
        reason = "the capture of this run is not there"
        raise CaptureError(noted.path, reason, "name it with --capture")
    return read_capture(
        noted.path, images or noted.images, masks or noted.masks, format or noted.format
    )


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What embeds pictures.

    Attributes:
        embedder: compact (shipped), densemarks (fetch it first), precomputed (needs --cube-maps),
            or, to reconstruct what is no head, none.
        weights: weights of the embedder's network, if not its own.
        cube_maps: folder of <image name>.npz for the precomputed embedder.
        threads: threads to use; the result does not depend on it.
        quiet: print nothing but errors.
    """

    embedder: Literal["compact", "densemarks", "precomputed", "none"] = "compact"
    weights: Path | None = None
    cube_maps: Path | None = None
    threads: int = min(_usable_cores(), 16)
    quiet: bool = False

    def load_embedder(self) -> Embedder:
        """The embedder named, with the number of threads set.

        Raises:
            ValueError: if the options do not fit together or the weights cannot be used.
            CaptureError: if the folder of cube maps is absent.
        """
        from mvs.network.embedders import load_embedder

        self.use_threads()
        return load_embedder(self.embedder, self.weights, self.cube_maps)

    def use_threads(self) -> None:
        """Set the number of threads of the parallel kernels.

        Raises:
            ValueError: if it is not positive.
        """
        set_threads(self.threads)


@dataclass(frozen=True, kw_only=True)
class EmbedderOptions(NetworkOptions):
    """A capture and what embeds it.

    Attributes:
        capture: folder with images/ and a camera file (a COLMAP model in sparse/0), or the file.
        format: of the camera file, if it shall not be found out.
        images: folder of the pictures, if not images/ in the capture.
        masks: folder of the masks (<image name>.png; 0 is ignored; of soft masks what is at least
            half of white is kept), if not masks/ in the capture; alpha of the pictures counts too.
            Masks that nearly all look inverted are refused.
    """

    capture: Annotated[Positional[Path], arg(metavar="CAPTURE")]
    format: FormatName | None = None
    images: Path | None = None
    masks: Path | None = None

    def load_capture(self) -> Capture:
        """The capture named.

        Raises:
            CaptureError: if it cannot be used.
        """
        from calib.formats import read_capture

        return read_capture(self.capture, self.images, self.masks, self.format)


@dataclass(frozen=True, kw_only=True)
class SourceOptions(EmbedderOptions):
    """A capture, what embeds it, and where the results go.

    Attributes:
        output: folder for the results.
    """

    output: Path
