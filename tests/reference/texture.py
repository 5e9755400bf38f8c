"""The colours of places on a surface, one place, view and band at a time."""

import cv2
import numpy as np


def blend(face, barycentric, surface, stack, choice):
    colors, seen = [], []
    for index, weights in zip(face, barycentric.astype(np.float64), strict=True):
        corners = surface.faces[index]
        at, up = weights @ surface.vertices[corners], weights @ surface.normals[corners]
        found = [
            _view(v, at, up / np.linalg.norm(up), stack, choice) for v in range(len(stack.focal))
        ]
        scores = np.array([score for score, _, _ in found])
        seen.append(max(well for _, well, _ in found))
        if not scores.max() > 0:
            colors.append(np.zeros(3))
            continue
        total = np.zeros(3)
        for band in range(len(choice.powers)):
            shares = (scores / scores.max()) ** choice.powers[band]
            shares[shares < 5e-3] = 0
            values = [
                _band(v, band, xy, stack) * stack.gains[v] if share else np.zeros(3)
                for v, (share, (_, _, xy)) in enumerate(zip(shares, found, strict=True))
            ]
            total += shares @ np.array(values) / shares.sum()
        colors.append(np.clip(total, 0, 255))
    return np.array(colors), np.array(seen)


def _view(v, at, up, stack, choice):
    ray = stack.centers[v] - at
    cosine = up @ ray / np.linalg.norm(ray)
    x, y, z = stack.projections[v] @ np.append(at, 1)
    if cosine <= choice.min_cosine or z <= 0:
        return 0.0, 0.0, None
    x, y = x / z, y / z
    height, width = stack.sizes[v]
    if not (0 <= x < width and 0 <= y < height):
        return 0.0, 0.0, None
    depth = _layer(stack.depth, stack, v)[int(y), int(x)]
    tangent = np.sqrt(1 - cosine**2) / cosine
    if z > depth + choice.slack + (0.5 + tangent) * z / stack.focal[v]:
        return 0.0, 0.0, None
    trust = _linear(_layer(stack.trust, stack, v).astype(np.float32), x, y) / 255
    well = float(trust * (cosine - choice.min_cosine) / (1 - choice.min_cosine))
    return well * (stack.focal[v] / z) ** 2, well, (x, y)


def _band(v, band, xy, stack):
    fine = (
        _cubic(_layer(stack.pixels, stack, v), *xy)
        if band == 0
        else _smooth(v, band - 1, xy, stack)
    )
    return fine - _smooth(v, band, xy, stack) if band < len(stack.smooth_steps) else fine


def _smooth(v, level, xy, stack):
    shape, start = stack.smooth_sizes[level, v], stack.smooth_starts[level, v]
    image = stack.smooth[start : start + shape.prod()].reshape(*shape, 3)
    step = stack.smooth_steps[level, v]
    return _linear(image, xy[0] / step, xy[1] / step)


def _layer(values, stack, v):
    shape, start = stack.sizes[v], stack.starts[v]
    return values[start : start + shape.prod()].reshape(*shape, *values.shape[1:])


def _linear(image, x, y):
    x, y = np.clip([x - 0.5, y - 0.5], 0, np.array(image.shape[1::-1]) - 1.0)
    column, row = int(x), int(y)
    patch = np.pad(image, [(0, 1), (0, 1)] + [(0, 0)] * (image.ndim - 2), mode="edge")
    patch = patch[row : row + 2, column : column + 2].astype(np.float64)
    fx, fy = x - column, y - row
    top, bottom = (
        patch[0, 0] * (1 - fx) + patch[0, 1] * fx,
        patch[1, 0] * (1 - fx) + patch[1, 1] * fx,
    )
    return top * (1 - fy) + bottom * fy


def _cubic(image, x, y):
    padded = cv2.copyMakeBorder(image, 3, 3, 3, 3, cv2.BORDER_REPLICATE).astype(np.float64)
    x, y = x - 0.5, y - 0.5
    column, row = int(np.floor(x)), int(np.floor(y))
    patch = padded[row + 2 : row + 6, column + 2 : column + 6]
    return np.einsum("i,j,ijc->c", _weights(y - row), _weights(x - column), patch)


def _weights(t):
    """Of the four neighbours, by the cubic's matrix (Catmull and Rom 1974)."""
    matrix = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    return np.array([1, t, t**2, t**3]) @ matrix
