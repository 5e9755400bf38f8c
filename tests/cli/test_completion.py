"""Completion as a shell does it: bash runs the script."""

import shutil
import subprocess

import pytest

from mvs.cli import main
from mvs.cli.completion import known_words
from mvs.cli.completion_scripts import SCRIPTS


@pytest.fixture(scope="module")
def words():
    return known_words()


@pytest.fixture(scope="module")
def complete_with(tmp_path_factory):
    """What bash offers after a line, by the script of given words."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")

    def load(words):
        script = tmp_path_factory.mktemp("completion") / "mvs.bash"
        script.write_text(SCRIPTS["bash"](words))
        return lambda *line: offers(script, line)

    return load


@pytest.fixture(scope="module")
def bash(complete_with, words):
    return complete_with(words)


def offers(script, line):
    ask = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mvs; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-eu", "-c", ask, "bash", str(script), *line],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_commands(bash):
    assert bash("mvs", "ca") == {"calib", "canonical"}
    assert bash("mvs", "calib", "") == {
        n.split()[1] for n in main.COMMANDS if n.startswith("calib ")
    }
    assert bash("mvs", "calib", "ins") == {"inspect"}


def test_bash_completes_options_and_choices(bash):
    assert bash("mvs", "reconstruct", "head", "--q") == {"--quality", "--quiet"}
    assert bash("mvs", "reconstruct", "head", "--quality", "b") == {"balanced", "best"}
    assert "--mesh.max-faces" in bash("mvs", "reconstruct", "--mesh.")
    assert bash("mvs", "calib", "scale", "x", "--unit", "") == {"m", "cm", "mm"}
    assert bash("mvs", "weights", "fetch", "") == {"densemarks"}
    assert "--config" in bash("mvs", "embed", "--c")


def test_bash_leaves_files_to_itself(bash):
    assert bash("mvs", "reconstruct", "") == set()
    assert bash("mvs", "reconstruct", "head", "--output", "") == set()


def test_bash_tells_a_command_from_those_that_begin_with_it(complete_with):
    words = {"batch": {"--all": None}, "batch plan": {"--workers": ()}, "other": {"--x": None}}
    complete = complete_with(words)
    assert complete("mvs", "batch", "") == {"plan"}
    assert complete("mvs", "batch", "--") == {"--all"}
    assert complete("mvs", "batch", "rig", "--") == {"--all"}
    assert complete("mvs", "batch", "plan", "--") == {"--workers"}
    assert complete("mvs", "other", "--") == {"--x"}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_script_knows_every_command_and_option(words, shell):
    script = SCRIPTS[shell](words)
    for name, options in words.items():
        assert name in script
        for flag in filter(None, options):
            assert flag in script or f"-l {flag[2:]}" in script


def test_the_command_prints_the_script(capfd, words):
    assert main.run(["completion", "bash"]) == 0
    assert capfd.readouterr().out == SCRIPTS["bash"](words)
    assert main.run(["completion", "tcsh"]) == 2
    assert "one of bash, zsh, fish" in capfd.readouterr().err
