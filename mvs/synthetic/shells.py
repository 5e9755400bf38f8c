"""Surfaces grown from the head: hair, hats, clothes. All carry their own canonical positions.

A shell vertex sits at (skin vertex + offset) both on the posed head and on the template, so its
cube coordinate is the canonical position of the skin below, moved out by the same offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvs.kernels.raster import vertex_normals
from mvs.synthetic.head import FACE, HEAD_NECK, Head
from mvs.synthetic.noise import noise_at
from mvs.synthetic.regions import ear, hair_height
from mvs.types import FloatArray, IntArray


@dataclass(frozen=True)
class Patch:
    """A part of the skin, subdivided once, as a base for a shell.

    Attributes:
        parents: (N, 2) int32 head vertices whose mean each patch vertex is.
        faces: (F, 3) int32 faces between patch vertices.
        template: (N, 3) float32 canonical positions, cm.
        normals: (N, 3) float32 template normals, smoothed.
    """

    parents: IntArray
    faces: IntArray
    template: FloatArray
    normals: FloatArray

    def on(self, vertices: FloatArray) -> FloatArray:
        """Patch vertices (N, 3) on a posed head's vertices (V, 3)."""
        return np.asarray(0.5 * (vertices[self.parents[:, 0]] + vertices[self.parents[:, 1]]))


@dataclass(frozen=True)
class Shell:
    """A surface ready to be rendered with the head.

    Attributes:
        vertices: (N, 3) float32 positions in the head frame, cm.
        canonical: (N, 3) float32 canonical positions, cm.
        faces: (F, 3) int32.
        cover: (N,) float32, above 0 where the shell is solid (hair fringes fade below).
    """

    vertices: FloatArray
    canonical: FloatArray
    faces: IntArray
    cover: FloatArray


@dataclass(frozen=True)
class HairStyle:
    """Shape of a head of hair; lengths in cm.

    Attributes:
        thickness: on top of the head.
        side: thickness at the sides, relative to the top.
        lump: amplitude of waves and curls.
        curl: size of waves and curls.
        length: how far it falls below the nape; 0 for short hair.
        line: hairline moved up (receding) or down.
        parting: 0 none, else where (x) the hair parts.
    """

    thickness: float
    side: float
    lump: float
    curl: float
    length: float
    line: float
    parting: float


def scalp_patch(head: Head, margin: float = 2.6) -> Patch:
    """The skin from which hair and hats grow, with ``margin`` cm below the hairline."""
    height = hair_height(head.template)
    return skin_patch(head, height > -margin)


def cloth_patch(head: Head) -> Patch:
    """The skin that clothes cover: shoulders and lower neck."""
    return skin_patch(head, head.template[:, 1] < -7.0)


def grow_hair(patch: Patch, posed: FloatArray, style: HairStyle, seed: FloatArray) -> Shell:
    """Hair as a displaced scalp; long hair is the lower scalp drawn down over ears and neck.

    Args:
        patch: the scalp.
        posed: (V, 3) posed head vertices, cm.
        style: shape.
        seed: (3,) offset into the noise, one per head of hair.

    Returns:
        The shell; ``cover`` is the height above the (ragged) hairline in cm.
    """
    at = patch.template
    ragged = noise_at(at * 0.9 + seed)[:, 0] * 0.5 + noise_at(at * 3.1 + seed)[:, 1] * 0.25
    cover = hair_height(at) - style.line + ragged.astype(np.float64)
    top = np.clip((at[:, 1] - 2.0) / 9.0, 0.0, 1.0)
    thickness = style.thickness * (style.side + (1 - style.side) * top**1.5)
    thickness = thickness + style.lump * noise_at(at / style.curl + seed)[:, 0]
    if style.parting:
        thickness = thickness * (1 - 0.6 * np.exp(-(((at[:, 0] - style.parting) / 0.8) ** 2)))
    thickness = np.maximum(thickness, 0.08) * np.clip((cover + 0.5) / 1.8, 0.0, 1.0)
    offset = patch.normals * thickness[:, None]
    if style.length > 0:
        offset = offset + _fall(at, style, seed)
    return _shell(patch, posed, offset, cover)


def put_hat(patch: Patch, posed: FloatArray, level: float, tilt: float, thickness: float) -> Shell:
    """A knitted hat: the scalp above a tilted plane, pushed out and smoothed.

    Args:
        patch: the scalp.
        posed: (V, 3) posed head vertices, cm.
        level: height of the rim at the middle of the head, cm.
        tilt: how much higher the rim is in front than at the back (cm per cm).
        thickness: cm.
    """
    at = patch.template
    cover = at[:, 1] - level - tilt * at[:, 2]
    bulge = 1 + 0.8 * np.clip((at[:, 1] - 8) / 6, 0, 1)
    rim = 1 + 0.35 * np.exp(-(((cover - 1.0) / 1.2) ** 2))
    offset = patch.normals * (thickness * bulge * rim * np.clip(cover / 0.4, 0, 1))[:, None]
    return _shell(patch, posed, offset, cover)


