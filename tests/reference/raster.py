"""What rays meet first among triangles, a triangle at a time, and pictures of that."""

import numpy as np


def first_hits(corners, rays, two_sided=True):
    """The nearest triangle on each ray from the origin.

    Args:
        corners: (F, 3, 3) positions relative to the rays' origin, a row per vertex.
        rays: (N, 3) directions of any length.
        two_sided: also those that show their back.

    Returns:
        (N,) face or -1, (N, 3) weights of its vertices, (N,) distance in lengths of the ray.
    """
    face = np.full(len(rays), -1)
    weights = np.zeros((len(rays), 3))
    nearest = np.full(len(rays), np.inf)
    # Negative where the counter-clockwise side is seen, zero where a triangle is seen edge-on or
    # is none.
    volumes = np.linalg.det(corners)
    flat = np.abs(volumes) <= 1e-12 * np.linalg.norm(corners, axis=2).prod(axis=1)
    for index in np.flatnonzero(~flat & ((volumes < 0) | two_sided)):
        shares = np.linalg.solve(corners[index].T, rays.T).T
        total = shares.sum(axis=1)
        hit = np.flatnonzero((shares >= 0).all(axis=1) & (total * nearest > 1))
        face[hit], nearest[hit] = index, 1 / total[hit]
        weights[hit] = shares[hit] / total[hit, None]
    return face, weights, nearest


def rasterise(pixels, depths, faces, size, cull_back=True):
    """Face, weights and depth that the pixel centres of a picture see."""
    ahead = (depths[faces] > 0).all(axis=1)
    seen = np.column_stack([pixels, np.ones(len(pixels))]) * depths[:, None]
    corners = np.where(ahead[:, None, None], seen[faces], 0.0)
    x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    rays = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)])
    face, weights, depth = first_hits(corners, rays, not cull_back)
    return face.reshape(size), weights.reshape(*size, 3), depth.reshape(size)
