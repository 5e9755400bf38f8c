"""The whole chain gives the same bytes with one thread and with two."""

import os
import subprocess
import sys

SCRIPT = """
import hashlib
from dataclasses import fields
from tests.scenes import make_scene, perturb
from mvs.stages.fuse import fuse
from mvs.stages.match import MatchOptions, match_views
from mvs.stages.mesh import mesh
from mvs.stages.confirm import confirm
from mvs.stages.extend import extend
from mvs.stages.refine import RefineOptions, refine
from mvs.stages.pairs import choose_pairs
from mvs.stages.shots import Shots
from mvs.stages.triangulate import triangulate

scene = make_scene(4, 96)
maps = perturb(scene, 0.004, 0.001)
pairs = choose_pairs(scene.cameras, scene.center)
digest = hashlib.sha256()
for matcher in ("epipolar", "nearest"):
    matches = match_views(maps, scene.cameras, pairs, MatchOptions(matcher=matcher, stride=1))
    for match in matches:
        digest.update(match.reference_index.tobytes() + match.source_pixels.tobytes())
points = triangulate(maps, scene.cameras, scene.images, matches)
cloud = fuse(points, scene.cameras, scene.images)
result = mesh(cloud)
for part in (points.cloud, cloud, result.vertices):
    for field in fields(part):
        digest.update(getattr(part, field.name).tobytes())
digest.update(result.faces.tobytes())
masks = [cube_map.mask for cube_map in scene.cube_maps]
where = (scene.center, scene.size)
shots = Shots(scene.names, scene.cameras, scene.images, masks, scene.cube_maps, *where)
found = refine(result, shots, RefineOptions(cube=0.02))
for depths in found:
    digest.update(depths.planes.tobytes() + depths.cost.tobytes())
refined, seen = confirm(found, scene.cameras, scene.images, extend(cloud, shots))
digest.update(seen.tobytes())
digest.update(mesh(refined, shots=shots).faces.tobytes())
print(len(cloud), len(result.faces), digest.hexdigest())
"""


def run(n_threads):
    environment = dict(os.environ, NUMBA_NUM_THREADS=n_threads, OMP_NUM_THREADS=n_threads)
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_one_thread_and_two_give_the_same_bytes():
    one = run("1")
    assert int(one.split()[1]) > 1000
    assert one == run("2")
