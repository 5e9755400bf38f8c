import pytest
import torch
from safetensors.torch import load_file

from mvs.cli.main import run
from mvs.network.checkpoint import CheckpointError
from mvs.network.compact import CompactConfig, CompactNetwork, load_compact
from mvs.training.loop import save_weights
from mvs.training.mean import write_mean


@pytest.fixture
def three(small, tmp_path):
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"{seed}.safetensors")
        save_weights(paths[-1], CompactNetwork(small))
    return paths


def test_every_tensor_is_the_mean(three, tmp_path):
    output = tmp_path / "mean.safetensors"
    assert run(["weights", "mean", *map(str, three), "--output", str(output), "--quiet"]) == 0
    found = load_file(output)
    parts = [load_file(path) for path in three]
    assert found.keys() == parts[0].keys()
    for name, tensor in found.items():
        assert tensor.dtype == parts[0][name].dtype
        expected = torch.stack([part[name].double() for part in parts]).mean(dim=0)
        torch.testing.assert_close(tensor.double(), expected, atol=1e-4, rtol=1e-3)
    load_compact(output)


def test_the_mean_of_one_network_with_itself_is_that_network(three, tmp_path):
    write_mean([three[1]] * 4, tmp_path / "same.safetensors")
    assert (tmp_path / "same.safetensors").read_bytes() == three[1].read_bytes()


def test_what_has_no_mean_is_refused(three, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    save_weights(other, CompactNetwork(CompactConfig(widths=(8, 16, 16, 32, 64))))
    with pytest.raises(CheckpointError, match=r"other\.safetensors: holds a network of another"):
        write_mean([three[0], other], tmp_path / "mean.safetensors")
    with pytest.raises(ValueError, match="two checkpoints or more"):
        write_mean(three[:1], tmp_path / "mean.safetensors")
    command = ["weights", "mean", str(three[0]), str(three[1])]
    assert run([*command, "--output", str(tmp_path / "absent" / "mean.safetensors")]) == 2
    assert "give a file in a folder that exists" in capsys.readouterr().err
    assert not (tmp_path / "mean.safetensors").exists()
