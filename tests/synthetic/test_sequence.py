import json

import cv2
import numpy as np
import pytest

from mvs.evaluation.canonical import evaluate_tracks, read_sequence_truth
from mvs.synthetic.sequence import SequenceOptions, write_sequence
from mvs.types import CubeMap


@pytest.fixture(scope="module")
def folder(head_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence")
    write_sequence(SequenceOptions(head_file, folder, n_frames=5, size=64, supersampling=1))
    return folder


def test_frames_and_truth_belong_together(folder):
    truth = read_sequence_truth(folder / "truth.json")
    assert truth.names == tuple(f"{k:06d}.jpg" for k in range(5))
    assert truth.pixels.shape == (5, len(truth.layout), 2)
    for name in truth.names:
        assert cv2.imread(str(folder / "frames" / name)).shape == (64, 64, 3)
    # The head turns: its points move, and what passes hides some that are seen before.
    assert np.ptp(truth.pixels[..., 0], axis=0).max() > 3
    assert truth.visible[0].sum() > truth.visible.sum(axis=1).min()


def test_the_same_bytes_again(folder, head_file, tmp_path):
    write_sequence(SequenceOptions(head_file, tmp_path, n_frames=5, size=64, supersampling=1))
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_truth_that_is_none_is_refused(folder, tmp_path):
    from calib.capture import CaptureError

    truth = json.loads((folder / "truth.json").read_text())
    truth["uvw"] = truth["uvw"][:-1]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    with pytest.raises(CaptureError, match="not the truth of a sequence"):
        read_sequence_truth(tmp_path / "truth.json")
    with pytest.raises(ValueError, match="turn_deg"):
        SequenceOptions(tmp_path, tmp_path, turn_deg=120)


def test_nothing_seen_is_no_visible_point(folder):
    truth = read_sequence_truth(folder / "truth.json")
    blind = CubeMap(
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8), np.bool_),
        np.eye(2, 3),
    )
    found = evaluate_tracks(truth, [blind] * 5, clicked=False)
    assert np.isnan(found.visible)
    assert found.seen_as_visible == pytest.approx(1 - truth.visible.mean())
