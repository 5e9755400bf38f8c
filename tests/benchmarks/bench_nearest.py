"""Mutual nearest neighbours of two views' cube points: ours, pykdtree, scipy.

Two views of heads/A where ``tests.shared`` finds it, else of the synthetic scene.
Every method builds what it needs and answers both ways.
"""

import numpy as np
from scipy.spatial import cKDTree

from mvs.kernels.grid import build_grid
from mvs.kernels.nearest import mutual_nearest
from tests.benchmarks.heads import cast_cube_maps, heads_folder
from tests.benchmarks.timing import best_of, print_table
from tests.scenes import make_scene


def two_views():
    folder = heads_folder()
    if folder is None:
        maps = make_scene(2, 720, arc_deg=25.0).cube_maps
        return "synthetic scene", [m.coords[m.mask] for m in maps]
    maps = cast_cube_maps(folder / "A")[2]
    return "heads/A, views 0 and 7", [m.coords[m.mask] for m in (maps[0], maps[7])]


def others(first, second, bound):
    """The two searches of each library."""
    rows = {
        "scipy cKDTree, 2 workers": lambda: (
            cKDTree(second).query(first, distance_upper_bound=bound, workers=2),
            cKDTree(first).query(second, distance_upper_bound=bound, workers=2),
        )
    }
    try:
        from pykdtree.kdtree import KDTree
    except ImportError:
        print("pykdtree is not installed (bin/setup bench)")
        return rows
    limit = None if np.isinf(bound) else bound
    rows["pykdtree"] = lambda: (
        KDTree(second).query(first, distance_upper_bound=limit),
        KDTree(first).query(second, distance_upper_bound=limit),
    )
    return rows


def main():
    name, (first, second) = two_views()
    shifted = second + np.float32(0.004)
    for label, target, bound in (
        ("exact maps, within 0.03 as in matching", second, 0.03),
        ("maps 1.5 mm apart, within 0.03", shifted, 0.03),
        ("exact maps, no bound", second, np.inf),
    ):

        def ours(target=target, bound=bound):
            return mutual_nearest(build_grid(first), build_grid(target), bound)

        seconds, (there, back) = best_of(ours)
        rows = [("ours", seconds)]
        for library, run in others(first, target, bound).items():
            seconds, results = best_of(run, 2)
            rows.append((library, seconds))
            for mine, (distance, _) in zip((there, back), results, strict=True):
                found = mine.index >= 0
                np.testing.assert_allclose(
                    np.sqrt(mine.squared_distance[found]), distance[found], atol=1e-6
                )
        print_table(f"{name}: {len(first)} against {len(second)} points, {label}", rows)


if __name__ == "__main__":
    main()
