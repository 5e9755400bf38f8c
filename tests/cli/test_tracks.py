"""``mvs tracks``: output, overlay, one line on bad input."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

import mvs.network.embedders
from mvs.cli import main
from mvs.tracks.pairs import read_pairs
from tests.tracks.moving import BrightEmbedder, frames, write_frames, write_video


def load_bright(name, weights):
    return BrightEmbedder()


@pytest.fixture(autouse=True)
def _bright(monkeypatch):
    monkeypatch.setattr(mvs.network.embedders, "load_embedder", load_bright)


def run(capfd, *arguments):
    code = main.run(["tracks", *map(str, arguments)])
    out, err = capfd.readouterr()
    return code, out, err


def test_pairs_and_overlay(capfd, tmp_path):
    video = write_video(tmp_path / "a.avi", frames(4))
    overlay = tmp_path / "overlay.png"
    code, out, err = run(capfd, video, "--output", tmp_path / "out", "--overlay", overlay)
    assert (code, err) == (0, "")
    assert "n_pairs 5\n" in out
    assert sum(len(shard) for shard in read_pairs(tmp_path / "out")) == 5
    assert cv2.imread(str(overlay)).shape[1] == 2048


def test_quiet(capfd, tmp_path):
    folder = write_frames(tmp_path / "frames", frames(2))
    assert run(capfd, folder, "--output", tmp_path / "out", "--quiet") == (0, "", "")


def test_no_video_is_one_line_from_the_libraries_too(tmp_path):
    """In a process of its own: FFmpeg asks once how much it may say."""
    (tmp_path / "text.mp4").write_text("no video")
    words = [tmp_path / "text.mp4", "--output", tmp_path / "out"]
    command = [sys.executable, "-m", "mvs", "tracks", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "not a video that OpenCV can open" in done.stderr
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line(capfd, tmp_path):
    folder = write_frames(tmp_path / "frames", [np.zeros((64, 64, 3), np.uint8)] * 2)
    video = write_video(tmp_path / "a.avi", frames(2))
    for arguments, reason in (
        ([tmp_path / "absent"], "no such file or folder"),
        ([folder], "no head is seen in any of 2 pictures"),
        ([video, "--min-points", "400", "--spacing", "20"], "lower --min-points or raise"),
        ([video, "--min-points", "500"], "min_points"),
        ([video, "--overlay", tmp_path / "a.txt"], "ends in .png or .jpg"),
    ):
        code, out, err = run(capfd, *arguments, "--output", tmp_path / "out")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert reason in err
    assert not list((tmp_path / "out").iterdir())
