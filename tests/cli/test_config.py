"""Options from a file: what goes before what, what is refused, and that what is shown is read."""

import importlib
import re
import tomllib
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from mvs.cli import main
from mvs.cli.config import read_settings
from mvs.cli.config_show import settings_text
from mvs.cli.fields import convert, describe_fields, list_options
from mvs.cli.parse import Stop, parse, split_common

WITH_OPTIONS = [name for name in main.COMMANDS if name != "config show"]


def module_of(name):
    return importlib.import_module(main.COMMANDS[name].module)


def parsed(name, words, config=None):
    return parse(name, module_of(name), [str(w) for w in words], config, list(main.COMMANDS))


def required_words(name):
    """Words that give a command what has to be given."""
    words = []
    for option in list_options(module_of(name).Options):
        if option.default is MISSING:
            value = option.choices[0] if option.choices else "some.where"
            words += [value] if option.metavar else [option.flag, value]
    return words


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "mvs.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_every_command_reads_what_config_show_prints(name, write):
    words = required_words(name)
    text = settings_text(name, module_of(name), words, None, list(main.COMMANDS))
    assert parsed(name, [], write(text)) == parsed(name, words)


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_what_has_to_be_given_may_be_left_out_of_what_is_shown(name):
    text = settings_text(name, module_of(name), [], None, list(main.COMMANDS))
    tomllib.loads(text)
    missing = [o for o in list_options(module_of(name).Options) if o.default is MISSING]
    for option in missing:
        assert f"# {option.key[-1]} =  # has to be given\n" in text


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_options_are_those_of_the_parser(capfd, name):
    known = {flag for option in list_options(module_of(name).Options) for flag in option.flags}
    with pytest.raises(Stop):
        parsed(name, ["--help"])
    rows = re.findall(r"^\W{1,2}(--[\w.-]+)(?:, (--[\w.-]+))?", capfd.readouterr().out, re.M)
    assert known == {flag for row in rows for flag in row if flag}


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_every_option_says_what_it_is(name):
    for option in list_options(module_of(name).Options):
        assert option.text or option.key[-1] == "quiet", option.flag


