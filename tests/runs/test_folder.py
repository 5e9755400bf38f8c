"""Folders that cannot be written, belong to another capture, or to another run."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.capture import CaptureError
from calib.formats import read_capture
from mvs.cli import main
from mvs.folder import claimed
from tests.runs.runs import (
    DRAFT,
    FINE,
    SCENE,
    CountingEmbedder,
    cached,
    digests,
    record,
    run,
)
from tests.scenes import write_cube_maps


def test_a_folder_that_cannot_be_written_is_refused(capture, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/headmvs")):
        embedder = CountingEmbedder()
        with pytest.raises(CaptureError, match="choose another --output"):
            run(capture, place, embedder=embedder)
        assert embedder.found == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_turns_read_only_keeps_what_it_has(capture, output, whole, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("calib.files.tempfile.mkstemp", refuse)
    with pytest.raises(CaptureError, match="Permission denied"):
        run(capture, output, cached(FINE, force=True))
    assert digests(output) == digests(whole)


def another_capture(folder, capture):
    shutil.copytree(capture.path, folder)
    for path in (folder / "images").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path)) ^ np.uint8(1))
    return read_capture(folder)


def test_another_capture_s_folder_is_refused(capture, output, whole, tmp_path):
    other = another_capture(tmp_path / "other", capture)
    for gone in (None, output / ".stages" / "capture.json"):
        if gone:
            gone.unlink()
        with pytest.raises(CaptureError) as error:
            run(other, output)
        assert str(error.value) == (
            f"{output}: holds results of another capture ({capture.path}); "
            "choose another --output, or --force"
        )
        assert digests(output) == digests(whole)
    run(other, output, cached(DRAFT, force=True))
    assert record(output)["capture"] == str(other.path)
    with pytest.raises(CaptureError, match="another capture"):
        run(capture, output)
    # All its pictures may change where they are, and a copy of it is itself.
    shutil.rmtree(tmp_path / "moved", ignore_errors=True)
    shutil.move(other.path, tmp_path / "moved")
    assert run(read_capture(tmp_path / "moved"), output, DRAFT).cached["mesh"] == "all"
    shutil.copytree(capture.path / "images", tmp_path / "moved" / "images", dirs_exist_ok=True)
    run(read_capture(tmp_path / "moved"), output, DRAFT)


def test_of_two_runs_on_a_folder_the_second_is_refused(capture, output, whole):
    import os
    import socket

    with claimed(output), pytest.raises(CaptureError) as error:
        run(capture, output, cached(FINE, force=True))
    who = f"process {os.getpid()} on {socket.gethostname()}"
    assert str(error.value) == (
        f"{output}: another run is writing here ({who}); wait for it, or choose another --output"
    )
    assert digests(output) == digests(whole)
    run(capture, output)


def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from mvs.cli import main
from mvs.folder import claimed
with claimed(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / ".stages" / "owner.json").exists()
    with claimed(tmp_path):
        pass


def test_the_command_says_so_in_one_line(capture, whole, tmp_path, capfd):
    """Exit code 2, and what to do; --force and --from do it."""
    write_cube_maps(SCENE, tmp_path / "maps")
    other = another_capture(tmp_path / "other", capture)
    shutil.copytree(whole, tmp_path / "out")
    words = [
        "reconstruct",
        str(other.path),
        "--output",
        str(tmp_path / "out"),
        "--quality",
        "draft",
    ]
    words += ["--embedder", "precomputed", "--cube-maps", str(tmp_path / "maps")]
    assert main.run(words) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"mvs: {tmp_path / 'out'}: holds results of another capture")
    assert err.count("\n") == 1
    assert main.run([*words, "--until", "fuse", "--force", "--keep", "all"]) == 0
    assert record(tmp_path / "out")["options"]["cache"]["keep"] == "all"
    assert main.run([*words, "--until", "fuse", "--from", "triangulate"]) == 0
    out = capfd.readouterr().out
    assert "(from an earlier run)" in out
    assert list(record(tmp_path / "out")["cached"]) == ["match"]
    with claimed(tmp_path / "out"):
        assert main.run(words) == 2
    assert "another run is writing here" in capfd.readouterr().err


@pytest.mark.parametrize("reason", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_has_a_file_that_says_who_is_at_work(
    reason, tmp_path, monkeypatch
):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", refuse)
    held = tmp_path / ".stages" / "held"
    for _ in range(2):
        with claimed(tmp_path):
            assert held.exists()
            with pytest.raises(CaptureError, match="another run is writing here") as error:
                claimed(tmp_path).__enter__()
            assert f"remove {held} if it is gone" in str(error.value)
        assert not held.exists()
    # Of a host that nobody can ask.
    held.write_text("1\nfar-away\n")
    with pytest.raises(CaptureError, match=f"remove {held}"):
        claimed(tmp_path).__enter__()
