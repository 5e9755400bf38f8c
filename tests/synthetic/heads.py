"""A small made-up head in the packed file's layout: an egg on a neck, with eyes and a tooth.

It is a mirror image of itself, as the real template is; its modes are smooth and are not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.scenes import unit_ball

EYES = ((3.2, 4.0, 7.7), (-3.2, 4.0, 7.7))
EXPRESSIONS = (
    "browDown_L",
    "browDown_R",
    "eyeBlink_L",
    "eyeBlink_R",
    "jawOpen",
    "mouthSmile_L",
    "mouthSmile_R",
)
N_IDENTITIES = 6
N_PARTS = 17
_ROWS, _COLUMNS = 56, 72


def write_head(path: Path) -> Path:
    """Write the file; the parts that are to be left out are a ball around everything."""
    rng = np.random.default_rng(4)
    pieces = [*_skin(), *(_ball(center, radius) for center, radius in _inner_parts())]
    pieces += [_ball((0.0, 0.0, 0.0), 40.0)] * (N_PARTS - len(pieces))
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in pieces])
    vertices = np.concatenate([vertices for vertices, _ in pieces]).astype(np.float32)
    skin = pieces[0][1]
    others = [faces + start for (_, faces), start in zip(pieces[2:], starts[2:], strict=False)]
    names = np.array(EXPRESSIONS)
    np.savez(
        path,
        vertices=vertices,
        faces=np.concatenate([skin, *others]).astype(np.int32),
        part_vertex_range=np.column_stack([starts[:-1], starts[1:]]).astype(np.int32),
        id_delta_q=_modes(vertices, N_IDENTITIES, rng),
        id_scale=np.full(N_IDENTITIES, 0.25 / 32000, np.float32),
        ex_delta_q=_modes(vertices, len(names), rng),
        ex_scale=np.full(len(names), 0.4 / 32000, np.float32),
        ex_names=names,
        landmarks68=_landmarks(vertices[: starts[1]]),
    )
    return path


def _skin() -> list[tuple[np.ndarray, np.ndarray]]:
    """Face and the rest of the skin; the first has the faces of both."""
    y = np.concatenate([13.5 - 11 * (1 - np.cos(np.linspace(0.05, 2.5, 40))), [-8, -9, -10, -11]])
    y = np.concatenate([y, np.linspace(-12, -19, _ROWS - len(y))])
    y = np.sort(y)[::-1]
    egg = np.sqrt(np.clip(1 - ((y - 2.5) / 11) ** 2, 0, 1))
    neck = np.interp(y, (-19, -15, -12, -6, -5.9), (1.6, 1.2, 0.68, 0.62, 0))
    radius = np.maximum(egg, neck)[:, None]
    turn = (np.arange(_COLUMNS) + 0.5) * 2 * np.pi / _COLUMNS
    grid = np.stack(
        np.broadcast_arrays(7.6 * radius * np.sin(turn), y[:, None], 1 + 9 * radius * np.cos(turn)),
        axis=-1,
    ).reshape(-1, 3)
    i, j = (k.ravel() for k in np.indices((_ROWS - 1, _COLUMNS)))
    a, b = i * _COLUMNS + j, i * _COLUMNS + (j + 1) % _COLUMNS
    # Diagonals are mirrored too.
    left = (j < _COLUMNS // 2)[:, None]
    c, d = a + _COLUMNS, b + _COLUMNS
    one = np.where(left, np.stack([a, c, b], 1), np.stack([a, d, b], 1))
    two = np.where(left, np.stack([b, c, d], 1), np.stack([a, c, d], 1))
    top = len(grid)
    lid = np.stack([np.full(_COLUMNS, top), np.arange(_COLUMNS), np.roll(np.arange(_COLUMNS), -1)])
    faces = np.concatenate([one, two, lid.T])
    grid = np.concatenate([grid, [[0.0, 13.6, 1.0]]])
    is_face = (grid[:, 2] > 3) & (grid[:, 1] > -6)
    order = np.argsort(~is_face, kind="stable")
    place = np.empty(len(grid), int)
    place[order] = np.arange(len(grid))
    grid = grid[order]
    n_face = int(is_face.sum())
    return [(grid[:n_face], place[faces]), (grid[n_face:], np.zeros((0, 3), int))]


def _inner_parts() -> list[tuple[tuple[float, float, float], float]]:
    """Mouth socket, eye sockets, gums, teeth and eyeballs."""
    hidden = [((0.0, y, 2.0), 0.5) for y in (-4.0, 1.0, 2.0, -3.0)]
    return [*hidden, ((0.0, -3.0, 8.3), 1.2), (EYES[0], 1.5), (EYES[1], 1.5)]


def _ball(center: tuple[float, float, float], radius: float) -> tuple[np.ndarray, np.ndarray]:
    unit, faces = unit_ball(8, 12)
    return unit * radius + center, faces


def _modes(vertices: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth displacements of all vertices, quantised; (n, V, 3) int16."""
    waves = rng.normal(0, 0.15, (n, 3, 3))
    phases = rng.uniform(0, 2 * np.pi, (n, 1, 3))
    return np.rint(32000 * np.sin(vertices @ waves + phases)).astype(np.int16)


def _landmarks(face: np.ndarray) -> np.ndarray:
    """Face vertices near where a face has its lips, left eye and left brow; the rest anywhere."""
    places = np.tile([0.0, -8.0], (68, 1))
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    places[48:60] = np.stack([2.6 * np.cos(turn), -3.5 + 1.5 * np.sin(turn)], 1)
    places[42:48] = np.stack([3.2 + 1.7 * np.cos(turn[::2]), 4 + 1.1 * np.sin(turn[::2])], 1)
    places[22:27] = np.stack([np.linspace(1, 5.5, 5), [5.8, 6.2, 6.3, 6.2, 5.8]], 1)
    front = np.where(face[:, 2] > 5.6, 0.0, 100.0)
    square = ((face[None, :, :2] - places[:, None]) ** 2).sum(axis=2) + front
    return square.argmin(axis=1).astype(np.int32)
