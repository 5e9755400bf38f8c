"""The command line itself: help at once, one line for what is wrong, exit codes."""

import os
import pty
import re
import shlex
import subprocess
import sys

import pytest

from mvs.cli import main, weights_card
from mvs.cli.examples import EXAMPLES
from mvs.cli.parse import parse

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
        (["reconstrct"], "no command 'reconstrct'; did you mean reconstruct?"),
        (["weights", "burn"], "no command 'weights burn'"),
        (["calib", "inpect", "x"], "no command 'calib inpect'; did you mean calib inspect?"),
        (["landmarks", "x"], "did you mean canonical landmarks?"),
        (["xyzzy"], "mvs --help lists them"),
        (["reconstruct", "a", "--output", "b", "--qualty", "best"], "did you mean --quality?"),
        (["reconstruct", "a", "--output", "b", "--match.strid=2"], "did you mean --match.stride?"),
        (["reconstruct", "a", "b", "--output", "o"], "unexpected b;"),
        (["reconstruct", "--output", "o"], "CAPTURE is required"),
        (["reconstruct"], "CAPTURE and --output are required"),
        (["embed", "a", "--output", "b", "--json", "f.json"], "--json alone prints to stdout"),
        (["embed", "a", "--output", "b", "--threads", "1.5"], "must be a whole number, got '1.5'"),
        (["weights", "fetch", "x"], "one of densemarks;"),
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


@pytest.mark.parametrize("name", list(main.COMMANDS))
def test_every_help_ends_with_examples_that_can_be_run(capfd, name):
    """A command without an example in mvs/cli/examples.py has none to show."""
    code, out, _ = run(capfd, *name.split(), "--help")
    assert code == 0
    assert "--config FILE.toml" in out
    end = out.partition("\nexamples:\n")[2]
    assert end == "".join(f"  {line}\n" for line in EXAMPLES[name])
    for line in EXAMPLES[name]:
        words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
        if words[: len(name.split())] == name.split() and name != "config show":
            module = main.importlib.import_module(main.COMMANDS[name].module)
            parse(name, module, words[len(name.split()) :], None, list(main.COMMANDS))


def test_help_names_exit_codes_and_the_options_of_all(capfd):
    _, out, _ = run(capfd, "--help")
    for words in ("exit codes: 0 done; 1 failed", "2 bad input; 130", "--json", "NO_COLOR"):
        assert words in out


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (KeyError("x"), 1, r"KeyError: 'x' \(.*, line \d+\); this is a bug: please report what"),
        (MemoryError(), 1, "out of memory; "),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("two\nlines"), 2, "two lines"),
        (PermissionError(13, "Permission denied", "f.ply"), 2, "f.ply: Permission denied"),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_a_code(capfd, monkeypatch, raised, code, says):
    def fail(options):
        raise raised

    monkeypatch.setattr(weights_card, "run", fail)
    monkeypatch.delenv("MVS_DEBUG", raising=False)
    assert run(capfd, "weights", "card")[0] == code
    found, out, err = run(capfd, "weights", "card")
    assert (found, out) == (code, "")
    assert re.fullmatch(f"mvs: {says}.*\n", err)
    found, _, err = run(capfd, "weights", "card", "--debug")
    assert found == code
    is_exception = isinstance(raised, Exception)
    assert ("Traceback" in err) == is_exception
    assert err.splitlines()[-1].startswith("mvs: ")


def test_a_reader_that_leaves_is_no_error():
    script = "from mvs.cli.main import main; main(['weights', 'card'])"
    with subprocess.Popen(
        [sys.executable, "-c", f"input(); {script}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


# A table, bars and a warning, as commands show them.
SHOW = """
from mvs.cli.show import progress_bars, table, warn
with progress_bars(False) as progress:
    progress("stage", 0, 2)
    progress("stage", 2, 2)
table("title", ("name", "n"), [("a/long/path" * 12, "1")])
warn(["careful"])
"""
COLOURS = {"NO_COLOR": None, "FORCE_COLOR": None, "TERM": "xterm", "COLUMNS": None}


def environment(**changed):
    changed = COLOURS | changed
    return {k: v for k, v in (os.environ | changed).items() if v is not None}


@pytest.mark.parametrize("colour", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}])
def test_no_bars_in_a_pipe_and_colours_only_where_they_are_forced(colour):
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        env=environment(**colour),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "warning: careful\n"
    assert ("\x1b" in done.stdout) == ("FORCE_COLOR" in colour)
    # Nothing is folded: one line per row.
    assert "a/long/path" * 12 in done.stdout


def test_bars_and_colours_on_a_terminal_and_none_of_the_latter_with_no_color():
    colour = re.compile(r"\x1b\[[\d;]*3\dm")
    with_colour = on_a_terminal([sys.executable, "-c", SHOW])
    assert "stage" in with_colour
    assert colour.search(with_colour)
    without = on_a_terminal([sys.executable, "-c", SHOW], NO_COLOR="1")
    assert "stage" in without
    assert not colour.search(without)
    helped = [sys.executable, "-m", "mvs", "doctor", "--help"]
    assert "\x1b" in on_a_terminal(helped)
    assert "\x1b" not in on_a_terminal(helped, NO_COLOR="1")


def on_a_terminal(words, **changed):
    """What a program shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, env=environment(**changed), stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:
                break
            if not more:
                break
            shown += more
        assert child.wait() == 0
    os.close(ours)
    return shown.decode()
