"""The report's text: well-formed, self-contained, safe, and saying what the run says."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from calib.capture import CaptureError
from calib.formats import read_capture
from calib.write import write_capture
from mvs.cli import main
from mvs.folder import claimed
from mvs.pipeline import PRESETS
from mvs.viewer.report import remake_report, write_report
from tests.viewer.ball_run import NAMES, make_capture, make_run

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Elements with their attributes and text; complains of what is not closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.faults = [], [], []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> not closed" for tag, _ in self.open]

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append((tag, element))

    def handle_startendtag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})

    def handle_endtag(self, tag):
        if not self.open or self.open[-1][0] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        for _, element in self.open:
            element["text"] += data

    def all(self, tag):
        return [element for element in self.elements if element["tag"] == tag]

    def by_id(self, name):
        return next(element for element in self.elements if element.get("id") == name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ball")
    capture = make_capture(folder / "capture")
    write_report(capture, make_run(folder / "run", capture))
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "run" / "report.html").read_text(encoding="utf-8"))


def numbers(page):
    return page.by_id("surface-data"), json.loads(page.by_id("surface-data")["text"])


def test_the_page_is_well_formed_and_can_be_found_around_in(page):
    assert page.faults == []
    assert [e["text"] for e in page.all("h1")] == ["capture"]
    titles = ["What to look at", "Surface", "Views", "Coverage", "Errors and confidence"]
    assert [e["text"] for e in page.all("h2")] == [*titles, "Stages", "To run it again"]
    ids = [e["id"] for e in page.elements if "id" in e]
    assert len(ids) == len(set(ids))
    assert all(e.get("aria-labelledby") in ids for e in page.all("section"))
    assert all(len(e.get("alt", "")) > 5 for e in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) >= 4
    assert all(e["scope"] in ("row", "col") for e in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


def test_nothing_is_fetched_and_only_its_own_script_may_run(page, folder):
    text = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    for element in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (element.get(name) or "data:").startswith("data:")
        assert not [name for name in element if name.startswith("on")]
    (script,) = [e for e in page.all("script") if e.get("type") != "application/json"]
    digest = base64.b64encode(hashlib.sha256(script["text"].encode()).digest()).decode()
    policy = next(e["content"] for e in page.all("meta") if "http-equiv" in e)
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_names_are_text_and_nothing_else(page):
    """Neither elements nor attributes nor placeholders come of them."""
    shown = [e["text"] for e in page.all("figcaption")]
    for name in NAMES:
        assert any(text.startswith(name.replace("/", "-")) for text in shown), name
    # Eight stills, six inputs, two maps.
    assert len(page.all("img")) == 16
    assert len(page.all("script")) == 3
    cameras = json.loads(page.by_id("camera-data")["text"])
    assert [camera["name"] for camera in cameras] == [name.replace("/", "-") for name in NAMES]
    assert "<b>x</b>" in next(e["text"] for e in page.all("li"))


def test_it_says_what_the_run_says(page, folder):
    record = json.loads((folder / "run" / "run.json").read_text())
    body = re.sub(r"\s+", " ", page.all("main")[0]["text"])
    for name in ("matches", "points", "faces"):
        assert f"{record['counts'][name]:,}" in body
    for said in ("61.5 s", "6.5 s", "64.8 s", "1,234 MB", "median 1.37 px, 95 % below 3.80 px"):
        assert said in body
    assert "1 min 5 s" in body
    # The warning, and that a ball has hardly a face.
    assert "2 things to look at" in body
    assert "Look at these views below" in body
    for digest in record["inputs"].values():
        assert digest in body
    sheet = [text for text in (e["text"] for e in page.all("figcaption")) if "Look from" in text]
    assert len(sheet) == 6
    n = record["counts"]["points"]
    for k, text in enumerate(sheet):
        assert f"points{len(range(0, n, k + 1)):,}" in text
        assert f"confidence{0.5 + 0.01 * k:.2f}" in text
        assert f"likeness{1 - 0.1 - 0.01 * k:.2f}" in text
        assert ("head not found" in text) == (k == 5)
        assert ("mask keeps50%" in text) == (k == 0)


def test_the_command_is_that_of_the_run(page):
    (command,) = [e["text"] for e in page.all("code")]
    assert command.startswith("mvs reconstruct ")
    assert command.endswith("/run --quality fast")


def test_the_command_says_nothing_of_what_an_earlier_run_left(tmp_path):
    """How much was taken over changes no result, and --cache.force is no option."""
    capture = make_capture(tmp_path / "capture")
    cache = {"force": True, "start": "fuse", "keep": "all", "is_used": True}
    options = dataclasses.asdict(PRESETS["fast"]) | {"cache": cache}
    run = make_run(tmp_path / "run", capture, options=options)
    page = Page(write_report(capture, run).read_text(encoding="utf-8"))
    (command,) = [e["text"] for e in page.all("code")]
    assert command.endswith("/run --quality fast")


@pytest.mark.parametrize("refined", ["all", "3 of 7"])
def test_stages_of_an_earlier_run_are_named(tmp_path, refined):
    capture = make_capture(tmp_path / "capture")
    cached = {"embed": "all", "refine": refined}
    run = make_run(tmp_path / "run", capture, cached=cached)
    body = Page(write_report(capture, run).read_text(encoding="utf-8")).all("body")[0]["text"]
    assert "embed (from an earlier run)" in body
    assert ("; all of it from an earlier run." in body) == (refined == "all")
    assert ("refine (3 of 7 from an earlier run)" in body) == (refined != "all")


def test_the_spacing_of_the_points_is_in_millimetres(page, folder):
    """A ball of 1 cm has 4 pi cm^2."""
    n = json.loads((folder / "run" / "run.json").read_text())["counts"]["points"]
    expected = 10 * np.sqrt(4 * np.pi / n)
    said = re.search(r"points, ([\d.]+) mm apart", page.all("header")[0]["text"])
    assert abs(float(said[1]) - expected) < 0.011


def test_the_same_run_gives_the_same_bytes(folder):
    path = folder / "run" / "report.html"
    before = path.read_bytes()
    assert write_report(make_capture(folder / "capture"), folder / "run") == path
    assert path.read_bytes() == before
    assert len(before) < 1_500_000


@pytest.mark.parametrize("until", ["embed", "triangulate"])
def test_runs_that_stopped_early_have_reports(tmp_path, until):
    capture = make_capture(tmp_path / "capture")
    files = [] if until == "embed" else ["points.ply"]
    run = make_run(tmp_path / "run", capture, files=files, until=until, notes={})
    (run / "cloud.ply").rename(run / "points.ply")
    page = Page(write_report(capture, run).read_text(encoding="utf-8"))
    assert page.faults == []
    assert f"stop after {until}" in page.by_id("look")["text"] + page.all("main")[0]["text"]
    # Without a mesh there is nothing to draw from four sides.
    maps = 0 if until == "embed" else 2
    assert len(page.all("img")) == 6 + maps
    packed = [e for e in page.elements if e.get("id") == "surface-data"]
    assert [json.loads(e["text"])["faces"] for e in packed] == [0] * len(files)


def test_results_that_are_gone_are_named(tmp_path):
    capture = make_capture(tmp_path / "capture")
    run = make_run(tmp_path / "run", capture)
    (run / "mesh.ply").unlink()
    (run / "cloud.ply.vis").write_bytes(b"\1\0\0\0\0\0\0\0\7\0\0\0")
    page = Page(write_report(capture, run).read_text(encoding="utf-8"))
    assert page.faults == []
    said = "No longer there, or damaged: mesh.ply, cloud.ply.vis"
    assert said in page.all("main")[0]["text"]
    assert not [e for e in page.all("figcaption") if "points" in e["text"] and "Look" in e["text"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("[]", "is of no reconstruction"),
        ('{"capture": "x", "unit": "cm"}', "lacks options, versions"),
    ],
)
def test_folders_without_a_run_are_refused(tmp_path, text, says):
    capture = make_capture(tmp_path / "capture")
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(CaptureError, match=says):
        write_report(capture, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_another_capture_is_refused(tmp_path):
    capture = make_capture(tmp_path / "capture")
    run = make_run(tmp_path / "run", capture)
    other = dataclasses.replace(capture, views=capture.views[:-1])
    with pytest.raises(CaptureError, match="6 views that are not those of"):
        write_report(other, run)


def test_the_command_makes_it_again(tmp_path, capfd):
    names = [f"{k}.png" for k in range(4)]
    capture = make_capture(tmp_path / "a", names)
    write_capture(tmp_path / "a", capture, pictures="none")
    run = make_run(tmp_path / "run", read_capture(tmp_path / "a"))
    assert main.run(["report", str(run)]) == 0
    assert capfd.readouterr().out.strip() == str(run / "report.html")
    before = (run / "report.html").read_bytes()
    assert b"changed since" not in before
    (tmp_path / "a").rename(tmp_path / "b")
    assert main.run(["report", str(run)]) == 2
    assert "name it with --capture" in capfd.readouterr().err
    assert main.run(["report", str(run), "--capture", str(tmp_path / "b")]) == 0
    # The same page of the same run, but for the folder's name.
    after = (run / "report.html").read_bytes()
    assert after.replace(b"<h1>b</h1>", b"<h1>a</h1>").replace(b">b - ", b">a - ") == before


def test_it_is_not_written_while_a_run_is_at_work(tmp_path, capfd):
    """Nor is the texture of a mesh that may go."""
    capture = make_capture(tmp_path / "a", [f"{k}.png" for k in range(4)])
    write_capture(tmp_path / "a", capture, pictures="none")
    run = make_run(tmp_path / "run", read_capture(tmp_path / "a"))
    with claimed(run):
        assert main.run(["report", str(run)]) == 2
        assert "another run is writing here" in capfd.readouterr().err
        assert main.run(["texture", str(tmp_path / "a"), str(run), "--output", str(run)]) == 2
        assert "another run is writing here" in capfd.readouterr().err
    assert not {"report.html", "textured.ply"} & {path.name for path in run.iterdir()}


def test_pictures_that_changed_since_are_named(tmp_path):
    names = [f"{k}.png" for k in range(4)]
    capture = make_capture(tmp_path / "a", names)
    run = make_run(tmp_path / "run", capture)
    path = capture.views[2].image_path
    path.write_bytes(capture.views[1].image_path.read_bytes())
    page = remake_report(capture, run).read_text(encoding="utf-8")
    assert "1 views have changed since the run: 2.png" in page
    assert "Reconstruct again" in page


def test_options_that_differ_from_the_presets_are_in_the_command(tmp_path):
    capture = make_capture(tmp_path / "capture")
    options = dataclasses.asdict(PRESETS["balanced"])
    options["match"]["stride"] = 3
    options["mesh"]["depth"] = None
    run = make_run(tmp_path / "run", capture, options=options, until="refine", embedder="none")
    (command,) = [
        e["text"] for e in Page(write_report(capture, run).read_text("utf-8")).all("code")
    ]
    assert command.endswith(
        "--embedder none --quality balanced --match.stride 3 --mesh.depth None --until refine"
    )
    draft = dataclasses.asdict(PRESETS["draft"])
    run = make_run(tmp_path / "run", capture, options=draft)
    assert "--quality draft</code>" in write_report(capture, run).read_text("utf-8")
