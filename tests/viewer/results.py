"""A capture of the painted ball, and a run on it, on disk."""

import json

import numpy as np

from calib.capture import Capture, View
from calib.write import _write_png, write_capture
from mvs.stages.export import write_cloud, write_mesh
from tests.ball import make_ball, make_views


def write_capture_of_ball(folder, n, points=None):
    views = []
    for view in make_views(n):
        path = folder / "images" / view.name
        _write_png(path, view.image[..., ::-1])
        views.append(View(view.name, path, None, view.camera, np.zeros(0, np.int64)))
    points = np.zeros((0, 3)) if points is None else points
    write_capture(folder, Capture(folder, tuple(views), points, (), "cm"), pictures="none")


def write_run_of_ball(folder, n=6):
    """``folder/capture`` and ``folder/run``, whose mesh's colours are the paint."""
    write_capture_of_ball(folder / "capture", n)
    run = folder / "run"
    run.mkdir()
    mesh = make_ball().mesh
    write_mesh(mesh, run / "mesh.ply", "cm")
    write_cloud(mesh.vertices, run / "cloud.ply", "cm")
    note = {"capture": str(folder / "capture"), "unit": "cm"}
    (run / "run.json").write_text(json.dumps(note))
    return run
