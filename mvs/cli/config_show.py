"""``mvs config show``: the options of a command as a TOML file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro

from mvs.cli.config import write_settings
from mvs.cli.parse import Stop, bare, call_tyro, starting_point
from mvs.cli.show import deliver
from mvs.cli.spelling import suggestion

_USAGE = """\
usage: mvs config show COMMAND [OPTIONS OF THE COMMAND]

Print a command's options as a TOML file that --config reads: what each is stands before it, what
was given on the command line or in --config is filled in. What has to be given may be left out.

"""


def run_words(words: Sequence[str], config: Path | None) -> None:
    """Run the command.

    Args:
        words: a command and its words.
        config: file of options to start from.

    Raises:
        Stop: if help was asked for, or there is no such command.
        ValueError: if an option is unknown or out of range.
    """
    from mvs.cli.guide import command_epilog
    from mvs.cli.main import COMMANDS

    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_USAGE + command_epilog("config show"))
        raise Stop("" if words else "config show needs a COMMAND")
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    module: Any = None if name is None else importlib.import_module(COMMANDS[name].module)
    if name is None or not hasattr(module, "Options"):
        asked = name or " ".join(words[:2])
        raise Stop(f"no command {asked!r} with options{suggestion(asked, COMMANDS)}")
    text = settings_text(name, module, words[len(name.split()) :], config, list(COMMANDS))
    deliver({"toml": text})
    sys.stdout.write(text)


def settings_text(
    name: str, module: Any, words: Sequence[str], config: Path | None, commands: Sequence[str]
) -> str:
    """The options of a command as TOML.

    Args:
        name: of the command.
        module: of the command.
        words: its words; what has to be given may be absent.
        config: file of options to start from.
        commands: names of all commands.
    """
    default = starting_point(name, module, words, config, commands) or bare(module.Options)
    hints = get_type_hints(module.Options)
    absent = []
    for field in fields(default):
        if getattr(default, field.name) is tyro.MISSING:
            absent.append(_stand_in(hints[field.name]))
            object.__setattr__(default, field.name, absent[-1])
    if absent:
        default = _unchecked(default)
    found = call_tyro(name, type(default), words, default)
    return write_settings(found, name.split(), lambda value: not any(value is a for a in absent))


def _unchecked(options: Any) -> Any:
    """The same options, of a class that does not look at what stands in for what is absent."""
    kind = type(options)
    body = {"__post_init__": lambda _: None, "__doc__": kind.__doc__, "__module__": kind.__module__}
    copy: Any = object.__new__(type(kind.__name__, (kind,), body))
    for field in fields(options):
        object.__setattr__(copy, field.name, getattr(options, field.name))
    return copy


def _stand_in(hint: Any) -> Any:
    """A new object of a type, to be told by its identity."""
    if get_origin(hint) is Literal:
        # A copy: the parser compares it with the choices.
        return "".join(list(str(get_args(hint)[0])))
    if get_origin(hint) in (tuple, list):
        inner = [kind for kind in get_args(hint) if kind is not Ellipsis]
        return get_origin(hint)(_stand_in(kind) for kind in inner)
    return {Path: Path("absent"), int: 10**9, float: float("nan")}.get(
        hint, "".join(["ab", "sent"])
    )
