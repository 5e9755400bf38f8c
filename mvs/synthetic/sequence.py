"""A rendered video of one person, turning, with something passing before the face; truth known.

The head stays and the camera goes round it, light and all, which looks like a head that turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from calib.files import write_json
from mvs.canonical.cube import cube_from_cm
from mvs.canonical.layouts import load_layout
from mvs.synthetic.capture import backdrop, develop, see_points, sitter, thin_cover, write_picture
from mvs.synthetic.head import load_head
from mvs.synthetic.occluders import occlude
from mvs.synthetic.render import Shot, look_at, render
from mvs.synthetic.scene import Studio, build_scene
from mvs.types import BoolArray, FloatArray

# Of the 68: jaw, brows, nose, eyes and lips.
_POINTS = (4, 8, 12, 17, 19, 21, 22, 24, 26, 27, 30, 31, 35, 36, 39, 42, 45, 48, 51, 54, 57)
_HAIR_LEVELS = (0.0, 0.3, 0.6, 0.9)
_CENTER, _HEIGHT_CM, _DISTANCE_CM = (0.0, 1.0, 0.5), 30.0, 105.0
# Shares of the picture that the thing may hide, and of the frames when it passes.
_SHARE = (0.05, 0.12)
_PASSES = (0.25, 0.75)


@dataclass(frozen=True)
class SequenceOptions:
    """What is rendered.

    Attributes:
        head: packed ICT-FaceKit file.
        output: folder of the frames and of ``truth.json``.
        n_frames: frames; the head turns left, right and back again.
        size: width and height of the frames.
        turn_deg: farthest to each side.
        seed: of the person and of what passes.
        supersampling: samples per pixel along each axis.
    """

    head: Path
    output: Path
    n_frames: int = 40
    size: int = 512
    turn_deg: float = 25.0
    seed: int = 7
    supersampling: int = 2

    def __post_init__(self) -> None:
        if self.n_frames < 2 or self.size < 32 or self.supersampling < 1:
            raise ValueError("n_frames must be at least 2, size 32, supersampling 1")
        if not 0 <= self.turn_deg <= 90:
            raise ValueError(f"turn_deg must be in [0, 90], got {self.turn_deg}")


def write_sequence(options: SequenceOptions, progress: Callable[[], None] | None = None) -> None:
    """Render a sequence.

    Writes ``frames/000000.jpg`` and so on, and ``truth.json``: ``names`` and cube coordinates
    ``uvw`` of the points, ``eyes`` (rows of the outer corners), and per frame ``uv`` in pixels and
    ``visible``, 0 where the head itself or the passing thing hides a point.

    Args:
        options: what to render.
        progress: called once per frame.

    Raises:
        ValueError: if the head model cannot be read.
    """
    studio = Studio(load_head(options.head))
    scene = build_scene(studio, sitter(studio, options.seed), _HAIR_LEVELS)
    vertices = studio.head.landmarks[list(_POINTS)]
    rng = np.random.default_rng((options.seed, 2))
    wall, thing = backdrop(options.size, rng), _thing(options.size, rng)
    (options.output / "frames").mkdir(parents=True, exist_ok=True)
    frames = {}
    for index in range(options.n_frames):
        time = index / options.n_frames
        shot = _shot(options, time)
        photo = render(scene, shot, wall, options.supersampling, 1)
        color, hidden = _pass(photo.color, thing, time)
        name = f"{index:06d}.jpg"
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        write_picture(options.output / "frames" / name, develop(color, rng)[..., ::-1], quality)
        pixels, seen = see_points(scene, shot, thin_cover(photo), scene.head[vertices])
        row, column = np.clip(pixels[:, ::-1].astype(int), 0, options.size - 1).T
        seen &= ~hidden[row, column]
        frames[name] = {"uv": pixels.round(4).tolist(), "visible": seen.astype(int).tolist()}
        if progress is not None:
            progress()
    names = load_layout("68").names
    uvw = cube_from_cm(studio.head.template[vertices]).astype(float)
    truth = {
        "names": [names[k] for k in _POINTS],
        "uvw": uvw.round(7).tolist(),
        "eyes": [_POINTS.index(36), _POINTS.index(45)],
        "frames": frames,
    }
    write_json(options.output / "truth.json", truth, indent=None)


def _shot(options: SequenceOptions, time: float) -> Shot:
    yaw = np.deg2rad(options.turn_deg) * np.sin(2 * np.pi * time)
    nod = 0.05 + 0.04 * np.sin(4 * np.pi * time)
    shot = look_at(np.array(_CENTER), yaw, nod, 0.0, _DISTANCE_CM)
    focal = 0.66 * options.size * _DISTANCE_CM / _HEIGHT_CM
    middle = (options.size / 2, options.size / 2)
    return replace(shot, focal=focal, center=middle, size=(options.size, options.size))


def _thing(size: int, rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
    """Something to hold in front, in linear RGB, and its outline, cut to its box."""
    y, x = (np.indices((size, size)) + 0.5) / size - 0.5
    near = np.hypot(x, y) < 0.25
    while True:
        color, hidden = occlude(np.full((size, size, 3), 0.2, np.float32), near, rng)
        if _SHARE[0] < hidden.mean() < _SHARE[1]:
            rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            return np.ascontiguousarray(color[box]), np.ascontiguousarray(hidden[box])


def _pass(
    color: FloatArray, thing: tuple[FloatArray, BoolArray], time: float
) -> tuple[FloatArray, BoolArray]:
    """A frame with the thing where it is at that time, and what it hides."""
    size = len(color)
    cover, outline = thing
    hidden = np.zeros((size, size), np.bool_)
    share = (time - _PASSES[0]) / (_PASSES[1] - _PASSES[0])
    left = round(-outline.shape[1] + share * (size + outline.shape[1]))
    top = round(0.55 * size - 0.5 * outline.shape[0])
    y, x = np.nonzero(outline)
    kept = (x + left >= 0) & (x + left < size) & (y + top >= 0) & (y + top < size)
    y, x = y[kept], x[kept]
    drawn = color.copy()
    drawn[y + top, x + left], hidden[y + top, x + left] = cover[y, x], True
    return drawn, hidden
