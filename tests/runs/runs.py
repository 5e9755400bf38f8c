"""A capture whose embedder counts what it is asked, and deaths at chosen writes."""

import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path

from calib.formats import read_capture
from mvs.cache import CacheOptions
from mvs.pipeline import PipelineOptions, reconstruct
from mvs.stages.embed import EmbedOptions
from mvs.stages.mesh import MeshOptions
from mvs.stages.refine import RefineOptions
from tests.scenes import make_scene, write_capture
from tests.stages.test_embed import ExactEmbedder

SCENE = make_scene(4, 112)
ONE_BY_ONE = EmbedOptions(threads=1)
REFINE = RefineOptions(n_sources=2, coarse_steps="S", steps="S", n_best=1)
DRAFT = PipelineOptions(embed=ONE_BY_ONE, mesh=MeshOptions(depth=5))
FINE = PipelineOptions(embed=ONE_BY_ONE, refine=REFINE, mesh=MeshOptions(depth=5))
CLOUDS = ("points.ply", "cloud.ply", "cloud.ply.vis", "mesh.ply")


class CountingEmbedder(ExactEmbedder):
    """Notes the questions it is asked; says what its answers hang on."""

    size = 64

    def __init__(self, weights="first", **how):
        super().__init__(SCENE, **how)
        self.weights, self.found, self.mapped = weights, [], []

    def identity(self, name):
        return self.weights

    def find_head(self, image, name=None):
        self.found.append(name)
        return super().find_head(image, name)

    def embed(self, image, region=None, name=None):
        self.mapped.append(name)
        return super().embed(image, region, name)


def record(output):
    return json.loads((output / "run.json").read_text())


class Dead(BaseException):
    """The process was killed."""


def write_scene(folder):
    write_capture(SCENE, folder)
    return read_capture(folder)


def run(capture, output, options=FINE, embedder=None, **more):
    return reconstruct(capture, embedder or CountingEmbedder(), output, options, **more)


def cached(options, **how):
    from dataclasses import replace

    return replace(options, cache=CacheOptions(**how))


def digests(output, names=CLOUDS):
    """Of the results that are there."""
    paths = [output / name for name in names if (output / name).exists()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def shown(output):
    """Names of the files that users see."""
    return sorted(path.name for path in output.iterdir() if not path.name.startswith("."))


def entries(output, stage="", least=10_000):
    """Files of the stages' results that are larger than a note."""
    found = (output / ".stages").glob(f"{stage}*.stage")
    return sorted(path for path in found if path.stat().st_size >= least)


@contextmanager
def dying(monkeypatch, n_writes):
    """The process dies once it has written so many results or entries, at its next step on disk.

    Nothing is written, moved or removed afterwards, also by what cleans up.
    """
    replace, unlink = Path.replace, Path.unlink
    state = {"left": n_writes}

    def step(do, path, *arguments, **how):
        if state["left"] <= 0:
            raise Dead
        done = do(path, *arguments, **how)
        if arguments:
            state["left"] -= arguments[0].suffix == ".stage" or arguments[0].parent.name == "out"
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda path, target: step(replace, path, target))
        patched.setattr(Path, "unlink", lambda path, **how: step(unlink, path, **how))
        yield


@contextmanager
def full_disk(monkeypatch, n_writes):
    """After so many files the disk is full."""
    fsync = os.fsync
    left = [n_writes]

    def write(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", write)
        yield
