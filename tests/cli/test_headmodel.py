"""``mvs headmodel``: what it prints, writes and refuses."""

import json

import numpy as np
import pytest

from mvs.cli import main
from mvs.network.regressor import load_regressor
from tests.headmodel import models
from tests.synthetic.heads import write_head


def run(capfd, *arguments):
    code = main.run([str(word) for word in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def test_pack_then_show(tmp_path, capfd):
    folder = models.write_ict_folder(tmp_path / "model", 600)
    packed = tmp_path / "out" / "ict.npz"
    code, out, err = run(capfd, "headmodel", "pack", folder, "--output", packed)
    assert (code, err) == (0, "")
    assert "26 modes" in out
    assert packed.is_file()
    picture = tmp_path / "out" / "ict.png"
    code, out, err = run(capfd, "headmodel", "show", packed, "--picture", picture)
    assert (code, err) == (0, "")
    facts = dict(line.split(None, 1) for line in out.splitlines())
    assert facts["model"] == "ict"
    assert facts["expression"].startswith("16 modes: browInnerUp_L")
    assert facts["landmarks"] == "68"
    import cv2

    drawn = cv2.imread(str(picture))
    red = (drawn[..., 2] > 180) & (drawn[..., 1] < 60)
    # Landmarks in the first view, on a head; modes below.
    assert red[:360, :360].sum() > 200
    assert drawn.shape[0] > 700
    assert (drawn[400:] < 200).any(axis=2).sum() > 10_000


def test_show_flame(tmp_path, capfd):
    path = models.write_flame_pickle(tmp_path / "flame.pkl", 1200)
    code, out, _ = run(capfd, "headmodel", "show", path)
    assert code == 0
    assert "joints       neck jaw left_eye right_eye" in out
    assert "unit         1 m" in out


@pytest.mark.parametrize("command", [("show",), ("pack", "--output", "x.npz")])
@pytest.mark.parametrize("content", [None, b"", b"cos\nsystem\n(S'true'\ntR."])
def test_bad_models_get_one_line(tmp_path, capfd, command, content):
    path = tmp_path / "model.pkl"
    if content is not None:
        path.write_bytes(content)
    words = [word.replace("x.npz", str(tmp_path / "x.npz")) for word in command]
    code, out, err = run(capfd, "headmodel", words[0], path, *words[1:])
    assert (code, out) == (2, "")
    assert err.startswith(f"mvs: {path}: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()


def test_pack_refuses_other_endings(tmp_path, capfd):
    np.savez(tmp_path / "a.npz", v_template=np.zeros(3))
    code, _, err = run(capfd, "headmodel", "pack", tmp_path / "a.npz", "--output", tmp_path / "b")
    assert code == 2
    assert ".npz" in err


def test_portraits_then_training(tmp_path, capfd):
    """From the head model to weights that fits can use."""
    head, data = write_head(tmp_path / "head.npz"), tmp_path / "portraits"
    words = ("synthesize", "portraits", "--head", head, "--output", data, "--n-shards", 1)
    sheet = tmp_path / "sheet.png"
    words += ("--people-per-shard", 4, "--contact-sheet", sheet, "--quiet")
    assert run(capfd, *words) == (0, "", "")
    assert sheet.is_file()
    words = ("headmodel", "train", "--head", head, "--data", data, "--output", tmp_path / "run")
    sizes = ("--network.widths", *(8, 16, 16, 32, 32), "--network.depths", 0, 0, 0)
    sizes += ("--network.n-attention", 1, "--network.head-width", 16, "--network.hidden", 32)
    sizes += ("--network.n-anchors", 60, "--network.n-identity", 4, "--network.n-expression", 3)
    code, out, err = run(capfd, *words, "--steps", 2, "--batch", 2, *sizes)
    assert (code, err) == (0, "")
    assert json.loads(out)["step"] == 2
    regressor = load_regressor(tmp_path / "run" / "regressor.safetensors")
    assert regressor.network.config.n_anchors == 60
    code, _, err = run(capfd, *words[:4], "--data", tmp_path, "--output", tmp_path / "run", *sizes)
    assert code == 2
    assert "make some with mvs synthesize portraits" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("network", ["compact", "regressor"])
def test_model_cards(capfd, network):
    code, out, _ = run(capfd, "weights", "card", "--network", network)
    assert code == 0
    assert out.startswith(f"# Model card: {network}.safetensors")
