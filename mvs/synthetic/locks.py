"""Locks of hair: curves combed over the hair's shell, with loose ends, drawn as ribbons.

A curve is grown on the template; its point is there its own canonical position, and on the posed
head it is moved as the skin below it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mvs.synthetic.shells import Patch, Shell
from mvs.synthetic.skull import CENTER, Skull
from mvs.types import BoolArray, DoubleArray, FloatArray

N_POINTS = 10
COMBS = ("crown", "forward", "back", "side", "down", "up", "tied", "none")


@dataclass(frozen=True)
class LockStyle:
    """How hair is combed; lengths in cm.

    Attributes:
        comb: one of ``COMBS``.
        length: of a lock.
        lift: 0..1 how steeply it leaves the skin.
        weight: 0..1 how soon it hangs.
        curl: radius of its curls.
        pitch: length of one curl.
        frizz: 0..1 how much it wanders.
        clump: 0..1 how far locks join at their tips.
        loose: share of the locks that are single flying hairs.
        width: of a lock.
        count: number of locks.
        parting: where (x) the hair parts.
        tie: (y, z) where it is tied together.
        fringe: whether it may hang over the face.
    """

    comb: str
    length: float
    lift: float
    weight: float
    curl: float
    pitch: float
    frizz: float
    clump: float
    loose: float
    width: float
    count: int
    parting: float = 0.0
    tie: tuple[float, float] = (9.0, -9.0)
    fringe: bool = False


@dataclass(frozen=True)
class Locks:
    """Curves ready to be drawn.

    Attributes:
        points: (S, K, 3) float32 positions in the head's frame, cm.
        canonical: (S, K, 3) float32 template positions, cm.
        normals: (S, K, 3) float32 unit vectors out of the hair.
        width: (S, K) float32 cm.
        tint: (S,) float32 in [0, 1], random.
        depth: (S, K) float32, 0 inside the hair, 1 at its surface.
    """

    points: FloatArray
    canonical: FloatArray
    normals: FloatArray
    width: FloatArray
    tint: FloatArray
    depth: FloatArray


def grow_locks(
    patch: Patch,
    skull: Skull,
    posed: FloatArray,
    template: FloatArray,
    hair: Shell,
    style: LockStyle,
) -> Locks:
    """Comb locks over a head of hair.

    Args:
        patch: the scalp.
        skull: of the same head.
        posed: (V, 3) posed head vertices, cm.
        template: (V, 3) the template's vertices, cm.
        hair: the shell grown from the scalp.
        style: how.

    Returns:
        The locks; the same arguments give the same locks.
    """
    rng = np.random.default_rng(style.count * 7919 + int(1e4 * style.width))
    rooted = np.flatnonzero(hair.cover > 0.1)
    if not len(rooted):
        rooted = np.arange(len(hair.cover))
    roots = rng.choice(rooted, style.count)
    offset = hair.canonical[: len(patch.template)] - patch.template
    thickness = np.clip((offset * patch.normals).sum(axis=1), 0.0, 7.0)
    # Where the shell is drawn down as a curtain it is no measure of the hair on the head.
    thickness = np.where(offset[:, 1] < -2.5, 0.5, thickness).astype(np.float32)
    flying = rng.random(style.count) < style.loose
    curves = _comb(patch, skull, roots, thickness, style, rng)
    curves = _join(curves, style, rng)
    curves = _ruffle(curves, style, flying, rng)
    canonical = _push_out(curves, skull, np.full_like(thickness, 0.04))
    rows, columns = skull.cells(canonical)
    vertex = skull.vertex[rows, columns]
    moved = (posed[vertex] - template[vertex]).astype(np.float32)
    moved[:, 1:-1] = (moved[:, :-2] + moved[:, 1:-1] + moved[:, 2:]) / 3
    t = np.linspace(0, 1, N_POINTS, dtype=np.float32)
    width = style.width * rng.uniform(0.5, 1.3, (style.count, 1)) * (1.1 - 0.85 * t**2)
    width = np.where(flying[:, None], 0.035, width)
    rise = np.linalg.norm(canonical - CENTER, axis=2) - skull.radius[rows, columns]
    below = thickness[skull.scalp[rows, columns]] * skull.on_scalp[rows, columns]
    return Locks(
        (canonical + moved).astype(np.float32),
        canonical.astype(np.float32),
        _outward(canonical),
        width.astype(np.float32),
        rng.random(style.count).astype(np.float32),
        np.clip(0.35 + 0.65 * rise / (below + 0.5), 0, 1).astype(np.float32),
    )


def _comb(
    patch: Patch,
    skull: Skull,
    roots: np.ndarray,
    thickness: FloatArray,
    style: LockStyle,
    rng: np.random.Generator,
) -> DoubleArray:
    """Curves (S, K, 3) that leave the skin and follow the comb."""
    jitter = rng.normal(0, 0.25, (len(roots), 3))
    at = patch.template[roots] + 0.6 * patch.normals[roots] * thickness[roots, None] + jitter
    bend = rng.normal(0, 0.25 if style.weight < 1 else 0.15, (len(roots), 3))
    lengths = style.length * rng.uniform(0.55, 1.1, (len(roots), 1)) / (N_POINTS - 1)
    heading = patch.normals[roots] * style.lift + 0.3 * (1 - style.lift) * _field(at, style)
    curves = [at]
    for k in range(1, N_POINTS):
        fall = np.array([0.0, -1.0, 0.0]) * style.weight * min(1.0, 0.35 + k / N_POINTS)
        pull = _field(at, style) * (1 - 0.8 * style.lift) + fall + bend
        if not style.fringe:
            pull = pull + _clear_face(at)
        heading = 0.55 * heading + 0.45 * pull
        heading = heading / np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-6)
        step = lengths
        if style.comb == "tied":
            gap = np.linalg.norm(at - [0, *style.tie], axis=1, keepdims=True)
            step = np.minimum(1.6, 0.35 * gap)
        at = _push_out(at + heading * step, skull, thickness)
        curves.append(at)
    return np.stack(curves, axis=1)


def _clear_face(at: DoubleArray) -> DoubleArray:
    """A push (S, 3) sideways and back for what is in front of the face."""
    front = np.clip((at[:, 2] - 4.0) / 3, 0, 1) * np.clip((9.5 - at[:, 1]) / 2, 0, 1)
    zero = np.zeros(len(at))
    push = np.stack([2.0 * np.sign(at[:, 0]), zero, zero - 0.8], axis=1)
    return np.asarray(push * front[:, None])


def _field(at: DoubleArray, style: LockStyle) -> DoubleArray:
    """Where hair at these places (S, 3) is combed to."""
    if style.comb == "tied":
        aim = np.array([0.0, *style.tie]) - at
    elif style.comb == "crown":
        aim = at - [style.parting * 0.5, 13.0, -5.0]
    elif style.comb == "forward":
        aim = np.broadcast_to([0.25 * np.sign(style.parting), -0.15, 1.0], at.shape)
        aim = aim + 0.05 * (at - CENTER) * [1, 0, 0]
    elif style.comb == "back":
        aim = np.broadcast_to([0.0, -0.25, -1.0], at.shape)
    elif style.comb == "side":
        aim = np.stack(
            [np.sign(at[:, 0] - style.parting), np.full(len(at), -0.35), np.full(len(at), -0.2)], 1
        )
    elif style.comb == "down":
        top = np.clip((at[:, 1] - 8.0) / 3.0, 0.0, 1.0)
        aside = 1.3 * top * np.sign(at[:, 0] - style.parting) + 0.04 * at[:, 0]
        aim = np.stack([aside, 0.6 * top - 1.0, -0.35 * top], axis=1)
    else:
        aim = 0.0 * at
    size = np.linalg.norm(aim, axis=1, keepdims=True)
    return np.asarray(aim / np.maximum(size, 1e-6))


def _push_out(points: DoubleArray, skull: Skull, thickness: FloatArray) -> DoubleArray:
    """Points (..., 3) moved out of the head and most of the hair's shell."""
    d = points - np.array(CENTER)
    length = np.maximum(np.linalg.norm(d, axis=-1), 1e-6)
    rows, columns = skull.cells(points)
    clear = 0.9 * thickness[skull.scalp[rows, columns]] * skull.on_scalp[rows, columns]
    least = np.minimum(skull.radius[rows, columns], 15.0) + clear + 0.1
    scale = np.where(points[..., 1] > -9, np.maximum(least / length, 1.0), 1.0)
    return np.asarray(CENTER + d * scale[..., None])


