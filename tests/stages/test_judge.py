"""What the pipeline says of a capture before it starts."""

import subprocess
import sys

import numpy as np

from mvs.stages.judge import judge_confidences, judge_lenses
from tests.calib.captures import OPENCV, PINHOLE, make_capture


def warnings_of(folder, lens):
    return judge_lenses(make_capture(folder, lens))


def test_fisheyes_whose_pinholes_show_little_are_named(tmp_path):
    (warning,) = warnings_of(tmp_path, ("SIMPLE_FISHEYE", [40.0, 60, 45]))
    # Of an equidistant lens, f tan(r / f) from the axis; counted pixel by pixel.
    x, y = np.meshgrid(np.arange(120) - 59.5, np.arange(90) - 44.5)
    grow = 40 * np.tan(np.minimum(np.hypot(x, y) / 40, 1.57)) / np.hypot(x, y)
    share = ((np.abs(x) * grow < 60) & (np.abs(y) * grow < 45)).mean()
    said = int(warning.partition("show ")[2].partition("%")[0]) / 100
    assert abs(said - share) < 0.03
    assert "4 views" in warning
    assert "00.png, 01.png, 02.png, 03.png" in warning
    assert warnings_of(tmp_path, OPENCV) == warnings_of(tmp_path, PINHOLE) == []


def test_a_network_at_a_loss_is_named():
    """The median counts: some views from behind are always less sure."""
    (warning,) = judge_confidences("compact", [0.01, 0.02, None, 0.3])
    assert "confidence is 0.02 in the median view" in warning
    assert judge_confidences("compact", [0.01, 0.3, 0.4]) == []
    assert judge_confidences("precomputed", [0.01, 0.01]) == []
    assert judge_confidences("compact", [None, None]) == judge_confidences("compact", []) == []


def test_nothing_but_a_network_loads_pytorch():
    """Precomputed maps and statues need none, and it takes seconds."""
    code = "import sys, mvs.pipeline; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
