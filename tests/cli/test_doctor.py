"""What ``mvs doctor`` says of a machine that works, and of one that does not."""

import json

from mvs.cli.main import run
from mvs.evaluation import doctor


def test_a_machine_that_passes_tests_is_well(tmp_path, capsys):
    assert run(["doctor", "--json", str(tmp_path / "d.json")]) == 0
    out = capsys.readouterr().out
    assert "FAILED" not in out
    found = json.loads((tmp_path / "d.json").read_text())
    assert [check["is_well"] for check in found["checks"]] == [True] * len(found["checks"])
    assert len(found["checks"]) == 5
    assert found["libraries"]["numpy"] in out
    assert "cores" in found["machine"]["processor"]


def test_what_fails_is_named_and_the_rest_is_tried(monkeypatch, capsys):
    def broken():
        raise OSError("libGL.so.1: cannot open shared object file")

    checks = {"mesher (Open3D)": broken, "cameras (pycolmap)": doctor._CHECKS["cameras (pycolmap)"]}
    checks["wrong"] = lambda: "a point came back 1 off"
    monkeypatch.setattr(doctor, "_CHECKS", checks)
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  mesher (Open3D)" in out
    assert "OSError: libGL.so.1: cannot open shared object file" in out
    assert "ok      cameras (pycolmap)" in out
    assert "FAILED  wrong" in out