CHANGED = {
    "reconstruct": [
        *("--quality", "fast", "--match.stride", "3", "--mesh.max-faces", "5000", "--texture"),
        *("--threads", "1", "--fuse.radius-voxels", "4", "9.5", "--weights", 'a "b"\\c.st'),
    ],
    "canonical query": ["--image", "a.png", "--point", "1", "2.5", "--point", "3", "4"],
    "canonical track": ["--layout", "68", "--no-overlay", "--fps", "12.5"],
    "calib scale": ["--distance", "0.1", "--between", *"123456", "--unit", "mm"],
    "evaluate embedder": ["--parts", "ear", "scalp", "--json", "f.json"],
    "texture": ["--size", "1024"],
    "train": ["--learning-rate", "1e-05", "--network.size", "96", "--tracks", "a", "b"],
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_was_changed_comes_back(name, write):
    words = [*required_words(name), *CHANGED[name]]
    if name == "canonical query":
        words = ["somewhere", "--output", "out", *CHANGED[name]]
    expected = parsed(name, words)
    text = settings_text(name, module_of(name), words, None, list(main.COMMANDS))
    assert parsed(name, [], write(text)) == expected
    assert expected != parsed(name, [*required_words(name)])


def test_the_command_line_goes_before_the_file_and_the_file_before_the_preset(write):
    from mvs.pipeline import PRESETS

    file = write(
        'quality = "best"\nthreads = 1\n[mesh]\ndepth = 7\n[reconstruct.refine]\nmax_size = 900\n'
    )
    found = parsed("reconstruct", ["a", "--output", "b", "--threads", "2"], file)
    assert (found.quality, found.threads) == ("best", 2)
    assert found.mesh.depth == 7
    assert found.mesh.max_distance == PRESETS["best"].mesh.max_distance
    assert found.refine.max_size == 900
    assert found.refine.n_sources == PRESETS["best"].refine.n_sources
    over = parsed("reconstruct", ["a", "--output=b", "--quality=fast", "--mesh.depth=5"], file)
    assert (over.quality, over.mesh.depth) == ("fast", 5)
    assert over.refine.n_sources == PRESETS["fast"].refine.n_sources
    assert over.refine.max_size == 900


def test_lists_of_the_command_line_replace_those_of_the_file(write):
    file = write('image = "a"\npoint = [[1, 2], [3, 4]]\noverlay = true\n')
    words = ["x", "--output", "o", "--point", "5", "6", "--no-overlay"]
    found = parsed("canonical query", words, file)
    assert found.point == ((5.0, 6.0),)
    assert found.overlay is False
    assert parsed("canonical query", words[:3], file).point == ((1.0, 2.0), (3.0, 4.0))


def test_a_command_reads_its_own_table_and_what_all_share(write):
    file = write("threads = 1\n[embed]\nthreads = 2\n[calib.inspect]\npicture = 'p.png'\n")
    commands = list(main.COMMANDS)
    assert read_settings(file, "embed", commands) == {"threads": 2}
    assert read_settings(file, "calib inspect", commands) == {"threads": 1, "picture": "p.png"}
    assert parsed("embed", ["a", "--output", "o"], file).threads == 2


def test_none_is_said_by_name(write):
    @dataclass(frozen=True)
    class Options:
        """Options.

        Attributes:
            most: of something.
        """

        most: int | None = 3

    class Module:
        pass

    Module.Options = Options
    text = settings_text("embed", Module, ["--most", "None"], None, ["embed"])
    assert 'most = "None"' in text
    assert parse("embed", Module, [], write(text), ["embed"]) == Options(None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("qualty = 'fast'", "unknown option 'qualty'; did you mean quality?"),
        ("[match]\nstrid = 3", "unknown option 'match.strid'; did you mean match.stride?"),
        ("[reconstruct.mach]\nstride = 3", "unknown option 'mach'"),
        ("quality = 'bst'", 'quality must be one of draft, fast, balanced, best, got "bst"'),
        ("threads = 1.5", "threads must be a whole number, got 1.5"),
        ("threads = true", "threads must be a whole number, got true"),
        ("texture = 'yes'", 'texture must be true or false, got "yes"'),
        ("weights = 3", "weights must be a string, got 3"),
        ("match = 3", "unknown option 'match'"),
        ("[match]\nstride = 0", "match: stride must be at least 1, got 0"),
        ("[fuse]\nradius-voxels = [1]", "fuse.radius-voxels must be a list of 2, each a number"),
        ("[fuse]\nradius-voxels = [1, 'a']", "fuse.radius-voxels must be a number"),
        ("reconstruct = 3\nthreads", "not a TOML file: Expected '='"),
        ("reconstruct = 3", "reconstruct must be a table of options of mvs reconstruct"),
        ("[calib.inspct]\nthreads = 1", "no command for [calib.inspct]; did you mean calib insp"),
        ("[calib]\nthreads = 1", "no command for [calib.threads]"),
    ],
)
def test_a_wrong_file_gets_one_line(write, capfd, text, says):
    file = write(text)
    assert main.run(["reconstruct", "a", "--output", "b", "--config", str(file)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"mvs: {file}: ")
    assert err.count("\n") == 1
    assert says in err


def test_no_file(capfd):
    assert main.run(["embed", "a", "--output", "b", "--config", "no.toml"]) == 2
    assert main.run(["embed", "a", "--output", "b", "--config"]) == 2
    err = capfd.readouterr().err.splitlines()
    assert err[0] == "mvs: no.toml: No such file or directory"
    assert err[1] == "mvs: --config needs a file: --config FILE.toml"


def test_what_goes_wrong_later_names_the_file_too(write, capfd):
    file = write("min-points = 1\n")
    assert main.run(["tracks", "a", "--output", "b", "--config", str(file)]) == 2
    err = capfd.readouterr().err
    assert "min_points" in err
    assert str(file) in err


def test_config_show_from_the_command_line(write, capfd):
    file = write("[reconstruct]\nthreads = 1\n")
    assert main.run(["config", "show", "reconstruct", "--config", str(file), "--until=fuse"]) == 0
    shown = tomllib.loads(capfd.readouterr().out)["reconstruct"]
    assert (shown["threads"], shown["until"], shown["quality"]) == (1, "fuse", "balanced")
    assert main.run(["config", "show", "reconstrct"]) == 2
    assert main.run(["config", "show"]) == 2
    assert main.run(["config", "show", "reconstruct", "--no-such"]) == 2
    err = capfd.readouterr().err
    assert re.findall("^mvs: .*$", err, re.M) == err.splitlines()
    assert "did you mean reconstruct?" in err


def test_common_options_go_anywhere_and_leave_what_is_not_theirs(monkeypatch):
    monkeypatch.delenv("MVS_DEBUG", raising=False)
    found = split_common(["--json", "embed", "--config=a.toml", "x", "--debug", "--output", "o"])
    assert found == (["embed", "x", "--output", "o"], Path("a.toml"), True, True)
    kept = split_common(["doctor", "--json", "d.json"])
    assert kept == (["doctor", "--json", "d.json"], None, False, False)
    monkeypatch.setenv("MVS_DEBUG", "1")
    assert split_common([]).debug


def test_help_ends_parsing_without_a_complaint(capfd):
    with pytest.raises(Stop) as stop:
        parsed("embed", ["--help"])
    assert stop.value.line == ""
    assert "usage: mvs embed" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (float, 3, 3.0),
        (Path | None, "a", Path("a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[tuple[float, float], ...], [[1, 2]], ((1.0, 2.0),)),
        (Literal["a", 3], 3, 3),
        (int | str, "3", "3"),
    ],
)
def test_values_become_what_fields_take(hint, value, expected):
    found = convert(hint, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value"), [(int, 1.0), (int, True), (float, "1"), (Path, 1), (bool, 1), (str, None)]
)
def test_values_of_another_type_are_refused(hint, value):
    with pytest.raises(TypeError):
        convert(hint, value)


def test_docstrings_of_bases_count():
    @dataclass
    class Base:
        """Base.

        Attributes:
            first: one
                thing, ``quoted``.

        Not this: text.
        """

        first: int = 0

    @dataclass
    class Derived(Base):
        """Derived.

        Attributes:
            second: another.
        """

        second: int = field(default=0)

    assert describe_fields(Derived) == {"first": "one thing, quoted.", "second": "another."}
