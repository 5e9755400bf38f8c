"""``--json``: one document on stdout and nothing else there, whatever the command prints."""

import json

import numpy as np
import pytest

from mvs.canonical.template import load_template
from mvs.cli import main, weights_card
from mvs.cli.show import deliver, plain_json, table, warn
from mvs.stages.ply import write_properties


def run(capfd, *words):
    code = main.run([str(word) for word in words])
    out, err = capfd.readouterr()
    return code, json.loads(out), err


@pytest.fixture
def head(tmp_path):
    """A mesh of the template."""
    template = load_template()
    columns = dict(zip("xyzuvw", [*template.coords.T] * 2, strict=True))
    with (tmp_path / "mesh.ply").open("wb") as stream:
        write_properties(stream, columns, template.faces)
    return tmp_path / "mesh.ply"


def test_what_was_written_is_named(capfd, head, tmp_path):
    out = tmp_path / "marks"
    words = ["canonical", "landmarks", head, "--output", out, "--layout", "5"]
    code, document, _ = run(capfd, *words, "--json")
    assert code == document["exit_code"] == 0
    assert document["command"] == "canonical landmarks"
    assert document["files"] == [str(out / "landmarks.csv"), str(out / "landmarks.json")]
    assert document["warnings"] == []
    assert main.run([str(word) for word in words]) == 0
    assert capfd.readouterr().out == f"{out}/landmarks.csv\n{out}/landmarks.json\n"
    assert main.run([*map(str, words), "--quiet"]) == 0
    assert capfd.readouterr().out == ""


def test_results_are_those_of_the_command(capfd):
    code, document, err = run(capfd, "--json", "weights", "card")
    assert code == 0
    assert document["results"]["card"] in err
    assert document["files"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reconstruct", "nowhere", "--output", "o"], "nowhere: no such folder or file"),
        (["reconstruct", "--output", "o"], "CAPTURE is required"),
        (["export", "nowhere", "--output", "a.glb"], "nowhere"),
    ],
)
def test_an_error_is_in_the_document_and_on_stderr(capfd, words, says):
    code, document, err = run(capfd, *words, "--json")
    assert code == document["exit_code"] == 2
    assert says in document["error"]
    assert err == f"mvs: {document['error']}\n"


def test_a_command_that_names_no_results_gives_its_tables(capfd, monkeypatch):
    def show(options):
        print("text")
        table("title", ("name", "n"), [("a", "1")])
        warn(["careful"])
        return 1

    monkeypatch.setattr(weights_card, "run", show)
    code, document, err = run(capfd, "weights", "card", "--json")
    assert code == document["exit_code"] == 1
    assert document["results"] == {
        "tables": [{"title": "title", "header": ["name", "n"], "rows": [["a", "1"]]}]
    }
    assert document["warnings"] == ["careful"]
    assert err.startswith("text\n")
    assert "warning: careful\n" in err


def test_quiet_silences_the_text_and_not_the_document(capfd, monkeypatch, tmp_path):
    from mvs.cli import embed

    def show(options):
        if not options.quiet:
            print("text")
            warn(["careful"])
        deliver({"n": np.float32(0.5), "far": float("inf"), "path": tmp_path})

    monkeypatch.setattr(embed, "run", show)
    code, document, err = run(capfd, "embed", "a", "--output", "b", "--quiet", "--json")
    assert (code, err) == (0, "")
    assert document["results"] == {"n": 0.5, "far": None, "path": str(tmp_path)}
    assert document["warnings"] == ["careful"]


def test_help_stays_help(capfd):
    assert main.run(["embed", "--help", "--json"]) == 0
    assert "usage: mvs embed" in capfd.readouterr().out


def test_a_file_takes_the_results_alone(capfd, tmp_path):
    """The commands that measure have --json FILE besides; doctor stands for them."""
    from mvs.evaluation import doctor

    checks = dict(list(doctor._CHECKS.items())[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "_CHECKS", checks)
        assert main.run(["doctor", "--json", str(tmp_path / "d.json")]) == 0
        capfd.readouterr()
        code, document, _ = run(capfd, "doctor", "--json")
    written = json.loads((tmp_path / "d.json").read_text())
    assert code == 0
    assert written.keys() == document["results"].keys() == {"machine", "libraries", "checks"}
    assert written["libraries"] == document["results"]["libraries"]


def test_what_json_cannot_say():
    found = plain_json({"a": (1, np.arange(2)), 3: float("nan"), "b": np.bool_(True)})
    assert found == {"a": [1, [0, 1]], "3": None, "b": True}
