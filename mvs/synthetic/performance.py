"""A rendered performance: still cameras, a head that moves, blinks, speaks and smiles; truth known.

World and light as in ``mvs.synthetic.capture``; the light moves with the head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from calib.colmap import write_model
from calib.files import write_json
from mvs.synthetic.capture import (
    HAIR_LEVELS,
    WORLD_FROM_HEAD,
    CaptureOptions,
    backdrop,
    develop,
    sitter,
    studio_shot,
    world_camera,
    write_head,
    write_picture,
)
from mvs.synthetic.head import load_head
from mvs.synthetic.render import Shot, render
from mvs.synthetic.scene import Studio, build_scene
from mvs.types import BoolArray, ByteArray, DoubleArray

# What the head turns about, its own frame, cm.
_PIVOT = np.array([0.0, -7.0, -2.0])
# Begin and end in seconds, how far: between them the activation rises and falls once.
_ACTS = {
    "eyeBlink_L": (0.10, 0.40, 1.0),
    "eyeBlink_R": (0.10, 0.40, 1.0),
    "jawOpen": (0.20, 0.75, 0.55),
    "mouthSmile_L": (0.45, 1.30, 0.8),
    "mouthSmile_R": (0.45, 1.30, 0.8),
}
_PERIOD_S = 1.5
# Amplitudes of nod, turn and tilt, and of the shift.
_TURN_RAD = np.deg2rad([2.5, 5.0, 1.5])
_SHIFT_CM = np.array([0.4, 0.25, 0.3])


@dataclass(frozen=True)
class PerformanceOptions:
    """What is rendered.

    Attributes:
        head: packed ICT-FaceKit file.
        output: folder of the pictures, the calibration and the truth.
        n_frames: pictures of every camera.
        n_views: cameras, on an arc around the face.
        size: width and height of the pictures.
        fps: frames per second; what happens in a second does not change with it.
        arc_deg: angle between the outermost cameras.
        seed: of the person.
        supersampling: samples per pixel along each axis.
    """

    head: Path
    output: Path
    n_frames: int = 24
    n_views: int = 8
    size: int = 512
    fps: float = 24.0
    arc_deg: float = 120.0
    seed: int = 7
    supersampling: int = 2

    def __post_init__(self) -> None:
        if self.n_frames < 1 or not self.fps > 0:
            raise ValueError("n_frames must be at least 1 and fps positive")

    def capture(self) -> CaptureOptions:
        """The same cameras and person, at rest."""
        return CaptureOptions(
            head=self.head,
            output=self.output,
            n_views=self.n_views,
            size=self.size,
            arc_deg=self.arc_deg,
            seed=self.seed,
            supersampling=self.supersampling,
        )


def write_performance(
    options: PerformanceOptions, progress: Callable[[], None] | None = None
) -> None:
    """Render a performance.

    Writes ``images/cam00/000000.jpg`` and so on, their ``masks``, one COLMAP model in ``sparse/0``
    whose image names are ``cam00.jpg`` ..., ``capture.json``, and under ``gt`` every frame's mesh
    ``000000.ply`` (one topology) and ``performance.json``.

    Args:
        options: what to render.
        progress: called once per picture.

    Raises:
        ValueError: if the head model cannot be read, or an option does not fit.
    """
    still = options.capture()
    studio = Studio(load_head(options.head))
    person = sitter(studio, options.seed)
    shots = [studio_shot(still, index) for index in range(options.n_views)]
    cameras = [f"cam{index:02d}" for index in range(options.n_views)]
    rng = np.random.default_rng((options.seed, 3))
    walls = [backdrop(options.size, rng) for _ in shots]
    names = [f"{camera}.jpg" for camera in cameras]
    write_model(options.output / "sparse" / "0", names, [world_camera(shot) for shot in shots])
    write_json(options.output / "capture.json", {"unit": "m"}, indent=None)
    for folder in ("gt", *(f"{kind}/{c}" for kind in ("images", "masks") for c in cameras)):
        (options.output / folder).mkdir(parents=True, exist_ok=True)
    frames = {}
    for index in range(options.n_frames):
        acts = activations(index / options.fps)
        known = studio.head.expression_names
        weights = np.array([acts.get(name, 0.0) for name in known], np.float32)
        scene = build_scene(studio, replace(person, expression=weights), HAIR_LEVELS)
        motion = head_motion(index / options.fps)
        for camera, shot, wall in zip(cameras, shots, walls, strict=True):
            photo = render(scene, moved_shot(shot, motion), wall, options.supersampling, 1)
            _write_view(options.output, camera, index, develop(photo.color, rng), photo.mask)
            if progress is not None:
                progress()
        world = (scene.head @ motion[:, :3].T + motion[:, 3]) @ WORLD_FROM_HEAD.T
        write_head(options.output / "gt" / f"{index:06d}.ply", studio.head, world)
        frames[f"{index:06d}"] = {"expression": acts, "studio_from_head_cm": motion.tolist()}
    truth = {"unit": "m", "fps": options.fps, "cameras": cameras, "frames": frames}
    write_json(options.output / "gt" / "performance.json", truth, indent=None)


def activations(seconds: float) -> dict[str, float]:
    """How far each expression is on at a time, by its ARKit name; smooth in time."""
    time = seconds % _PERIOD_S
    found = {}
    for name, (begin, end, most) in _ACTS.items():
        share = np.clip((time - begin) / (end - begin), 0, 1)
        found[name] = float(round(most * np.sin(np.pi * share) ** 2, 6))
    return found


def head_motion(seconds: float) -> DoubleArray:
    """(3, 4) from the head's frame to where it was at rest, cm; smooth in time."""
    from scipy.spatial.transform import Rotation

    phase = 2 * np.pi * seconds / _PERIOD_S
    swing = np.array([np.sin(2 * phase), np.sin(phase), np.sin(phase + 1) - np.sin(1)])
    R = Rotation.from_rotvec(_TURN_RAD * swing).as_matrix()
    return np.column_stack([R, _PIVOT - R @ _PIVOT + _SHIFT_CM * swing[::-1]])


def moved_shot(shot: Shot, motion: DoubleArray) -> Shot:
    """The still camera, as seen from the head that moved."""
    return replace(shot, R=shot.R @ motion[:, :3], t=shot.R @ motion[:, 3] + shot.t)


def _write_view(output: Path, camera: str, index: int, picture: ByteArray, mask: BoolArray) -> None:
    name = f"{index:06d}"
    quality = [cv2.IMWRITE_JPEG_QUALITY, 96]
    write_picture(output / "images" / camera / f"{name}.jpg", picture[..., ::-1], quality)
    kept = mask.astype(np.uint8) * 255
    write_picture(output / "masks" / camera / f"{name}.png", kept, [])
