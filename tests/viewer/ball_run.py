"""A run on the ball of ``tests.ball``, its files made by hand: everything in it is known."""

import dataclasses
import json

import numpy as np

from calib.capture import Capture, View
from calib.write import _write_png
from mvs.pipeline import PRESETS
from mvs.record import hash_inputs
from mvs.stages.export import write_cloud, write_mesh, write_visibility
from tests.ball import make_ball, make_views

# Names as they come from nice and from nasty people.
NAMES = (
    *("00 plain.png", "<img src=x onerror=alert(1)>.png", "Büste 頭 \"'&amp;.png"),
    *("</script><script>alert(2)</script>.png", "{{script}}.png", "é'; DROP.png"),
)
WARNINGS = ("the head was not found in 1 views, which take its place from the others: <b>x</b>",)


def make_capture(folder, names=NAMES):
    """Six views of the ball, the first of them with a mask that keeps its left half."""
    views = []
    for index, (name, view) in enumerate(zip(names, make_views(len(names)), strict=True)):
        # A slash would be a folder.
        path = folder / "images" / name.replace("/", "-")
        _write_png(path, view.image[..., ::-1])
        mask = None
        if index == 0:
            mask = folder / "masks" / f"{path.name}.png"
            kept = np.zeros(view.image.shape[:2], np.uint8)
            kept[:, : kept.shape[1] // 2] = 255
            _write_png(mask, kept)
        views.append(View(path.name, path, mask, view.camera, np.zeros(0, np.int64)))
    return Capture(folder, tuple(views), np.zeros((0, 3)), (), "cm")


def make_run(folder, capture, **more):
    """A run's folder; ``more`` goes into its ``run.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    mesh = make_ball().mesh
    write_mesh(mesh, folder / "mesh.ply")
    write_cloud(mesh.vertices, folder / "cloud.ply")
    n, n_views = len(mesh.vertices), len(capture.views)
    seen = np.zeros((n, 1), np.uint64)
    for view in range(n_views):
        # View v agrees on every (v + 1)-th point.
        seen[:: view + 1, 0] |= np.uint64(1) << np.uint64(view)
    write_visibility(seen, folder / "cloud.ply.vis")
    edges = np.linspace(0, 4, 41).tolist()
    record = {
        "capture": str(capture.path),
        "unit": "cm",
        "embedder": "compact",
        "until": "mesh",
        "options": dataclasses.asdict(PRESETS["fast"]),
        "versions": {"python": "3.11.99", "headmvs": "0.1.0"},
        "inputs": hash_inputs(capture),
        "seconds": {"embed": 3.25, "refine": 61.5},
        "cpu_seconds": {"embed": 6.5, "refine": 60.0},
        "stage_peak_mb": {"embed": 512.0, "refine": 1234.0},
        "counts": {"views": n_views, "matches": 1358439, "points": n, "faces": len(mesh.faces)},
        "notes": {
            "agrees": [True] * (n_views - 1) + [False],
            "confidence": [0.5 + 0.01 * k for k in range(n_views)],
            "cost": [0.1 + 0.01 * k for k in range(n_views)],
            "reprojection_px": {"edges": edges, "counts": [7] * 40, "median": 1.37, "p95": 3.8},
        },
        "peak_memory_mb": 1234.0,
        "warnings": list(WARNINGS),
        "files": ["cloud.ply", "cloud.ply.vis", "mesh.ply"],
    }
    (folder / "run.json").write_text(json.dumps(record | more))
    return folder
