import hashlib
import subprocess
import sys

import numpy as np
import pytest
from safetensors.torch import save_file

from calib.capture import CaptureError
from mvs.network import compact, densemarks, embedders
from mvs.network.checkpoint import CheckpointError, save_checkpoint
from mvs.network.compact import KIND, CompactConfig, CompactNetwork
from mvs.network.embedders import EMBEDDERS, EmbedderSource, load_embedder
from mvs.network.network_embedder import NetworkEmbedder
from mvs.network.precomputed import PrecomputedEmbedder
from mvs.types import Square

CONFIG = CompactConfig(
    size=64, widths=(8, 8, 16, 16, 32), depths=(1, 1, 1), n_attention=1, head_width=16
)


@pytest.fixture
def compact_file(tmp_path):
    path = tmp_path / "compact.safetensors"
    save_checkpoint(path, CompactNetwork(CONFIG), KIND, CONFIG)
    return path


def test_names():
    assert list(EMBEDDERS) == ["compact", "densemarks", "precomputed"]


@pytest.mark.parametrize("name", ["", "Compact", "unknown", "compact "])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="one of compact, densemarks, precomputed") as caught:
        load_embedder(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_compact_from_a_file(compact_file):
    embedder = load_embedder("compact", compact_file)
    assert isinstance(embedder, NetworkEmbedder)
    assert (embedder.name, embedder.size) == ("compact", 64)
    found = embedder.embed(np.zeros((40, 50, 3), np.uint8), Square((20.0, 20.0), 40.0))
    assert found.coords.shape == (64, 64, 3)


def test_networks_are_known_by_their_weights(compact_file):
    embedder = load_embedder("compact", compact_file)
    weights = hashlib.sha256(compact_file.read_bytes()).hexdigest()
    assert embedder.identity("a.jpg") == f"compact 64 cpu sha256:{weights}"
    network = NetworkEmbedder("mine", lambda _: None, 32)
    assert network.identity("a.jpg") is None


def test_compact_without_a_file_takes_the_shipped_one(compact_file, monkeypatch):
    monkeypatch.setattr(compact, "WEIGHTS", compact_file)
    assert load_embedder("compact").size == 64


def test_densemarks_from_a_file(small_config, small_file, monkeypatch):
    monkeypatch.setattr(densemarks, "CROP_SIZE", 32)
    monkeypatch.setattr(densemarks, "DenseMarksConfig", lambda: small_config)
    embedder = load_embedder("densemarks", small_file)
    assert (embedder.name, embedder.size, embedder.wants_distorted) == ("densemarks", 32, False)


def test_precomputed_from_a_folder(tmp_path):
    embedder = load_embedder("precomputed", cube_maps=tmp_path)
    assert isinstance(embedder, PrecomputedEmbedder)
    assert (embedder.name, embedder.folder) == ("precomputed", tmp_path)
    assert embedder.wants_distorted is True


def test_what_is_missing_is_told(small_config, tmp_path, monkeypatch):
    absent = tmp_path / "absent"
    monkeypatch.setattr(densemarks, "DenseMarksConfig", lambda: small_config)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, arguments, error, message in (
        ("compact", {"weights": absent}, CheckpointError, "no such file"),
        ("densemarks", {"weights": absent}, CheckpointError, "no such file"),
        ("densemarks", {}, CheckpointError, "mvs weights fetch densemarks"),
        ("precomputed", {"cube_maps": absent}, CaptureError, "no such folder"),
        ("precomputed", {}, ValueError, "needs cube_maps"),
    ):
        with pytest.raises(error, match=message) as caught:
            load_embedder(name, **arguments)
        assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(compact_file, small_file, tmp_path):
    with pytest.raises(CheckpointError, match="holds no network configuration"):
        load_embedder("compact", small_file)
    other = tmp_path / "other.safetensors"
    save_file(CompactNetwork(CONFIG).state_dict(), other, {"headmvs": '{"kind":"x","config":{}}'})
    with pytest.raises(CheckpointError, match="holds a x network, not compact"):
        load_embedder("compact", other)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("precomputed", "weights"), ("compact", "cube_maps"), ("densemarks", "cube_maps")],
)
def test_arguments_of_other_embedders_are_refused(tmp_path, name, argument):
    with pytest.raises(ValueError, match=f"^{argument}: the {name} embedder"):
        load_embedder(name, **{argument: tmp_path})


def test_a_registered_embedder_gets_what_was_given(tmp_path, monkeypatch):
    monkeypatch.setitem(embedders.EMBEDDERS, "mine", lambda source: source)
    weights = tmp_path / "weights"
    assert load_embedder("mine", weights, device="cuda") == EmbedderSource(weights, None, "cuda")
    assert load_embedder("mine") == EmbedderSource(None, None, "cpu")


def test_device_is_handed_on(compact_file, small_file, monkeypatch):
    given = []
    monkeypatch.setattr(compact, "load_compact", lambda *arguments: given.append(arguments))
    monkeypatch.setattr(densemarks, "load_densemarks", lambda *arguments: given.append(arguments))
    load_embedder("compact", compact_file, device="cuda:1")
    load_embedder("densemarks", small_file, device="cuda")
    assert given == [(compact_file, "cuda:1"), (small_file, "cuda")]


def test_pytorch_is_loaded_only_for_networks(tmp_path):
    script = (
        "import pathlib, sys; from mvs.network.embedders import load_embedder; "
        f"load_embedder('precomputed', cube_maps=pathlib.Path({str(tmp_path)!r})); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
