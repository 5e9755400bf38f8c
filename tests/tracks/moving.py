"""Videos with known motion: a textured disc that turns, shifts and bends on black; no network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mvs.network.crop import sample_region
from mvs.network.head_finder import largest_piece
from mvs.types import BoolArray, ByteArray, CubeMap, DoubleArray, Square

SIZE = 240
CENTER = np.array([120.0, 120.0])
RADIUS = 80.0
PATCH = 40


class BrightEmbedder:
    """Takes what is brighter than a level for the head."""

    name = "bright"
    wants_distorted = False

    def __init__(self, level: int = 40) -> None:
        self.level = level
        self.n_searches = 0

    def find_head(self, image: ByteArray, name: str | None = None) -> Square | None:
        self.n_searches += 1
        piece = largest_piece(self._mask(image))
        if piece is None or piece[0] < 100:
            return None
        return Square(piece[1].center, 1.25 * piece[1].side)

    def embed(
        self, image: ByteArray, region: Square | None = None, name: str | None = None
    ) -> CubeMap:
        crop = sample_region(image, region, 192)
        mask = self._mask(crop.image)
        coords = np.zeros((*mask.shape, 3), np.float32)
        return CubeMap(coords, mask.astype(np.float32), mask, crop.image_from_map)

    def _mask(self, image: ByteArray) -> BoolArray:
        return image.max(axis=2) > self.level


def to_first(pixels: DoubleArray, frame: int) -> DoubleArray:
    """Where the content of a frame's pixels (N, 2) was in the undeformed picture."""
    angle, shift = 0.02 * frame, np.array([1.3, 0.7]) * frame
    local = pixels - CENTER - shift
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    local = local @ turn.T
    return local + CENTER + 0.4 * frame * np.sin(local[:, ::-1] / 25.0)


def texture_picture(seed: int = 3) -> ByteArray:
    """(SIZE, SIZE, 3) smooth noise at two scales between 70 and 250."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE, 3)), (0, 0), s) for s in (1.8, 6.0)]
    noise = sum(layer / layer.std() for layer in layers)
    return np.clip(160 + 30 * noise, 70, 250).astype(np.uint8)


def frames(n: int) -> list[ByteArray]:
    """The moving disc."""
    texture, pictures = texture_picture(), []
    for frame in range(n):
        first = to_first(_centers(), frame)
        at = (first - 0.5).astype(np.float32).reshape(SIZE, SIZE, 2)
        picture = cv2.remap(texture, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        inside = np.linalg.norm(first - CENTER, axis=1).reshape(SIZE, SIZE) < RADIUS
        pictures.append(np.where(inside[..., None], picture, 0).astype(np.uint8))
    return pictures


def covered_frames(n: int) -> list[ByteArray]:
    """The disc at rest with a patch of another texture that crosses it, 6 pixels a frame."""
    still, other = frames(1)[0], texture_picture(8)[:PATCH, :PATCH]
    pictures = []
    for frame in range(n):
        left, top = patch_corner(frame)
        picture = still.copy()
        picture[top : top + PATCH, left : left + PATCH] = other
        pictures.append(picture)
    return pictures


def patch_corner(frame: int) -> tuple[int, int]:
    """Column and row of the patch's first pixel."""
    return 65 + 6 * frame, 100


def under_patch(pixels: DoubleArray, frame: int, margin: float) -> BoolArray:
    """Which pixels lie in the patch, at least ``margin`` from its edge (outside if negative)."""
    local = pixels - patch_corner(frame)
    return ((local > margin) & (local < PATCH - margin)).all(axis=1)


def write_video(path: Path, pictures: list[ByteArray], codec: str = "MJPG") -> Path:
    """Write a video with OpenCV."""
    height, width = pictures[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, (width, height))
    for picture in pictures:
        video.write(picture[..., ::-1])
    video.release()
    return path


def write_frames(folder: Path, pictures: list[ByteArray], first: int = 8) -> Path:
    """Write numbered pictures, whose names do not sort as their numbers do."""
    folder.mkdir()
    for number, picture in enumerate(pictures, first):
        cv2.imwrite(str(folder / f"frame{number}.png"), picture[..., ::-1])
    return folder


def _centers() -> DoubleArray:
    grid = np.arange(SIZE) + 0.5
    return np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
