"""A capture and runs on it that were not interrupted."""

import shutil

import pytest

import mvs.stages.refine as refine_stage
from tests.runs.runs import (
    DRAFT,
    run,
    write_scene,
)


@pytest.fixture(scope="package")
def capture(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("survival") / "capture")


@pytest.fixture(scope="package")
def whole(capture, tmp_path_factory):
    """An uninterrupted run, its folder kept as it was."""
    output = tmp_path_factory.mktemp("whole") / "out"
    run(capture, output)
    return output


@pytest.fixture(scope="package")
def draft(capture, tmp_path_factory):
    output = tmp_path_factory.mktemp("draft") / "out"
    run(capture, output, DRAFT)
    return output


@pytest.fixture
def output(whole, tmp_path):
    """A copy of the uninterrupted run."""
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def sharpened(monkeypatch):
    """Views that refinement really sharpens."""
    views, sharpen = [], refine_stage._refine_view

    def counted(start, view, *rest):
        views.append(view)
        return sharpen(start, view, *rest)

    monkeypatch.setattr(refine_stage, "_refine_view", counted)
    return views
