"""Options that the commands of ``mvs canonical`` share: pictures or a capture, and the embedder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mvs.cli.source import EmbedderOptions

if TYPE_CHECKING:
    from mvs.canonical.pictures import MappedPicture


@dataclass(frozen=True, kw_only=True)
class PictureOptions(EmbedderOptions):
    """Pictures and what embeds them; a capture's views are cropped to one head in space.

    Attributes:
        capture: a picture, a folder of pictures, or a capture (a folder with a camera file).
    """

    def unit(self) -> str | None:
        """Unit of a capture's world; None where nobody said, and of pictures."""
        from calib.formats import has_cameras

        return self.load_capture().unit if has_cameras(self.capture) else None

    def mapped_pictures(
        self, progress: Callable[[str, int, int], None] | None = None
    ) -> Iterator[MappedPicture]:
        """The pictures with their cube maps; cameras where the source is a capture.

        Args:
            progress: called with ``embed``, pictures done and pictures in all.

        Raises:
            CaptureError: if there are no pictures, or one cannot be read.
            ReconstructionError: if fewer than two views of a capture agree on a head.
        """
        from calib.formats import has_cameras
        from mvs.canonical.pictures import list_images, map_capture, map_images
        from mvs.cli.show import counter

        report = progress or (lambda *_: None)
        if has_cameras(self.capture):
            capture = self.load_capture()
            step = counter(report, "embed", 2 * len(capture.views))
            yield from map_capture(capture, self.load_embedder(), self.threads, step)
            return
        paths = list_images(self.capture)
        step = counter(report, "embed", len(paths))
        for picture in map_images(paths, self.load_embedder()):
            yield picture
            step()
