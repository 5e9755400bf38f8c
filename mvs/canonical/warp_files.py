"""Warps between two pictures written as files: flows, and what they look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calib.files import replacing
from mvs.canonical.draw import confidence_picture, write_picture
from mvs.canonical.pictures import MappedPicture
from mvs.canonical.warp import Flow, WarpOptions, warp_flow, warp_image
from mvs.errors import ReconstructionError
from mvs.types import ByteArray

# Middlebury's mark of a pixel without a flow is beyond 1e9.
_UNKNOWN = 1e10
_MAGIC = b"PIEH"


def write_warp(
    a: MappedPicture, b: MappedPicture, folder: Path, options: WarpOptions | None = None
) -> Flow:
    """Warp picture A into B's geometry and write all there is to it.

    Writes ``warp.png``, ``blend.png``, ``confidence.png`` and, both ways, ``a_from_b.npz`` and
    ``.flo`` and ``b_from_a.npz`` and ``.flo``: for each pixel of the last named its place in the
    first.

    Args:
        a: whose colours are taken.
        b: whose geometry.
        folder: exists.
        options: see ``WarpOptions``.

    Returns:
        The flow at B's pixels.

    Raises:
        ReconstructionError: if one of them shows no head, or they share no place.
    """
    for picture in (a, b):
        if not picture.cube_map.mask.any():
            raise ReconstructionError(f"{picture.name}: no head is seen", "give a picture of one")
    ways = {"a_from_b": (a, b), "b_from_a": (b, a)}
    flows = {}
    for name, (source, target) in ways.items():
        flow = warp_flow(source.cube_map, target.cube_map, options)
        flows[name] = flow.at_picture(*target.image.shape[:2])
    flow = flows["a_from_b"]
    if not flow.valid.any():
        remedy = "give pictures that see the head from the same side"
        raise ReconstructionError(f"{a.name} and {b.name} show no place in common", remedy)
    for name, way in flows.items():
        write_flow(folder / f"{name}.npz", way)
        write_flo(folder / f"{name}.flo", way)
    blank = np.zeros_like(b.image)
    write_picture(folder / "warp.png", warp_image(a.image, flow, blank))
    write_picture(folder / "blend.png", blend(a.image, b.image, flow))
    write_picture(folder / "confidence.png", confidence_picture(flow.confidence))
    return flow


def blend(a: ByteArray, b: ByteArray, flow: Flow) -> ByteArray:
    """Picture A laid over B (H, W, 3), fading where the flow is doubtful and at its rim."""
    import cv2

    warped = warp_image(a, flow, b).astype(np.float32)
    share = flow.valid.astype(np.float32)
    share = np.minimum(share, 2 * np.asarray(cv2.GaussianBlur(share, (0, 0), 3.0)) - 1)
    sure = np.clip(flow.confidence / 0.1, 0, 1)
    share = (np.clip(share, 0, 1) * np.asarray(cv2.GaussianBlur(sure, (0, 0), 2.0)))[..., None]
    mixed = b * (1 - share) + warped * share
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def write_flow(path: Path, flow: Flow) -> None:
    """A flow as NPZ: ``pixels``, ``confidence``, ``roundtrip`` and ``valid``, see ``Flow``."""
    with replacing(path) as stream:
        np.savez_compressed(
            stream,
            pixels=flow.pixels,
            confidence=flow.confidence,
            roundtrip=flow.roundtrip,
            valid=flow.valid,
        )


def write_flo(path: Path, flow: Flow) -> None:
    """A flow's displacements in Middlebury's format, 1e10 where there is none.

    Source: Baker et al., "A database and evaluation methodology for optical flow" (2011).
    """
    shifts = np.nan_to_num(flow.displacement(), nan=_UNKNOWN).astype("<f4")
    height, width = flow.valid.shape
    with replacing(path) as stream:
        stream.write(_MAGIC + np.array([width, height], "<i4").tobytes() + shifts.tobytes())
