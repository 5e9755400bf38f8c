"""Runs that find what an earlier run left: of the same capture, an edited one, other options."""

import shutil
from dataclasses import replace

import cv2
import pytest

from calib.formats import read_capture
from mvs.pipeline import STAGES
from mvs.stages.mesh import MeshOptions
from tests.runs.runs import (
    CLOUDS,
    DRAFT,
    FINE,
    SCENE,
    CountingEmbedder,
    cached,
    digests,
    entries,
    record,
    run,
    shown,
)


def test_run_again_it_computes_nothing(capture, output, whole, sharpened, monkeypatch):
    for module in ("mvs.steps.coarse.embed_views", "mvs.steps.refined.refine", "mvs.pipeline.mesh"):
        monkeypatch.setattr(module, lambda *_, **__: pytest.fail("computed"))
    report = run(capture, output)
    assert report.cached == dict.fromkeys(STAGES, "all")
    assert set(report.seconds.values()) == {0.0}
    assert [path.name for path in report.files] == [*CLOUDS, "run.json"]
    old, new = record(whole), record(output)
    assert new["cached"] == report.cached
    assert old["cached"] == {}
    for name in ("counts", "warnings", "files", "inputs", "options", "embedder_identity"):
        assert new[name] == old[name]
    assert old["embedder_identity"] == "first"


def test_another_mesh_option_only_meshes(capture, output, whole, sharpened, tmp_path):
    (output / "textured.glb").write_text("of the old mesh")
    embedder = CountingEmbedder()
    other = replace(FINE, mesh=MeshOptions(depth=4))
    report = run(capture, output, other, embedder)
    assert embedder.found == embedder.mapped == sharpened == []
    assert [stage for stage in STAGES if stage not in report.cached] == ["mesh"]
    assert digests(output)["mesh.ply"] != digests(whole)["mesh.ply"]
    assert not (output / "textured.glb").exists()
    run(capture, tmp_path / "fresh", other)
    assert digests(output) == digests(tmp_path / "fresh")
    assert digests(output, CLOUDS[:3]) == digests(whole, CLOUDS[:3])


def test_tsdf_after_poisson_is_as_if_it_had_been_first(capture, output, tmp_path):
    tsdf = replace(FINE, mesh=MeshOptions(depth=5, mesher="tsdf"))
    run(capture, output, tsdf)
    run(capture, tmp_path / "fresh", tsdf)
    assert digests(output) == digests(tmp_path / "fresh")
    # Depth maps stay where the mesh is made of them.
    assert len(entries(output, "refine")) > len(SCENE.names)
    report = run(capture, output, replace(tsdf, mesh=MeshOptions(depth=4, mesher="tsdf")))
    assert report.cached["refine"] == "all"


def test_a_draft_and_a_refined_run_share_what_they_have_in_common(
    capture, output, whole, draft, sharpened
):
    embedder = CountingEmbedder()
    run(capture, output, DRAFT, embedder)
    assert digests(output) == digests(draft)
    assert shown(output) == shown(draft)
    run(capture, output, FINE, embedder)
    assert digests(output) == digests(whole)
    assert embedder.found == embedder.mapped == []


def test_what_stops_early_leaves_no_results_of_others(capture, output, whole):
    report = run(capture, output, until="triangulate")
    assert shown(output) == ["points.ply", "run.json"]
    assert report.cached["triangulate"] == "all"
    assert record(output)["until"] == "triangulate"
    run(capture, output)
    assert digests(output) == digests(whole)


def test_a_texture_stays_while_its_mesh_does(capture, output):
    (output / "textured.glb").write_text("precious")
    run(capture, output)
    assert (output / "textured.glb").read_text() == "precious"
    run(capture, output, cached(FINE, start="mesh"))
    assert (output / "textured.glb").read_text() == "precious"


def test_results_that_were_changed_or_removed_are_written_again(capture, output, whole, sharpened):
    (output / "cloud.ply").write_bytes(b"mine")
    (output / "cloud.ply.vis").unlink()
    (output / "mesh.ply").unlink()
    run(capture, output)
    assert sharpened == []
    assert digests(output) == digests(whole)


def test_one_picture_replaced(capture, draft, tmp_path):
    edited, output = tmp_path / "capture", tmp_path / "out"
    shutil.copytree(draft, output)
    shutil.copytree(capture.path, edited)
    name = SCENE.names[1]
    image = cv2.imread(str(edited / "images" / name))
    cv2.imwrite(str(edited / "images" / name), 255 - image)
    embedder = CountingEmbedder()
    # Elsewhere, too: most of its pictures are the same.
    report = run(read_capture(edited), output, DRAFT, embedder)
    assert embedder.found == embedder.mapped == [name]
    assert "match" not in report.cached
    run(read_capture(edited), tmp_path / "fresh", DRAFT)
    assert digests(output) == digests(tmp_path / "fresh")


def test_a_mask_replaced_asks_no_network(capture, draft, tmp_path):
    edited, output = tmp_path / "capture", tmp_path / "out"
    shutil.copytree(draft, output)
    shutil.copytree(capture.path, edited)
    path = edited / "masks" / f"{SCENE.names[0]}.png"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    mask[: len(mask) // 2] = 0
    cv2.imwrite(str(path), mask)
    embedder = CountingEmbedder()
    run(read_capture(edited), output, DRAFT, embedder)
    assert embedder.found == embedder.mapped == []
    run(read_capture(edited), tmp_path / "fresh", DRAFT)
    assert digests(output) == digests(tmp_path / "fresh")


def test_other_weights_are_asked_anew_and_those_unknown_always(capture, output, whole):
    embedder = CountingEmbedder("second")
    run(capture, output, DRAFT, embedder)
    assert sorted(embedder.mapped) == sorted(SCENE.names)
    unknown = CountingEmbedder(None)
    run(capture, output, DRAFT, unknown)
    report = run(capture, output, DRAFT, unknown)
    assert len(unknown.mapped) == 2 * len(SCENE.names)
    assert report.cached == {}
    assert record(output)["embedder_identity"] is None


def test_from_a_stage_on(capture, output, whole, sharpened):
    embedder = CountingEmbedder()
    report = run(capture, output, cached(FINE, start="refine"), embedder)
    assert sharpened == list(range(len(SCENE.names)))
    assert embedder.mapped == []
    assert [stage for stage in STAGES if stage not in report.cached] == ["refine", "mesh"]
    assert digests(output) == digests(whole)
    report = run(capture, output, cached(DRAFT, start="embed"), embedder)
    assert report.cached == {}
    assert sorted(embedder.mapped) == sorted(SCENE.names)
    with pytest.raises(ValueError, match=r"from must be one of embed, pairs, .*, got lunch"):
        run(capture, output, cached(FINE, start="lunch"))


def test_what_is_kept_is_as_said(capture, output, whole, tmp_path):
    some = sum(path.stat().st_size for path in entries(whole, least=0))
    run(capture, tmp_path / "none", cached(DRAFT, keep="none"), until="match")
    assert entries(tmp_path / "none", least=0) == []
    run(capture, output, cached(FINE, keep="all", force=True))
    assert sum(path.stat().st_size for path in entries(output, least=0)) > 1.5 * some
    # What no longer belongs goes when a run has ended.
    run(capture, output, cached(replace(FINE, mesh=MeshOptions(depth=4)), keep="some"))
    assert len(entries(output, least=0)) == len(entries(whole, least=0))
