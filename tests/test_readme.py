"""The README says what is: its commands parse, its example runs, its messages are the code's."""

import ast
import importlib
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from calib.formats import read_capture
from calib.write import write_capture
from mvs.cli import main
from mvs.cli.config_show import settings_text
from mvs.cli.fields import list_options
from mvs.cli.parse import parse, split_common

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What every command takes.
COMMON = {"--config", "--json", "--debug", "--help", "--version"}


def command_of(words):
    return next((n for n in (" ".join(words[:2]), *words[:1]) if n in main.COMMANDS), None)


def shell_lines():
    """Commands of the indented blocks; comments and redirections are left out."""
    for line in re.findall(r"^    (\S.*)$", README, re.M):
        for part in line.partition("  #")[0].split("&&"):
            words = shlex.split(part.partition(" > ")[0])
            if words and words[0] in ("mvs", "bin/mvs"):
                yield words[1:]


def quoted_commands():
    """Commands in backquotes; they may be cut short."""
    for text in re.findall(r"`([^`\n]+)`", README.replace("\n", " ").replace("| ", "\n")):
        words = text.split()
        if len(words) > 1 and words[0] in ("mvs", "bin/mvs"):
            yield words[1:]


@pytest.mark.parametrize("words", list(shell_lines()), ids=" ".join)
def test_commands_parse(words):
    words = split_common(words).words
    name = command_of(words)
    shows = name == "config show"
    if shows:
        words = words[2:]
        name = command_of(words)
    module = importlib.import_module(main.COMMANDS[name].module)
    rest = words[len(name.split()) :]
    if shows:
        assert settings_text(name, module, rest, None, list(main.COMMANDS))
    else:
        assert parse(name, module, rest, None, list(main.COMMANDS))


@pytest.mark.parametrize("words", list(quoted_commands()), ids=" ".join)
def test_quoted_commands_and_their_options_exist(words):
    name = command_of(words)
    heads = {known.split()[0] for known in main.COMMANDS}
    if name is None:
        assert words[0] in heads | COMMON | {"COMMAND"}
        return
    module = importlib.import_module(main.COMMANDS[name].module)
    known = set(COMMON)
    if hasattr(module, "Options"):
        known |= {flag for option in list_options(module.Options) for flag in option.flags}
    flags = {word for word in words if word.startswith("--")}
    assert flags <= known


def test_every_command_is_in_the_readme():
    """By itself, or with its group."""
    for name in main.COMMANDS:
        assert f"mvs {name}" in README, name


def literals(path):
    """Every string of a file; what is put in is an ellipsis."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield "".join(parts)


def test_messages_of_the_table_are_those_of_the_code():
    table = README.partition("| message | what it means, what to do |")[2].partition("\n\n")[0]
    messages = re.findall(r"`([^`]+)`", "".join(row.split("|")[1] for row in rows_of(table)))
    assert len(messages) > 15
    files = [f for package in ("calib", "mvs") for f in (ROOT / package).rglob("*.py")]
    said = "\n".join(text for file in files for text in literals(file))
    assert [message for message in messages if message not in said] == []


def rows_of(table):
    return [row for row in table.splitlines() if row.startswith("| `")]


def test_every_link_leads_somewhere():
    titles = re.findall(r"^#+ (.*)$", README, re.M)
    anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (ROOT / target).exists(), target


def test_the_example_runs(tmp_path, monkeypatch):
    """On four of the sample's views, to be quick."""
    capture = read_capture(ROOT / "data_samples" / "head")
    few = replace(capture, views=capture.views[4:8])
    write_capture(tmp_path / "data_samples" / "head", few, "colmap", "link")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    found: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), found)
    assert found["report"].counts["faces"] > 1000
    assert (tmp_path / "out" / "head" / "mesh.ply").is_file()
    assert found["cube_map"].mask.sum() > 1000
    assert found["marks"].pixels.shape == (68, 2)
    assert len(set(found["parts"].ravel().tolist())) > 4
