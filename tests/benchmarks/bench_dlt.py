"""Triangulation of many points: ours, numpy normal equations, cv2.triangulatePoints."""

import cv2
import numpy as np

from mvs.kernels.dlt import Observations, TriangulateBounds, triangulate_points
from tests.benchmarks.timing import best_of, print_table


def make_points(n_points, n_views):
    """Cameras on an arc and what they see of random points, with half a pixel of noise."""
    generator = np.random.default_rng(0)
    projections = []
    for angle in np.linspace(-0.6, 0.6, n_views):
        c, s = np.cos(angle), np.sin(angle)
        K = np.array([[2000.0, 0, 384], [0, 2000.0, 384], [0, 0, 1]])
        rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        projections.append(K @ np.column_stack([rotation, [0.0, 0.0, 1.0]]))
    projections = np.stack(projections)
    points = np.column_stack([generator.uniform(-0.1, 0.1, (n_points, 3)), np.ones(n_points)])
    h = np.einsum("vij,nj->nvi", projections, points)
    pixels = h[..., :2] / h[..., 2:]
    return projections, pixels + generator.normal(0, 0.5, pixels.shape)


def numpy_normal_equations(projections, pixels):
    rows = pixels[..., None] * projections[None, :, 2:3] - projections[None, :, :2]
    rows = rows.reshape(len(pixels), -1, 4)
    left, right = rows[..., :3], -rows[..., 3:]
    transposed = np.swapaxes(left, 1, 2)
    return np.linalg.solve(transposed @ left, transposed @ right)[..., 0]


def main():
    for n_points, n_views in ((1_000_000, 2), (200_000, 8)):
        projections, pixels = make_points(n_points, n_views)
        observations = Observations(projections, pixels)
        linear = TriangulateBounds(n_iterations=0)
        seconds, solved = best_of(lambda o=observations, b=linear: triangulate_points(o, b))
        rows = [("ours, linear (with errors, angles, status)", seconds)]
        refined, _ = best_of(lambda o=observations: triangulate_points(o))
        seconds, expected = best_of(lambda p=projections, x=pixels: numpy_normal_equations(p, x), 2)
        np.testing.assert_allclose(solved.points, expected, atol=1e-9)
        rows.append(("numpy normal equations, linear", seconds))
        if n_views == 2:
            columns = [np.ascontiguousarray(pixels[:, view].T) for view in range(2)]
            seconds, _ = best_of(
                lambda p=projections, c=columns: cv2.triangulatePoints(p[0], p[1], c[0], c[1]), 2
            )
            rows.append(("cv2.triangulatePoints, linear", seconds))
        print_table(f"{n_points} points in {n_views} views", rows)
        print(f"  ours with Gauss-Newton: {refined * 1000:.1f} ms")


if __name__ == "__main__":
    main()
