"""Cube positions of a model's vertices: its template laid onto the canonical head."""

from __future__ import annotations

import numpy as np

from calib.scale import Similarity
from mvs.canonical.bend import Bender, Pulls
from mvs.canonical.cube import CUBE_SCALE_PER_CM
from mvs.canonical.eyes import PUPILS
from mvs.canonical.scan import mesh_normals
from mvs.canonical.surface import Surface, blend
from mvs.canonical.template import Template, load_template
from mvs.types import BoolArray, DoubleArray, FloatArray, IntArray

# ICT-FaceKit's eyeballs: the pupils lie a radius in front of the middles, which are 1.5 cm.
EYE_RADIUS = 1.5 * CUBE_SCALE_PER_CM
EYE_CENTERS: DoubleArray = PUPILS.astype(np.float64) - [0.0, 0.0, EYE_RADIUS]
