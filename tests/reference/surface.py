"""Places on a bilinear cube map, slowly."""

import numpy as np
from scipy.optimize import minimize


def value(coords, cells, x, y):
    """Interpolated coordinate at a position in pixels (first centre at 0.5), None if unusable."""
    gx, gy = x - 0.5, y - 0.5
    cx, cy = int(np.floor(gx)), int(np.floor(gy))
    height, width = cells.shape
    if not (0 <= cx < width and 0 <= cy < height and cells[cy, cx]):
        return None
    fx, fy = gx - cx, gy - cy
    top = coords[cy, cx] * (1 - fx) + coords[cy, cx + 1] * fx
    bottom = coords[cy + 1, cx] * (1 - fx) + coords[cy + 1, cx + 1] * fx
    return top * (1 - fy) + bottom * fy


def usable_cells(coords, valid, max_edge):
    """Cells whose four pixels are valid and mutually near."""
    cells = np.zeros(valid.shape, bool)
    for y in range(valid.shape[0] - 1):
        for x in range(valid.shape[1] - 1):
            if valid[y : y + 2, x : x + 2].all():
                four = coords[y : y + 2, x : x + 2].reshape(4, 3)
                gaps = np.linalg.norm(four[:, None] - four[None], axis=2)
                cells[y, x] = gaps.max() <= max_edge
    return cells


def locate(coords, cells, target, x, y, max_shift):
    """Minimise the distance from a start by a simplex; position and distance, or None."""

    def distance(place):
        here = value(coords, cells, *place)
        off = max(abs(place[0] - x), abs(place[1] - y)) > max_shift
        return 1.0 if here is None or off else float(np.linalg.norm(here - target))

    options = {"xatol": 1e-9, "fatol": 1e-15, "maxiter": 2000}
    found = minimize(distance, [x, y], method="Nelder-Mead", options=options)
    return found.x, found.fun


def best_sample(coords, cells, target, line, max_distance):
    """Place and distance of the best of the samples a pixel apart along a segment."""
    start, end = np.array(line[:2]), np.array(line[2:])
    length = np.linalg.norm(end - start)
    direction = (end - start) / max(length, 1e-12)
    best, place = max_distance, None
    for step in range(int(length) + 1):
        here = value(coords, cells, *(start + step * direction))
        if here is not None:
            distance = np.linalg.norm(here - target)
            if distance < best or (place is None and distance <= best):
                best, place = distance, start + step * direction
    return place, best
