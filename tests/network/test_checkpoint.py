import json
import stat
from dataclasses import dataclass

import pytest
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

from calib import files
from mvs.network.checkpoint import (
    CheckpointError,
    config_from_dict,
    load_checkpoint,
    load_strict,
    read_tensors,
    save_checkpoint,
)


@dataclass(frozen=True)
class Inner:
    rate: float
    name: str = "plain"


@dataclass(frozen=True)
class Outer:
    inner: Inner
    sizes: tuple[int, ...] = (1, 2)
    is_deep: bool = False

    def __post_init__(self):
        if min(self.sizes) < 1:
            raise ValueError(f"sizes must be positive, got {self.sizes}")


CONFIG = Outer(Inner(0.5, "näme"), (3, 1, 2), True)


def small_network(seed=0):
    """Weights of several ranks, a batch norm's buffers, and an integer among them."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(2, 1))
    network(torch.rand(2, 3, 5, 4))
    return network


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def error_of(path, call):
    """The refusal, which must be one line that names the file and says what to do."""
    with pytest.raises(CheckpointError) as caught:
        call()
    error = caught.value
    assert error.path == path
    assert str(error) == f"{path}: {error.reason}; {error.remedy}"
    assert "\n" not in str(error)
    return error.reason


def load_error(path, kind="small", config_type=Outer):
    return error_of(path, lambda: load_checkpoint(path, kind, config_type))


def strict_error(path, network, tensors, constants=()):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    reason = error_of(path, lambda: load_strict(network, tensors, path, constants))
    # What is refused changes nothing.
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    return reason


def test_round_trip(path):
    network = small_network()
    save_checkpoint(path, network, "small", CONFIG)
    config, tensors = load_checkpoint(path, "small", Outer)
    assert config == CONFIG
    assert isinstance(config.sizes, tuple)
    assert isinstance(config.inner, Inner)
    other = small_network(1)
    load_strict(other, tensors, path)
    expected, found = network.state_dict(), other.state_dict()
    assert found.keys() == expected.keys() == tensors.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    picture = torch.rand(1, 3, 5, 4)
    assert torch.equal(other.eval()(picture), network.eval()(picture))


def test_same_network_gives_the_same_bytes(path, tmp_path):
    save_checkpoint(path, small_network(), "small", CONFIG)
    save_checkpoint(tmp_path / "b", small_network(), "small", CONFIG)
    assert path.read_bytes() == (tmp_path / "b").read_bytes()


def test_layout_and_gradients_of_weights_do_not_matter(path):
    network = small_network().to(memory_format=torch.channels_last)
    network(torch.rand(1, 3, 5, 4)).sum().backward()
    save_checkpoint(path, network, "small", CONFIG)
    tensors = load_checkpoint(path, "small", Outer)[1]
    assert all(torch.equal(tensors[name], t) for name, t in network.state_dict().items())


def test_the_file_is_plain_safetensors(path):
    save_checkpoint(path, small_network(), "small", CONFIG)
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata().keys() == {"headmvs"}
        header = json.loads(file.metadata()["headmvs"])
    inner = {"rate": 0.5, "name": "näme"}
    assert header["kind"] == "small"
    assert header["config"] == {"inner": inner, "sizes": [3, 1, 2], "is_deep": True}


def test_file_is_readable_by_all_and_alone(path):
    for seed in (0, 1):
        save_checkpoint(path, small_network(seed), "small", CONFIG)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert list(path.parent.iterdir()) == [path]
    # The second replaced the first.
    weight = load_checkpoint(path, "small", Outer)[1]["0.weight"]
    assert torch.equal(weight, small_network(1)[0].weight)


def test_interrupted_write_leaves_the_old_file(path, monkeypatch):
    save_checkpoint(path, small_network(), "small", CONFIG)
    before = path.read_bytes()

    def fail(handle):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, small_network(1), "small", CONFIG)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def interrupted(path):
    with files.replacing(path) as file:
        file.write(b"other")
        raise KeyboardInterrupt


def test_file_appears_only_when_it_is_whole(path):
    with files.replacing(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_bytes() == b"half and half"
    assert list(path.parent.iterdir()) == [path]


def test_missing_files_are_told(path, tmp_path):
    assert load_error(path) == "no such file"
    assert load_error(tmp_path) == "no such file"


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 100, b"PK\x03\x04" * 30, b"\x80\x04K."])
def test_other_files_are_refused(path, data):
    path.write_bytes(data)
    assert load_error(path).startswith("not a readable safetensors file (")


def test_cut_off_files_are_refused(path):
    save_checkpoint(path, small_network(), "small", CONFIG)
    data = path.read_bytes()
    for size in [*range(0, len(data), 13), len(data) - 1]:
        path.write_bytes(data[:size])
        assert load_error(path).startswith("not a readable safetensors file (")
    path.write_bytes(data + b"\0")
    assert load_error(path).startswith("not a readable safetensors file (")


def refusal(path):
    """What is said of a file, None if it can be used."""
    try:
        load_strict(small_network(), load_checkpoint(path, "small", Outer)[1], path)
    except CheckpointError as error:
        return str(error)
    return None


def test_a_damaged_header_never_gives_a_traceback(path):
    """Bytes changed one by one: either it is refused, or what is read fits the network."""
    save_checkpoint(path, small_network(), "small", CONFIG)
    data = path.read_bytes()
    answers = []
    for position in range(0, 8 + int.from_bytes(data[:8], "little"), 3):
        changed = bytearray(data)
        changed[position] ^= 0x11
        path.write_bytes(changed)
        answers.append(refusal(path))
    refusals = [answer for answer in answers if answer is not None]
    assert len(refusals) > 0.8 * len(answers)
    assert not any("\n" in answer for answer in refusals)


def test_nothing_is_unpickled(path, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"0.weight": Bomb()}, path)
    load_error(path)
    assert not (tmp_path / "exploded").exists()


def test_another_kind_of_network_is_refused(path):
    save_checkpoint(path, small_network(), "small", CONFIG)
    assert load_error(path, "large") == "holds a small network, not large"


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"headmvs": ""},
        {"headmvs": "{"},
        {"headmvs": "[]"},
        {"headmvs": "null"},
        {"headmvs": '"kind"'},
        {"headmvs": '{"kind": "small"}'},
        {"headmvs": '{"config": {}}'},
    ],
)
def test_files_of_others_hold_no_configuration(path, metadata):
    save_file(small_network().state_dict(), path, metadata)
    assert load_error(path) == "holds no network configuration"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "Outer expects a mapping, got []"),
        ({}, "inner"),
        ({"inner": 3}, "Inner expects a mapping, got 3"),
        ({"inner": {"rate": 1, "speed": 2}}, "Inner has no speed"),
        ({"inner": {"rate": 1}, "b": 1, "a": 2}, "Outer has no a, b"),
        ({"inner": {"rate": 1}, "sizes": [0]}, "sizes must be positive"),
        ({"inner": {"rate": 1}, "sizes": "ab"}, "unusable"),
        ({"inner": {"rate": 1}, "sizes": 3}, "unusable"),
        ({"inner": {"rate": 1}, "sizes": None}, "unusable"),
    ],
)
def test_unusable_configurations_are_told(path, config, message):
    header = json.dumps({"kind": "small", "config": config})
    save_file(small_network().state_dict(), path, {"headmvs": header})
    reason = load_error(path)
    assert reason.startswith("its configuration is unusable (")
    assert message in reason


def test_absent_fields_keep_their_defaults():
    assert config_from_dict(Outer, {"inner": {"rate": 2.0}}) == Outer(Inner(2.0))


def test_tensors_that_do_not_fit_are_told(path):
    network, tensors = small_network(), small_network(1).state_dict()
    short = {name: tensor for name, tensor in tensors.items() if name != "2.bias"}
    assert strict_error(path, network, short) == "tensors do not fit: 2.bias missing"
    more = {**tensors, "3.weight": torch.zeros(1)}
    assert strict_error(path, network, more) == "tensors do not fit: 3.weight unexpected"
    turned = {**tensors, "2.weight": tensors["2.weight"].T}
    reason = strict_error(path, network, turned)
    assert reason == "tensors do not fit: 2.weight (2, 1) instead of (1, 2) of wrong shape"
    retyped = {**tensors, "2.bias": torch.zeros(1, dtype=torch.int64)}
    assert "2.bias torch.int64 of wrong type" in strict_error(path, network, retyped)
    counted = {**tensors, "1.num_batches_tracked": torch.tensor(1.5)}
    assert "1.num_batches_tracked" in strict_error(path, network, counted)
    imaginary = {**tensors, "2.bias": torch.zeros(1, dtype=torch.complex64)}
    assert "2.bias torch.complex64 of wrong type" in strict_error(path, network, imaginary)


def test_many_misfits_stay_one_line(path):
    network, n = small_network(), len(small_network().state_dict())
    reason = strict_error(path, network, {"x": torch.zeros(1), "y": torch.zeros(1)})
    expected = f"0.weight and {n - 1} more missing, x and 1 more unexpected"
    assert reason == f"tensors do not fit: {expected}"
    assert strict_error(path, network, {}).startswith("tensors do not fit: 0.weight")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(path, value):
    tensors = small_network(1).state_dict()
    tensors["0.weight"][2, 1, 0, 2] = value
    assert strict_error(path, small_network(), tensors) == "0.weight not finite"


def test_weights_too_large_for_float32_are_refused(path):
    tensors = small_network(1).state_dict()
    tensors["2.bias"] = torch.tensor([1e300], dtype=torch.float64)
    assert strict_error(path, small_network(), tensors) == "2.bias not finite"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_become_float32(path, dtype):
    expected = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in small_network(1).state_dict().items()
    }
    save_file(expected, path)
    network = small_network()
    load_strict(network, read_tensors(path)[0], path)
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == (
            torch.float32 if expected[name].is_floating_point() else torch.int64
        )
        assert torch.equal(tensor, expected[name].to(tensor.dtype))


def test_constants_must_agree(path):
    network, tensors = small_network(), small_network().state_dict()
    name = "1.running_var"
    tensors[name] = tensors[name] * 1.005
    load_strict(network, tensors, path, [name])
    # The file's value is taken, rounded as it is.
    assert torch.equal(network.state_dict()[name], tensors[name])
    tensors[name] = tensors[name] * 1.05
    reason = strict_error(path, network, tensors, [name])
    assert reason == f"constants differ from the architecture's: {name}"
    load_strict(network, tensors, path)


def test_a_file_without_tensors_is_readable(path):
    save_file({}, path, {"a": "b"})
    assert read_tensors(path) == ({}, {"a": "b"})
