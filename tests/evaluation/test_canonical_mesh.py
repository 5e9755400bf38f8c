"""Landmarks looked up on a mesh, measured in millimetres of a capture of any unit."""

import json

import numpy as np
import pytest

from calib.capture import Capture
from mvs.canonical.layouts import load_layout
from mvs.canonical.mesh_places import SurfaceMesh
from mvs.canonical.template import load_template
from mvs.evaluation.canonical import evaluate_mesh

METRES = 0.3757


@pytest.mark.parametrize(("unit", "length"), [(None, 1.0), ("m", 1.0), ("mm", 1000.0)])
def test_a_shifted_head_is_off_by_the_shift(tmp_path, unit, length):
    template = load_template()
    coords = template.coords.astype(np.float64)
    shift = np.array([0.0, 0.0, 0.004 * length])
    points = METRES * length * coords + shift
    mesh = SurfaceMesh(points, coords, np.ones(len(coords)), template.faces)
    true = METRES * length * load_layout("68").positions.astype(np.float64)
    (tmp_path / "gt").mkdir()
    document = {"xyz": true.tolist(), "views": {}}
    (tmp_path / "gt" / "landmarks.json").write_text(json.dumps(document))
    capture = Capture(tmp_path, (), np.zeros((0, 3)), (), unit=unit)
    figures = evaluate_mesh(capture, mesh)
    assert figures.views == ()
    # The layout's places lie up to half a millimetre off the template's flat faces.
    assert figures.mean_mm == pytest.approx(4.0, abs=0.3)
    assert figures.median_mm == pytest.approx(4.0, abs=0.3)
    assert figures.largest_mm < 6.0
