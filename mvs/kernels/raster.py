"""Triangle rasteriser with a z-buffer: which face, and where on it, every pixel centre sees.

One picture is rasterised by one thread (pictures are spread over processes), so the result cannot
depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from mvs.types import DoubleArray, FloatArray, IntArray


@dataclass(frozen=True)
class RasterBuffers:
    """What each pixel centre sees.

    Attributes:
        face: (H, W) int32 face index, -1 where nothing is seen.
        barycentric: (H, W, 3) float32 perspective-correct weights of the face's vertices.
        depth: (H, W) float32 camera z, inf where nothing is seen.
    """

    face: IntArray
    barycentric: FloatArray
    depth: FloatArray


def rasterise(
    pixels: npt.NDArray[np.floating],
    depths: npt.NDArray[np.floating],
    faces: IntArray,
    size: tuple[int, int],
    cull_back: bool = True,
    orthographic: bool = False,
) -> RasterBuffers:
    """Rasterise projected triangles; the nearest face wins, ties go to the lowest index.

    Args:
        pixels: (V, 2) vertex positions in COLMAP pixels (first pixel centre at (0.5, 0.5)).
        depths: (V,) camera z; faces with a vertex at z <= 0 are skipped.
        faces: (F, 3) vertex indices, counter-clockwise seen from outside.
        size: (height, width) of the picture.
        cull_back: skip faces that show their back.
        orthographic: the projection was parallel: depth and weights are linear in the picture.

    Returns:
        The buffers; barycentric weights are perspective-correct.

    Raises:
        ValueError: if shapes do not fit.

    Source:
        Pineda (1988), edge functions; Blinn (1992), hyperbolic interpolation.
    """
    if pixels.ndim != 2 or pixels.shape[1] != 2 or depths.shape != (len(pixels),):
        raise ValueError(
            f"pixels (V, 2) and depths (V,) expected, got {pixels.shape}, {depths.shape}"
        )
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces must be (F, 3), got {faces.shape}")
    height, width = size
    face = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    _rasterise(
        np.ascontiguousarray(pixels, np.float64),
        np.ascontiguousarray(depths, np.float64),
        np.ascontiguousarray(faces, np.int32),
        (cull_back, orthographic),
        face,
        barycentric,
        depth,
    )
    return RasterBuffers(face, barycentric, depth)


def vertex_normals(vertices: npt.NDArray[np.floating], faces: IntArray) -> FloatArray:
    """Area-weighted vertex normals.

    Args:
        vertices: (V, 3) positions.
        faces: (F, 3) int32, counter-clockwise seen from outside.

    Returns:
        (V, 3) float32 unit vectors; (0, 0, 1) where no face touches the vertex.
    """
    return _vertex_normals(
        np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)
    )


@numba.njit(cache=True)
def _rasterise(
    pixels: DoubleArray,
    depths: DoubleArray,
    faces: IntArray,
    options: tuple[bool, bool],
    face: IntArray,
    barycentric: FloatArray,
    depth: FloatArray,
) -> None:
    height, width = face.shape
    cull_back, orthographic = options
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = depths[a], depths[b], depths[c]
        if not (za > 0 and zb > 0 and zc > 0):
            continue
        ax, ay = pixels[a, 0], pixels[a, 1]
        bx, by = pixels[b, 0], pixels[b, 1]
        cx, cy = pixels[c, 0], pixels[c, 1]
        # y points down, so a counter-clockwise face seen from outside has a negative area here
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (cull_back and area > 0):
            continue
        low_x = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        high_x = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        low_y = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        high_y = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        if low_x > high_x or low_y > high_y:
            continue
        sign = 1.0 if area > 0 else -1.0
        for row in range(low_y, high_y + 1):
            y = row + 0.5
            for column in range(low_x, high_x + 1):
                x = column + 0.5
                # Each edge's function is, but for its sign, the same to the last bit in the
                # face on its other side: no pixel centre falls between two neighbours.
                wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * sign
                wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * sign
                wc = ((ax - x) * (by - y) - (ay - y) * (bx - x)) * sign
                total = wa + wb + wc
                if wa < 0 or wb < 0 or wc < 0 or not total > 0:
                    continue
                pa, pb, pc = wa / total, wb / total, wc / total
                if orthographic:
                    z = np.float32(pa * za + pb * zb + pc * zc)
                else:
                    pa, pb, pc = pa / za, pb / zb, pc / zc
                    inverse = pa + pb + pc
                    z = np.float32(1.0 / inverse)
                    pa, pb, pc = pa / inverse, pb / inverse, pc / inverse
                if z < depth[row, column]:
                    depth[row, column] = z
                    face[row, column] = f
                    barycentric[row, column, 0] = pa
                    barycentric[row, column, 1] = pb
                    barycentric[row, column, 2] = pc


@numba.njit(cache=True)
def _vertex_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    normals = np.zeros((len(vertices), 3), np.float32)
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        e1 = vertices[b] - vertices[a]
        e2 = vertices[c] - vertices[a]
        n0 = e1[1] * e2[2] - e1[2] * e2[1]
        n1 = e1[2] * e2[0] - e1[0] * e2[2]
        n2 = e1[0] * e2[1] - e1[1] * e2[0]
        for v in (a, b, c):
            normals[v, 0] += n0
            normals[v, 1] += n1
            normals[v, 2] += n2
    for v in range(len(normals)):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 1e-20:
            normals[v] /= length
        else:
            normals[v, 0], normals[v, 1], normals[v, 2] = 0.0, 0.0, 1.0
    return normals
