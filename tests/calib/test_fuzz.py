"""Damaged camera files of every kind: read, or refused in one line; nothing else."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from calib.formats import FORMATS
from mvs.cli import main
from tests.calib.fuzz import KINDS, MEGABYTES, SECONDS, Guard, damaged, prepare

ROOT = Path(__file__).parents[2]
N_BY_COMMAND = 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="bounds are the Linux kernel's")
def test_nothing_escapes_within_bounds():
    """In a process of its own, which holds itself to seconds and megabytes per input.

    A quarter of the inputs, by the same seeds, that the module tries when it is run by hand.
    """
    environment = os.environ | {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.calib.fuzz", "--json", "--few"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["kind"] for row in rows] == list(KINDS)
    assert {row["kind"].partition(" ")[0] for row in rows if row["inputs"] >= 130} == set(FORMATS)
    for row in rows:
        assert row["failures"] == []
        # Harmless damage is read, harm is seen.
        assert row["accepted"] >= row["inputs"] // 20
        assert row["refused"] >= row["inputs"] // 4
        assert row["slowest"] < SECONDS
        assert row["peak_mb"] < MEGABYTES


def test_the_guard_sees_what_is_written(tmp_path):
    """Else the test above could not fail."""
    guard = Guard()
    guard.is_on = True
    with pytest.raises(PermissionError):
        guard.audit("open", (str(tmp_path / "x"), "wb", os.O_WRONLY | os.O_CREAT))
    guard.is_on = True
    with pytest.raises(PermissionError):
        guard.audit("subprocess.Popen", ("ls",))
    guard.is_on = True
    guard.audit("open", (str(tmp_path / "x"), "rb", os.O_RDONLY))


def reconstruct(folder, output, capfd):
    words = ["reconstruct", str(folder), "--output", str(output), "--embedder", "none"]
    code = main.run([*words, "--until", "pairs", "--quiet", "--threads", "1"])
    return code, *capfd.readouterr()


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_complains_in_one_line(tmp_path, capfd, kind):
    files = prepare(kind, tmp_path / "capture")
    for _ in damaged(kind, files, N_BY_COMMAND):
        code, out, err = reconstruct(tmp_path / "capture", tmp_path / "out", capfd)
        assert code in (0, 2)
        assert out == ""
        if code == 2:
            assert re.fullmatch(r"mvs: [^\n]+\n", err)
            assert "Traceback" not in err


def test_a_damaged_model_never_reaches_pycolmap(tmp_path, capfd, monkeypatch):
    """Its reader trusts counts in the file; ours is our own."""

    def read(*_):
        raise AssertionError("pycolmap reads a model")

    files = prepare("colmap", tmp_path / "capture")
    for name in ("read", "read_binary", "read_text"):
        monkeypatch.setattr(pycolmap.Reconstruction, name, read)
    monkeypatch.setattr(pycolmap, "Reconstruction", read)
    assert reconstruct(tmp_path / "capture", tmp_path / "out", capfd)[0] == 0
    path = next(path for path in files if path.name == "images.bin")
    path.write_bytes(np.uint64(2**61).tobytes() + path.read_bytes()[8:])
    code, _, err = reconstruct(tmp_path / "capture", tmp_path / "out", capfd)
    assert code == 2
    assert "images.bin: announces 2305843009213693952 entries" in err
