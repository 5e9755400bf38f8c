from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mvs.network.checkpoint import CheckpointError
from mvs.network.compact import load_compact
from mvs.synthetic.dataset import shard_path
from mvs.training.data import read_shard
from mvs.training.loop import Trainer
from mvs.training.options import Schedule, TrainOptions


@pytest.fixture
def options(shards, small, tmp_path):
    return TrainOptions(
        data=shards,
        output=tmp_path / "run",
        validation=shard_path(shards, 1),
        n_shards=1,
        schedule=Schedule(2, 2, 2, 6, 3, learning_rate=5e-3, warm_up=2, checkpoint_every=2),
        network=small,
    )


def test_stopped_and_gone_on_is_the_same_as_never_stopped(options, tmp_path):
    whole = list(Trainer(options).run())
    parts = replace(options, output=tmp_path / "parts")
    stopped = Trainer(parts).run()
    first = next(stopped)
    stopped.close()
    rest = list(Trainer(parts).run())
    assert [report["step"] for report in [first, *rest]] == [2, 4, 6]
    for one, two in zip(whole, [first, *rest], strict=True):
        assert one | {"seconds": 0} == two | {"seconds": 0}
    for name in ("state.safetensors", "compact.safetensors"):
        a, b = load_file(options.output / name), load_file(parts.output / name)
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), key


def test_a_run_that_is_over_stays_as_it_is(options):
    list(Trainer(options).run())
    before = (options.output / "compact.safetensors").read_bytes()
    assert list(Trainer(options).run()) == []
    assert (options.output / "compact.safetensors").read_bytes() == before


@pytest.mark.parametrize("loaders", [2, 9])
def test_threads_that_make_pictures_change_nothing(options, tmp_path, loaders):
    whole = list(Trainer(options).run())
    more = list(Trainer(replace(options, output=tmp_path / "more", loaders=loaders)).run())
    assert [one | {"seconds": 0} for one in whole] == [one | {"seconds": 0} for one in more]


def test_another_seed_is_another_network(options, tmp_path):
    list(Trainer(options).run())
    other = replace(options, output=tmp_path / "other", seed=1)
    list(Trainer(other).run())
    a, b = (load_file(path / "compact.safetensors") for path in (options.output, other.output))
    assert any(not torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
def test_it_learns_pictures_it_has_not_seen(options):
    """Colour is the coordinate: 600 steps are enough to find disc and coordinates."""
    schedule = Schedule(600, 0, 0, 8, learning_rate=5e-3, warm_up=2, checkpoint_every=600)
    # Other colours would be other coordinates.
    longer = replace(options, schedule=schedule, average=0.9, augment=False)
    (report,) = list(Trainer(longer).run())
    assert report["median"] < 0.03  # the mean coordinate is off by 0.15
    assert report["iou"] > 0.9


def test_what_is_written_is_an_embedder(options, shards):
    list(Trainer(options).run())
    embedder = load_compact(options.output / "compact.safetensors")
    record = np.load(shard_path(shards, 1))[0]
    found = embedder.embed(record["image"])
    assert found.coords.shape == (256, 256, 3)


def test_training_goes_on_from_given_weights(options, tmp_path):
    list(Trainer(options).run())
    start = options.output / "compact.safetensors"
    trainer = Trainer(replace(options, output=tmp_path / "next", start=start))
    assert trainer.step == 0
    stored = load_file(start)
    for name, tensor in trainer.network.state_dict().items():
        assert torch.equal(tensor, stored[name].to(tensor.dtype)), name


def test_the_rate_rises_and_falls(options):
    longer = replace(options.schedule, small_steps=100, steps=100, warm_up=20)
    rates = [longer.rate_at(step) for step in range(200)]
    assert np.argmax(rates) in (19, 20)
    assert max(rates) == pytest.approx(longer.learning_rate, rel=1e-6)
    assert (np.diff(rates[:20]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()
    assert rates[-1] < 0.02 * longer.learning_rate


@pytest.mark.parametrize("mixed", [0, 1, 2, 3, 4, 5, 9])
def test_pictures_are_counted_step_by_step(mixed):
    schedule = Schedule(7, mixed, 4, 48, 16)
    sizes = [schedule.size_at(step) for step in range(schedule.total)]
    assert sizes[:7] == [(128, 48)] * 7
    assert sizes[7 + mixed :] == [(256, 16)] * 4
    # As many pixels in every step; three sizes in turn.
    for side, n in sizes[7 : 7 + mixed]:
        assert 256 > side > 128
        assert 0 <= 16 * 256**2 - n * side**2 < side**2
    assert len({side for side, _ in sizes[7 : 7 + mixed]}) == min(mixed, 3)
    for step in range(schedule.total + 1):
        assert schedule.seen_before(step) == sum(n for _, n in sizes[:step])


@pytest.mark.parametrize(
    "bad", [{"threads": 0}, {"loaders": 0}, {"average": 1.0}, {"reuse": 0.0}, {"tracks_share": 1.5}]
)
def test_bad_options_are_refused(options, bad):
    with pytest.raises(ValueError, match="must be"):
        replace(options, **bad)


@pytest.mark.parametrize("bad", [{"batch": 0}, {"learning_rate": 0.0}, {"steps": -1}])
def test_bad_schedules_are_refused(options, bad):
    with pytest.raises(ValueError, match="must be"):
        replace(options.schedule, **bad)


def test_tensorboard_gets_scalars_and_pictures(options):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reports = list(Trainer(replace(options, tensorboard=True)).run())
    events = accumulator.EventAccumulator(str(options.output / "tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("distance")]
    assert [step for step, _ in found] == [2, 4, 6]
    np.testing.assert_allclose([v for _, v in found], [r["distance"] for r in reports], rtol=1e-5)
    assert [event.step for event in events.Images("samples")] == [2, 4, 6]
    assert {"rate", "median", "normals_deg", "iou"} <= set(events.Tags()["scalars"])


def test_a_device_that_is_not_there_is_an_error(options):
    with pytest.raises(ValueError, match="cpu or cuda"):
        Trainer(replace(options, device="abacus"))


def test_shards_of_another_version_are_refused(options, tmp_path):
    np.save(shard_path(tmp_path, 0), np.zeros(3, [("image", "u1", (4, 4, 3))]))
    with pytest.raises(ValueError, match="render it again"):
        Trainer(replace(options, data=tmp_path))._fetch(0)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match="render it again"):
        read_shard(tmp_path / "cut.npy")


def test_a_state_of_other_options_is_refused(options):
    list(Trainer(options).run())
    with pytest.raises(CheckpointError, match="another --output"):
        Trainer(replace(options, use_cube=True))
    (options.output / "state.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="another --output"):
        Trainer(options)
