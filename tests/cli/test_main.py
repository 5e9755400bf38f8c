"""The command line itself: help at once, one line for what is wrong, exit codes."""

import subprocess
import sys

import pytest

from mvs.cli import main

HEAVY = ("torch", "open3d", "numba", "scipy", "pycolmap", "cv2", "tyro", "rich", "numpy")


def run(capfd, *arguments):
    code = main.run(list(arguments))
    out, err = capfd.readouterr()
    return code, out, err


def test_help_names_every_command(capfd):
    code, out, err = run(capfd, "--help")
    assert (code, err) == (0, "")
    for name, command in main.COMMANDS.items():
        assert f"  {name} " in out
        assert command.summary in out


def test_help_imports_nothing_heavy():
    """What makes it answer at once."""
    script = f"""
import sys
from mvs.cli.main import run
run(["--help"])
print(sorted(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_every_command_has_help(capfd, name):
    code, out, err = run(capfd, *name.split(), "--help")
    assert (code, err) == (0, "")
    assert f"usage: mvs {name}" in out


def test_nothing_at_all_shows_the_commands(capfd):
    code, out, _ = run(capfd)
    assert code == 2
    assert "reconstruct" in out


def test_a_group_lists_its_commands(capfd):
    code, out, _ = run(capfd, "weights", "--help")
    assert code == 0
    assert "weights fetch" in out
    assert "reconstruct" not in out


def test_version(capfd):
    code, out, _ = run(capfd, "--version")
    assert code == 0
    assert out.startswith("headmvs ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["reconstrct"], "no command 'reconstrct'"),
        (["weights", "burn"], "no command 'weights burn'"),
        (["reconstruct"], "required"),
        (["reconstruct", "a", "--output", "b", "--stride", "2"], "stride"),
        (["reconstruct", "a", "--output", "b", "--until", "lunch"], "lunch"),
        (["reconstruct", "a", "--output", "b", "--match.stride", "many"], "many"),
        (["reconstruct", "a", "--output", "b", "--match.stride", "0"], "stride"),
        (["synthesize", "capture", "--head", "h", "--output", "o", "--size", "3"], "size"),
        (["calib", "inspect", "a", "--format", "x"], "one of bundler, cameras, colmap, metashape,"),
        (["train", "--data", "/nowhere", "--output", "/dev/null/x"], "/nowhere"),
    ],
)
def test_bad_arguments_get_one_line(capfd, arguments, says):
    code, out, err = run(capfd, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("mvs: ")
    assert err.count("\n") == 1
    assert says in err


def test_the_model_card_is_printed(capfd):
    code, out, _ = run(capfd, "weights", "card")
    assert code == 0
    assert "licence" in out.lower()
