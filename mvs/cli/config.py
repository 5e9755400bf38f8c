"""Options from a TOML file, and options as one.

A file's keys are the names of options; options with a dot in their name are keys of a table. What
stands in a table named like a command (``[reconstruct]``, ``[calib.inspect]``) is for that command
alone and goes before what stands outside. The command line goes before the file, and the file
before what a preset says.
"""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, replace
from pathlib import Path
from typing import Any

from mvs.cli.fields import Option, convert, is_optional, list_options
from mvs.cli.spelling import suggestion


def read_settings(file: Path, command: str, commands: Sequence[str]) -> dict[str, Any]:
    """What a file says to one command: a tree of tables, keys with hyphens.

    Args:
        file: a TOML file.
        command: name of the command.
        commands: names of all, which tables may bear.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not TOML, or a table that should hold options does not.
    """
    try:
        document = _hyphens(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{file}: not a TOML file: {error}") from None
    heads = {name.split()[0] for name in commands}
    shared = {
        key: value
        for key, value in document.items()
        if not (key in heads and isinstance(value, dict))
    }
    own = document
    for word in command.split():
        own = own.get(word, {})
        if not isinstance(own, dict):
            raise ValueError(f"{file}: {word} must be a table of options of mvs {command}")
    own = {key: value for key, value in own.items() if f"{command} {key}" not in commands}
    for head, table in document.items():
        if head in heads and isinstance(table, dict):
            _check_section(file, head, table, commands)
    return _merged(shared, own)


def _check_section(file: Path, head: str, table: dict[str, Any], commands: Sequence[str]) -> None:
    """Complain of a table of a group that is none of its commands."""
    if head in commands:
        return
    for word in table:
        if f"{head} {word}" not in commands:
            near = suggestion(f"{head} {word}", commands)
            raise ValueError(f"{file}: there is no command for [{head}.{word}]{near}")


def apply_settings(file: Path, settings: dict[str, Any], default: Any, given: Sequence[str]) -> Any:
    """Put what a file says in the place of defaults.

    Args:
        file: where it stands, for messages.
        settings: as ``read_settings`` returns them.
        default: instance of the command's dataclass, changed in place: it may lack what has to be
            given, so that it cannot be made anew.
        given: words of the command line, whose options stay as they are.

    Returns:
        The instance.

    Raises:
        ValueError: if a key is unknown, or its value of the wrong type or out of range.
    """
    options = {option.key: option for option in list_options(default)}
    flags = {word.partition("=")[0].replace("_", "-") for word in given}
    changes: dict[tuple[str, ...], dict[str, Any]] = {}
    for key, value in _flat(settings, (), _tables(options)):
        option = options.get(key)
        if option is None:
            near = suggestion(".".join(key), [".".join(known) for known in options])
            raise ValueError(f"{file}: unknown option {'.'.join(key)!r}{near}")
        try:
            converted = convert(option.hint, value)
        except TypeError as error:
            shown = json.dumps(value, default=str)
            line = f"{file}: {'.'.join(key)} must be {error}, got {shown}"
            raise ValueError(line) from None
        if flags.isdisjoint(option.flags):
            changes.setdefault(option.path[:-1], {})[option.path[-1]] = converted
    for path, values in sorted(changes.items(), key=lambda item: -len(item[0])):
        _put(file, default, path, values)
    return default


def _put(file: Path, default: Any, path: tuple[str, ...], values: dict[str, Any]) -> None:
    """Set fields of the dataclass that a path leads to; those on the way are made anew."""
    chain = [default]
    for name in path:
        chain.append(getattr(chain[-1], name))
    for name, parent in reversed(list(zip(path, chain, strict=False))):
        try:
            values = {name: replace(getattr(parent, name), **values)}
        except ValueError as error:
            raise ValueError(f"{file}: {'.'.join(path)}: {error}") from None
    for name, value in values.items():
        object.__setattr__(default, name, value)


def words_of(settings: dict[str, Any]) -> list[str]:
    """A file's plain options as words, for what looks at words to choose its defaults."""
    plain = {key: value for key, value in settings.items() if isinstance(value, (str, int, float))}
    return [f"--{key}={value}" for key, value in plain.items()]


def write_settings(options: Any, section: Sequence[str], is_given: Callable[[Any], bool]) -> str:
    """Options as TOML, with what each is as a comment; to be read by ``read_settings``.

    Args:
        options: instance of a command's dataclass.
        section: words of the command's name, which name its table.
        is_given: of a value; where False, the key is left as a comment.
    """
    lines = [f"[{'.'.join(section)}]"]
    table: tuple[str, ...] = ()
    plain = {option.key: option for option in list_options(type(options))}
    for option in sorted(list_options(options), key=lambda o: len(o.key) > 1):
        if option.key[:-1] != table:
            table = option.key[:-1]
            lines += ["", f"[{'.'.join((*section, *table))}]"]
        lines += textwrap.wrap(option.text, 96, initial_indent="# ", subsequent_indent="# ")
        normally = plain[option.key].default if option.key in plain else MISSING
        lines.append(_assignment(option, normally, is_given(option.default)))
    return "\n".join(lines) + "\n"


def _assignment(option: Option, normally: Any, is_given: bool) -> str:
    name, value = option.key[-1], option.default
    if not is_given:
        return f"# {name} =  # has to be given"
    if value is None:
        is_said = is_optional(option.hint) and normally not in (None, MISSING)
        return f'{name} = "None"' if is_said else f"# {name} ="
    return f"{name} = {_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_literal(item) for item in value)}]"
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _hyphens(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key.replace("_", "-"): _hyphens(value) if isinstance(value, dict) else value
        for key, value in table.items()
    }


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two trees as one; the second goes before the first."""
    result = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _tables(options: dict[tuple[str, ...], Option]) -> set[tuple[str, ...]]:
    return {key[:n] for key in options for n in range(1, len(key))}


def _flat(
    settings: dict[str, Any], at: tuple[str, ...], tables: set[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with its key; what is a table but should not be is a value."""
    for name, value in settings.items():
        key = (*at, name)
        if isinstance(value, dict) and key in tables:
            yield from _flat(value, key, tables)
        else:
            yield key, value
