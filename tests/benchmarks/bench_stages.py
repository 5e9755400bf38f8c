"""The stages on heads/A with exact cube maps: time, and error against the truth.

Needs the captures of ``tests.shared``. ``--noise MM`` adds an error of each view's own.
"""

import sys
import time

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from mvs.stages.fuse import fuse
from mvs.stages.match import MATCHERS, MatchOptions, match_views
from mvs.stages.mesh import mesh
from mvs.stages.pairs import choose_pairs
from mvs.stages.triangulate import triangulate
from mvs.types import CubeMap
from tests.benchmarks.heads import cast_cube_maps, heads_folder, read_truth, seen_surface
from tests.shared import HEADS

CUBE_PER_MM = 0.00266


def perturbed(maps, millimetres):
    """Smooth errors of two sizes and finer noise, different in every view."""
    generator = np.random.default_rng(0)
    result = []
    for cube_map in maps:
        coords = cube_map.coords.copy()
        for share, width in ((0.85, 60), (0.5, 16), (0.17, 2)):
            field = generator.normal(size=coords.shape).astype(np.float32)
            field = gaussian_filter(field, (width, width, 0))
            scale = share * millimetres * CUBE_PER_MM
            coords += field * (scale / np.sqrt((field**2).sum(axis=2).mean()))
        confidence = 0.8 * cube_map.confidence
        result.append(CubeMap(coords, confidence, cube_map.mask, cube_map.image_from_map))
    return result


def timed(name, function):
    start = time.perf_counter()
    result = function()
    print(f"  {name:<12} {time.perf_counter() - start:6.2f} s")
    return result


def report(name, points, truth, surface):
    """Distances both ways, in millimetres."""
    import open3d
    from scipy.spatial import cKDTree

    scene = open3d.t.geometry.RaycastingScene(nthreads=2)
    scene.add_triangles(
        open3d.core.Tensor(truth.vertices.astype(np.float32)), open3d.core.Tensor(truth.faces)
    )
    queries = open3d.core.Tensor(points.astype(np.float32))
    accuracy = scene.compute_distance(queries, nthreads=2).numpy() * 1000
    complete = cKDTree(points).query(surface, workers=2)[0] * 1000
    print(
        f"  {name:<12} {len(points):8d} points; accuracy median {np.median(accuracy):.4f}, "
        f"mean {accuracy.mean():.4f}, 99 % {np.quantile(accuracy, 0.99):.3f} mm; "
        f"completeness within 1 mm {(complete < 1).mean():.4f}, 5 mm {(complete < 5).mean():.4f}"
    )


def main():
    folder = heads_folder()
    if folder is None:
        print(f"{HEADS} is absent: nothing to measure")
        return
    capture = folder / "A"
    names, cameras, maps = cast_cube_maps(capture)
    images = [cv2.imread(str(capture / "images" / name))[..., ::-1].copy() for name in names]
    truth = read_truth(capture / "gt" / "mesh.ply")
    surface = seen_surface(capture, list(zip(names, cameras, strict=True)))
    center = truth.vertices.mean(axis=0)
    pairs = choose_pairs(cameras, center)
    noise = float(sys.argv[sys.argv.index("--noise") + 1]) if "--noise" in sys.argv else 0.0
    if noise:
        maps = perturbed(maps, noise)
    # Once on two views, so that no compilation is timed.
    few = match_views(maps[:2], cameras[:2], [(0, [1]), (1, [0])])
    fuse(triangulate(maps[:2], cameras[:2], images[:2], few), cameras[:2], images[:2])
    for matcher in MATCHERS:
        options = MatchOptions(matcher=matcher)
        match_views(maps[:2], cameras[:2], [(0, [1])], options)
        print(f"\n{len(maps)} views, {sum(len(s) for _, s in pairs)} pairs, matcher {matcher}:")
        matches = timed("match", lambda o=options: match_views(maps, cameras, pairs, o))
        points = timed("triangulate", lambda m=matches: triangulate(maps, cameras, images, m))
        cloud = timed("fuse", lambda p=points: fuse(p, cameras, images))
        result = timed("mesh", lambda c=cloud: mesh(c))
        report("points", points.cloud.points, truth, surface)
        report("cloud", cloud.points, truth, surface)
        report("mesh", result.vertices.points, truth, surface)


if __name__ == "__main__":
    main()
