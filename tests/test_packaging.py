"""The wheel and the sdist hold what is needed and nothing else; the image installs the same."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from mvs import record

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOP = ("pyproject.toml", "README.md", "LICENSE", "CONTRIBUTING.md")
FOLDERS = ("calib", "mvs", "tests", "bin", "data_samples")
BUILT = ("__pycache__", "*.egg-info", "*.nbi", "*.nbc", "*.pyc")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist of a copy, as a build frontend would make them without isolation."""
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in TOP:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*BUILT))
    script = (
        "import sys; sys.path.insert(0, 'bin'); import build_backend as b; "
        "out = sys.argv[1]; b.build_sdist(out); b.build_wheel(out)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(built / "site")
        return set(archive.namelist())


def files_of(folder):
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix() for path in found}
    return {n for n in names if not re.search(r"__pycache__|\.egg-info|\.nb[ic]$|\.pyc$", n)}


def test_the_wheel_holds_the_packages_and_their_data_and_nothing_else(wheel):
    info = {name for name in wheel if ".dist-info/" in name}
    assert wheel - info == files_of("calib") | files_of("mvs")
    for name in ("mvs/network/weights/compact.safetensors", "mvs/py.typed", "calib/py.typed"):
        assert name in wheel
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_the_sdist_holds_tests_and_the_sample_too(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    for folder in FOLDERS:
        assert files_of(folder) <= names
    assert set(TOP) <= names


def test_what_was_installed_runs_away_from_the_repository(built, wheel, tmp_path):
    entry = (built / "site").glob("*.dist-info/entry_points.txt")
    text = next(entry).read_text()
    assert "mvs = mvs.cli.main:main" in text
    assert "headmvs = mvs.cli.main:main" in text
    script = (
        "import mvs, sys; from mvs.cli.main import run; from mvs.evaluation import doctor; "
        "print(mvs.__file__); reason = doctor._check_network(); print(reason or 'well'); "
        "sys.exit(run(['weights', 'card', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(built / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    where, network, *_ = done.stdout.splitlines()
    assert where == str(built / "site" / "mvs" / "__init__.py")
    assert network == "well"


def test_the_version_stands_in_one_place():
    version = PROJECT["project"]["version"]
    files = [*(ROOT / "calib").rglob("*.py"), *(ROOT / "mvs").rglob("*.py")]
    assert not [f for f in files if re.search(r"^__version__", f.read_text(), re.M)]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_the_image_installs_what_the_set_up_does():
    """Neither may need what the other lacks."""
    docker = (ROOT / "bin" / "Dockerfile").read_text()
    setup = (ROOT / "bin" / "setup").read_text()
    wanted = set(re.findall(r'"lib[^"]+": "([^"]+)"', setup))
    installed = re.search(r"--no-install-recommends ([^\\\n]+)", docker)[1].split()
    assert wanted == set(installed)
    torch = re.search(r"^torch=(\S+)", setup, re.M)[1]
    assert f"pip install --no-cache-dir {torch} " in docker
    assert torch in (ROOT / "README.md").read_text()
    extras = re.search(r"ARG EXTRAS=(\S+)", docker)[1].split(",")
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    copied = {
        name for line in re.findall(r"^COPY (.*) \S+$", docker, re.M) for name in line.split()
    }
    kept = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.M))
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


# Modules that Windows lacks; what needs one has to do without it elsewhere.
UNIX = r"^(?:import|from) (resource|fcntl|pwd|grp|termios|pty|posix)\b"


def test_nothing_is_imported_that_only_unix_has():
    for file in [*(ROOT / "calib").rglob("*.py"), *(ROOT / "mvs").rglob("*.py")]:
        assert not re.findall(UNIX, file.read_text(encoding="utf-8"), re.M), file


class Kernel32:
    """Windows' library as ctypes shows it; its answer holds a peak of 123 MiB."""

    def __init__(self, name):
        assert name == "kernel32"

    class GetCurrentProcess:
        restype = None

        def __new__(cls):
            return 1

    class K32GetProcessMemoryInfo:
        argtypes = None

        def __new__(cls, _process, answer, size):
            assert size == 8 + 8 * ctypes.sizeof(ctypes.c_size_t)
            peak = ctypes.c_size_t.from_buffer(answer._obj, 8)
            peak.value = 123 << 20
            return 1


def test_peak_memory_on_a_system_without_resource(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.delattr(ctypes, "WinDLL", raising=False)
    assert record.peak_memory_mb() == 0.0
    monkeypatch.setattr(ctypes, "WinDLL", Kernel32, raising=False)
    assert record.peak_memory_mb() == 123.0
