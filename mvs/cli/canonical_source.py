"""Options that the commands of ``mvs canonical`` share: pictures or a capture, and the embedder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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

    def picture_names(self) -> tuple[str, ...]:
        """Names of the pictures; nothing is embedded."""
        from calib.formats import has_cameras
        from mvs.canonical.pictures import list_images

        if has_cameras(self.capture):
            return tuple(view.name for view in self.load_capture().views)
        return tuple(path.name for path in list_images(self.capture))

    def mapped_pictures(
        self, progress: Callable[[str, int, int], None] | None = None
    ) -> Iterator[MappedPicture]:
        """The pictures with their cube maps; cameras where the source is a capture.

        Args:
            progress: called with ``embed``, pictures done and pictures in all.

        Raises:
            CaptureError: if there are no pictures, or one cannot be read.
            ReconstructionError: if no picture shows a head, or fewer than two views of a capture
                agree on one.
        """
        from calib.formats import has_cameras
        from mvs.canonical.pictures import heads_first, list_images, map_capture, map_images
        from mvs.cli.show import counter, warn

        report = progress or (lambda *_: None)
        warnings: list[str] = []
        pictures: Iterable[MappedPicture]
        if has_cameras(self.capture):
            capture = self.load_capture()
            step = counter(report, "embed", 2 * len(capture.views))
            embedder = self.load_embedder()
            pictures = map_capture(capture, embedder, self.threads, step, warnings)
        else:
            paths = list_images(self.capture)
            step = counter(report, "embed", len(paths))
            pictures = _stepping(map_images(paths, self.load_embedder()), step)
        yield from heads_first(pictures, self.capture, warnings)
        if not self.quiet:
            warn(warnings)


def _stepping(
    pictures: Iterable[MappedPicture], step: Callable[[], None]
) -> Iterator[MappedPicture]:
    for picture in pictures:
        step()
        yield picture
