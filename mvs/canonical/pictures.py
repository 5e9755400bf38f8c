"""Pictures with their cube maps: of image files, or of a capture's views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calib.camera import Camera
from calib.capture import Capture, CaptureError, View
from calib.image_files import read_upright
from calib.lens import distortion_map
from calib.masks import judge_masks
from calib.pictures import PICTURE_SUFFIXES
from mvs.errors import ReconstructionError
from mvs.network.crop import empty_cube_map, paste_cube_map
from mvs.stages.embed import EmbedOptions, embed_view, embed_views, warp_cube_map
from mvs.types import ByteArray, CubeMap, DoubleArray, Embedder

# Pictures that a warning names, at most.
_MAX_NAMED = 5


@dataclass(frozen=True)
class MappedPicture:
    """A picture and its cube map.

    Attributes:
        name: of the file, or of the view.
        image: (H, W, 3) uint8 RGB; a view's is undistorted.
        cube_map: at the network's resolution, with ``image_from_map`` to the image's pixels; its
            mask is empty where no head is seen.
        camera: pinhole, of the image; None of a file.
        view: as photographed; None of a file.
    """

    name: str
    image: ByteArray
    cube_map: CubeMap
    camera: Camera | None = None
    view: View | None = None

    def full(self) -> CubeMap:
        """The map with a place for each pixel of ``image``."""
        return paste_cube_map(self.cube_map, *self.image.shape[:2])

    def as_taken(self) -> tuple[ByteArray, CubeMap]:
        """Picture (H, W, 3) and map of each of its pixels, with the lens's distortion."""
        if self.view is None or self.view.camera.is_pinhole:
            return self.image, self.full()
        mapping = distortion_map(self.view.camera)
        return self.view.load_image(), warp_cube_map(self.full(), mapping)

    def pixels_as_taken(self, pixels: DoubleArray) -> DoubleArray:
        """Where pixels (N, 2) of ``image`` lie in the picture with the lens's distortion."""
        if self.view is None or self.camera is None or self.view.camera.is_pinhole:
            return pixels
        rays = self.camera.unproject(pixels)
        return self.view.camera.project(self.camera.center + rays)[0]


def list_images(source: Path) -> tuple[Path, ...]:
    """The picture files of a folder, by name, or the one named.

    Raises:
        CaptureError: if there are none.
    """
    if source.is_file():
        return (source,)
    found = sorted(p for p in source.glob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        reason = "no such file or folder" if not source.exists() else "holds no pictures"
        raise CaptureError(source, reason, "give pictures, a folder of them, or a capture")
    return tuple(found)


def map_image(name: str, image: ByteArray, embedder: Embedder) -> CubeMap:
    """The cube map of a picture (H, W, 3) by itself; empty where no head is seen."""
    square = embedder.find_head(image, name)
    return empty_cube_map(2, 2) if square is None else embedder.embed(image, square, name)


def map_images(paths: Sequence[Path], embedder: Embedder) -> Iterator[MappedPicture]:
    """Embed picture files one after the other, each by itself.

    Args:
        paths: of the pictures, turned as their EXIF says.
        embedder: finds the head and embeds it.

    Yields:
        One per path.

    Raises:
        CaptureError: if a picture cannot be read.
    """
    for path in paths:
        image = read_upright(path)
        yield MappedPicture(path.name, image, map_image(path.name, image, embedder))


def heads_first(
    pictures: Iterable[MappedPicture], source: Path, warnings: list[str] | None = None
) -> Iterator[MappedPicture]:
    """Pictures in their order, none of them before one shows a head.

    Args:
        pictures: with cube maps.
        source: of them, for the message.
        warnings: gets a line that names those without a head.

    Raises:
        ReconstructionError: if none shows a head.
    """
    waiting: list[MappedPicture] = []
    without, seen = [], False
    for picture in pictures:
        waiting.append(picture)
        shown = bool(picture.cube_map.mask.any())
        if not shown:
            without.append(picture.name)
        if shown or seen:
            seen = True
            yield from waiting
            waiting = []
    if not seen:
        raise ReconstructionError(f"{source}: no picture shows a head", "give pictures of one")
    if without and warnings is not None:
        some = ", ".join(without[:_MAX_NAMED]) + (" ..." if len(without) > _MAX_NAMED else "")
        warnings.append(f"{source}: no head is seen in {len(without)} of the pictures: {some}")


def map_capture(
    capture: Capture,
    embedder: Embedder,
    threads: int = 1,
    progress: Callable[[], None] | None = None,
    warnings: list[str] | None = None,
) -> tuple[MappedPicture, ...]:
    """Embed a capture's views, cropped to one head in space.

    Args:
        capture: its views; of one alone the head is what that view shows.
        embedder: finds the head and embeds it.
        threads: views embedded at a time.
        progress: called twice per view.
        warnings: gets a line for each thing that looks wrong with the masks of several views.

    Raises:
        CaptureError: if a picture or mask cannot be read, or the masks look wrong altogether.
        ReconstructionError: if of several views fewer than two agree on a head.
    """
    if len(capture.views) == 1:
        (view,) = capture.views
        camera, image, cube_map = embed_view(view, embedder)
        if progress is not None:
            progress()
            progress()
        return (MappedPicture(view.name, image, cube_map, camera, view),)
    found = embed_views(capture.views, embedder, EmbedOptions(threads=threads), progress)
    doubts = judge_masks(capture, found.looks)
    if warnings is not None:
        warnings += doubts
    rows = zip(capture.views, found.images, found.cube_maps, found.cameras, strict=True)
    return tuple(MappedPicture(v.name, image, cube, cam, v) for v, image, cube, cam in rows)
