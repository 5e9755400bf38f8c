"""Tiny sequences on disk: a few cameras, exact cube maps, another picture every frame."""

import dataclasses
import hashlib
import shutil

import cv2
import numpy as np

from mvs.batch.frames import Pattern, find_by_pattern, in_chains, with_cube_maps
from mvs.batch.jobs import EmbedderChoice, Job
from mvs.batch.rig import read_rig
from mvs.pipeline import PipelineOptions
from mvs.stages.mesh import MeshOptions
from mvs.stages.refine import RefineOptions
from tests.scenes import make_scene, move_head, perturb, write_capture

N_VIEWS, SIZE = 3, 96


# Little refinement, for time.
REFINED = PipelineOptions(
    refine=RefineOptions(n_sources=2, coarse_steps="SPS", steps="SPS", n_best=1),
    mesh=MeshOptions(depth=5),
)


def write_sequence(folder, n_frames=3, motion=None):
    """A ``rig`` without pictures, ``shot/view_00/000000.png``, ``masks`` and ``maps``.

    The head is still, or moves by ``motion(number)``; its scenes are returned then.
    """
    still = make_scene(N_VIEWS, SIZE, arc_deg=40.0)
    write_capture(still, folder / "rig")
    for kind in ("images", "masks"):
        shutil.rmtree(folder / "rig" / kind)
    scenes = [
        still if motion is None else move_head(still, motion(number)) for number in range(n_frames)
    ]
    for number, scene in enumerate(scenes):
        maps = perturb(scene, 0.001, 0.001, seed=number)
        (folder / "maps" / f"{number:06d}").mkdir(parents=True)
        for name, image, cube_map in zip(scene.names, scene.images, maps, strict=True):
            camera = name.removesuffix(".png")
            for kind, picture in (
                ("shot", np.clip(image.astype(int) + 4 * number, 0, 255).astype(np.uint8)),
                ("masks", cube_map.mask.astype(np.uint8) * 255),
            ):
                path = folder / kind / camera / f"{number:06d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), picture[..., ::-1] if kind == "shot" else picture)
            np.savez(
                folder / "maps" / f"{number:06d}" / f"{name}.npz",
                coords=np.clip(cube_map.coords, 0, 1),
                confidence=cube_map.confidence,
                mask=cube_map.mask,
            )
    return still if motion is None else scenes


def job_of(folder, chain=1, pipeline=REFINED, **changes):
    """The job and the frames of ``write_sequence``."""
    rig = read_rig(folder / "rig")
    images = Pattern(f"{folder}/shot/{{camera}}/{{frame:06d}}.png")
    masks = Pattern(f"{folder}/masks/{{camera}}/{{frame:06d}}.png")
    frames = find_by_pattern(rig, images, masks).frames
    frames = with_cube_maps(frames, Pattern(f"{folder}/maps/{{frame:06d}}", ("frame",)))
    names = frozenset(image.name for image in rig.images)
    choice = EmbedderChoice("precomputed")
    job = Job(folder / "out", rig, pipeline, choice, cameras=names)
    return dataclasses.replace(job, **changes), in_chains(frames, chain)


def arguments(folder, output, *more):
    """Of ``mvs batch``, draft quality and the maps of ``write_sequence``."""
    return [
        *("batch", str(folder / "rig"), "--output", str(output), "--quality", "draft"),
        *("--images", str(folder / "shot" / "{camera}" / "{frame:06d}.png")),
        *("--embedder", "precomputed", "--cube-maps", str(folder / "maps" / "{frame:06d}")),
        *("--threads", "1", *map(str, more)),
    ]


def results(output):
    """SHA-256 of every file of every frame whose bytes must be the same every time."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((output / "frames").rglob("*"))
        if path.is_file() and path.name != "run.json"
    }