def _outward(points: DoubleArray) -> FloatArray:
    """Unit vectors from the head's middle, at a right angle to the curves."""
    normals = points - np.array(CENTER)
    normals[..., 1] = np.where(points[..., 1] < -2, 0.0, normals[..., 1])
    along = np.gradient(points, axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-6)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)
    normals = normals - 0.8 * (normals * along).sum(axis=2, keepdims=True) * along
    normals = normals / np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-6)
    return np.asarray(normals, np.float32)


def _join(curves: DoubleArray, style: LockStyle, rng: np.random.Generator) -> DoubleArray:
    """Neighbouring locks run together towards their tips."""
    from scipy.spatial import cKDTree

    guides = rng.choice(len(curves), max(len(curves) // 9, 1), replace=False)
    gap, near = cKDTree(curves[guides, 2]).query(curves[:, 2])
    t = np.linspace(0, 1, N_POINTS)[None, :, None] ** 1.3
    pull = style.clump * np.clip(1.6 - 0.5 * gap, 0, 1)[:, None, None] * t
    return np.asarray(curves + pull * (curves[guides][near] - curves))


def _ruffle(
    curves: DoubleArray, style: LockStyle, flying: BoolArray, rng: np.random.Generator
) -> DoubleArray:
    """Curls, wandering and single hairs that stand off."""
    n = len(curves)
    t = np.linspace(0, 1, N_POINTS)[None, :, None]
    out = curves - np.array(CENTER)
    out = out / np.maximum(np.linalg.norm(out, axis=2, keepdims=True), 1e-6)
    along = np.gradient(curves, axis=1)
    aside = np.cross(along, out)
    aside = aside / np.maximum(np.linalg.norm(aside, axis=2, keepdims=True), 1e-6)
    place = curves[:, :1] * 0.45
    phase = (np.sin(place[..., :1] + 1.7 * place[..., 1:2]) + np.cos(1.3 * place[..., 2:])) * 2.5
    phase = phase + rng.normal(0, 0.5, (n, 1, 1)) + rng.normal(0, 0.1, (n, 1, 1)) * t
    turn = phase + 2 * np.pi * t * style.length / style.pitch
    reach = style.curl * np.minimum(1.0, 2.5 * t)
    curves = curves + reach * (np.cos(turn) * aside + (0.4 + 0.6 * np.sin(turn)) * out)
    wander = np.cumsum(rng.normal(0, 1, (n, N_POINTS, 3)), axis=1) * style.length / N_POINTS
    curves = curves + 0.22 * style.frizz * wander * t
    stray = rng.normal(0, 1, (n, 1, 3)) * 0.9 + out * rng.uniform(0.2, 2.2, (n, 1, 1))
    reach = np.minimum(0.25 * style.length + 0.4, 1.8) * (0.4 + style.frizz)
    return np.asarray(curves + flying[:, None, None] * t**1.5 * stray * reach)
