"""Which results of an earlier run stay beside those of the next."""

import pytest

from calib.formats import read_capture
from mvs.cache import Store
from mvs.folder import STAGES_FOLDER
from mvs.network.embedders import load_embedder
from mvs.pipeline import STAGES, reconstruct
from mvs.record import RESULTS, Report
from mvs.run import Run
from tests.scenes import make_scene, write_capture, write_cube_maps

_COMPUTED = ("points.ply", "cloud.ply", "cloud.ply.vis", "mesh.ply")


@pytest.fixture
def output(tmp_path):
    """A folder with all results, each holding its name."""
    (tmp_path / STAGES_FOLDER).mkdir()
    for name in RESULTS:
        (tmp_path / name).write_text(name)
    return tmp_path


def finish(output, results):
    run = Run(Report(), output, Store(output / STAGES_FOLDER, ()), None, "mesh")
    for name, text in results.items():
        run.write(name, lambda path, text=text: path.write_text(text))
    run.finish(())
    return {path.name for path in output.iterdir() if path.is_file()}


def test_the_same_results_leave_all_that_was_made_of_them(output):
    assert finish(output, {name: name for name in _COMPUTED}) == set(RESULTS)


@pytest.mark.parametrize(
    ("last", "left"),
    [
        ("points.ply", {"points.ply", "run.json"}),
        ("cloud.ply", {"points.ply", "cloud.ply", "run.json"}),
        ("cloud.ply.vis", {"points.ply", "cloud.ply", "cloud.ply.vis", "run.json"}),
    ],
)
def test_a_run_that_ends_early_leaves_no_report_of_what_it_removes(output, last, left):
    """Its own results are as they were, so that nothing went when they were written."""
    names = _COMPUTED[: _COMPUTED.index(last) + 1]
    assert finish(output, {name: name for name in names}) == left


def test_a_new_mesh_takes_its_texture_and_the_report_with_it(output):
    results = {name: name for name in _COMPUTED} | {"mesh.ply": "new"}
    assert finish(output, results) == set(results)
    assert (output / "mesh.ply").read_text() == "new"


def test_a_run_that_wrote_nothing_removes_nothing(output):
    assert finish(output, {}) == set(RESULTS)


@pytest.mark.parametrize("until", ["embed", "pairs"])
def test_a_run_without_results_leaves_what_those_of_an_earlier_one_were_made_of(tmp_path, until):
    scene = make_scene(3, 96, arc_deg=40.0)
    write_capture(scene, tmp_path / "capture")
    write_cube_maps(scene, tmp_path / "maps")
    capture = read_capture(tmp_path / "capture")
    embedder = load_embedder("precomputed", None, tmp_path / "maps")
    reconstruct(capture, embedder, tmp_path / "out")
    before = set((tmp_path / "out").rglob("*.*"))
    assert reconstruct(capture, embedder, tmp_path / "out", until=until).cached == {}
    assert before <= set((tmp_path / "out").rglob("*.*"))
    assert reconstruct(capture, embedder, tmp_path / "out").cached == dict.fromkeys(
        (stage for stage in STAGES if stage != "refine"), "all"
    )