def dress(patch: Patch, posed: FloatArray, collar: float, loose: float, seed: FloatArray) -> Shell:
    """A shirt: the shoulders pushed out from a slanted collar down, and extended below.

    Args:
        patch: the clothed skin.
        posed: (V, 3) posed head vertices, cm.
        collar: height of the collar at the middle of the neck, cm.
        loose: distance from the skin, cm.
        seed: (3,) offset into the noise for folds.
    """
    at = patch.template
    cover = collar - 0.28 * (at[:, 2] - 0.0) - at[:, 1]
    cover = cover + 0.12 * noise_at(at * 1.3 + seed)[:, 0]
    folds = 0.35 * noise_at(at * 0.35 + seed)[:, 1] * np.clip(cover / 4, 0, 1)
    # A tight shirt's folds do not reach into the skin.
    rise = np.clip(cover / 0.6, 0.0, 1.0) * np.maximum(loose + folds, 0.04)
    offset = patch.normals * rise[:, None]
    shell = _shell(patch, posed, offset, cover)
    return _extend_down(shell)


def _fall(at: FloatArray, style: HairStyle, seed: FloatArray) -> FloatArray:
    """Displacement (N, 3) that draws the lower scalp down into a curtain."""
    azimuth = np.arctan2(np.abs(at[:, 0]), at[:, 2] - 1.0)
    sides = np.clip((azimuth - 1.0) / 0.25, 0.0, 1.0)
    down = np.clip((7.0 - at[:, 1]) / np.interp(azimuth, (1.0, 1.6, 2.4), (3.0, 3.5, 10.0)), 0, 1.2)
    wave = noise_at(np.column_stack([azimuth * 3, at[:, 1] * 0.15, at[:, 0] * 0.1]) + seed)[:, :2]
    outward = at * [1.0, 0.0, 1.0] - [0.0, 0.0, 1.0]
    outward = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
    fall = np.zeros_like(at)
    reach = sides * down
    fall[:, 1] = -reach * (style.length + 4.0) * (1 + 0.15 * wave[:, 0])
    spread = reach * (1.2 + 0.12 * style.length * (0.5 + 0.5 * wave[:, 1]))
    return np.asarray(fall + outward * spread[:, None], np.float32)


def _shell(
    patch: Patch,
    posed: FloatArray,
    offset: npt.NDArray[np.floating],
    cover: npt.NDArray[np.floating],
) -> Shell:
    keep = (cover[patch.faces] > -0.4).any(axis=1)
    return Shell(
        (patch.on(posed) + offset).astype(np.float32),
        (patch.template + offset).astype(np.float32),
        patch.faces[keep],
        cover.astype(np.float32),
    )


def _extend_down(shell: Shell) -> Shell:
    """Draw the open lower rim of a shirt out to shoulders and chest."""
    edges = np.concatenate([shell.faces[:, [0, 1]], shell.faces[:, [1, 2]], shell.faces[:, [2, 0]]])
    codes = edges[:, 0].astype(np.int64) * len(shell.vertices) + edges[:, 1]
    twins = edges[:, 1].astype(np.int64) * len(shell.vertices) + edges[:, 0]
    rim = edges[~np.isin(codes, twins)]
    rim = rim[(shell.canonical[rim, 1] < -12.5).all(axis=1) & (shell.cover[rim] > 0.2).all(axis=1)]
    vertices, canonical, cover = [shell.vertices], [shell.canonical], [shell.cover]
    faces = [shell.faces]
    ring = np.unique(rim)
    place = np.zeros(len(shell.vertices), np.int32)
    place[ring] = np.arange(len(ring), dtype=np.int32)
    above = ring.astype(np.int32)
    for widen, drop in ((1.35, 3.0), (1.6, 9.0), (1.7, 30.0)):
        first = sum(len(v) for v in vertices)
        for stack, source in ((vertices, shell.vertices), (canonical, shell.canonical)):
            stack.append((source[ring] * [widen, 1.0, widen] - [0, drop, 0]).astype(np.float32))
        cover.append(np.full(len(ring), 9.0, np.float32))
        a, b = above[place[rim[:, 0]]], above[place[rim[:, 1]]]
        c, d = first + place[rim[:, 0]], first + place[rim[:, 1]]
        faces += [np.column_stack([b, a, c]), np.column_stack([b, c, d])]
        above = (first + np.arange(len(ring))).astype(np.int32)
    return Shell(
        np.concatenate(vertices),
        np.concatenate(canonical),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(cover),
    )


def skin_patch(head: Head, inside: npt.NDArray[np.bool_], with_ears: bool = False) -> Patch:
    """A part of the skin.

    Args:
        head: the morphable head.
        inside: (V,) bool, which vertices.
        with_ears: whether the ears are part of it where they are inside.
    """
    skin = np.isin(head.vertex_part, (FACE, HEAD_NECK)) & inside
    skin &= with_ears | ~ear(head.template)
    faces = head.faces[skin[head.faces].all(axis=1)]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    corners = np.unique(faces)
    pairs, inverse = np.unique(edges, axis=0, return_inverse=True)
    middles = (len(corners) + inverse.reshape(3, -1)).astype(np.int32)
    index = np.zeros(len(head.template), np.int32)
    index[corners] = np.arange(len(corners), dtype=np.int32)
    a, b, c = index[faces].T
    ab, bc, ca = middles
    fine = np.concatenate(
        [np.column_stack(t) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    ).astype(np.int32)
    parents = np.concatenate([np.column_stack([corners, corners]), pairs]).astype(np.int32)
    template = 0.5 * (head.template[parents[:, 0]] + head.template[parents[:, 1]])
    return Patch(parents, fine, template, vertex_normals(template, fine))
