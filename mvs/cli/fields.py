"""The options of a command, read off its dataclass: names, types, defaults and what they do."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        path: names of the fields that lead to it, from the command's dataclass on.
        key: how a file names it: names of its tables, then its own, as on the command line.
        hint: its type, without annotations.
        default: its value if not given; ``dataclasses.MISSING`` where it has to be given.
        text: what it is, from the docstring.
        metavar: how usage names it, if it goes without a flag; else empty.
    """

    path: tuple[str, ...]
    key: tuple[str, ...]
    hint: Any
    default: Any
    text: str
    metavar: str

    @property
    def flag(self) -> str:
        """What it is called on the command line."""
        return f"--{'.'.join(self.key)}"

    @property
    def flags(self) -> tuple[str, ...]:
        """All its spellings; none where it goes without a flag."""
        if self.metavar:
            return ()
        off = f"--{'.'.join((*self.key[:-1], f'no-{self.key[-1]}'))}"
        return (self.flag, off) if self.hint is bool else (self.flag,)

    @property
    def choices(self) -> tuple[str, ...]:
        """What it takes, where that is a short list."""
        return tuple(dict.fromkeys(_choices(self.hint)))


def list_options(options: Any) -> list[Option]:
    """The options of a command.

    Args:
        options: its dataclass, or an instance whose values are the defaults.

    Returns:
        Every option, those of nested dataclasses after the name of their field.
    """
    return list(_walk(options, (), ()))


def _walk(options: Any, path: tuple[str, ...], key: tuple[str, ...]) -> Iterator[Option]:
    kind = options if isinstance(options, type) else type(options)
    texts = describe_fields(kind)
    for name, hint, metadata in _hints(kind):
        default = getattr(options, name, MISSING) if kind is not options else _default(kind, name)
        given = next((m.name for m in metadata if getattr(m, "name", None)), name)
        inside, named = (*path, name), (*key, given.replace("_", "-"))
        if is_dataclass(hint):
            omits = tyro.conf.OmitArgPrefixes in metadata
            inner = default if is_dataclass(default) else hint
            yield from _walk(inner, inside, key if omits else named)
            continue
        metavar = ""
        if tyro.conf.Positional in metadata:
            metavar = next(
                (m.metavar for m in metadata if getattr(m, "metavar", None)), name.upper()
            )
        yield Option(inside, named, hint, default, texts.get(name, ""), metavar)


@cache
def _hints(kind: type) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """Name, bare type and annotations of every field that can be given."""
    found = get_type_hints(kind, include_extras=True)
    result = []
    for field in fields(kind):
        if field.init:
            hint, metadata = found[field.name], ()
            if get_origin(hint) is Annotated:
                hint, metadata = hint.__origin__, hint.__metadata__
            result.append((field.name, hint, metadata))
    return result


def _default(kind: type, name: str) -> Any:
    field = next(f for f in fields(kind) if f.name == name)
    return field.default if field.default_factory is MISSING else field.default_factory()


@cache
def describe_fields(kind: type) -> dict[str, str]:
    """What the ``Attributes`` sections of a dataclass and of its bases say of each field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        section = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("Attributes:\n")[2]
        name = ""
        for line in section.splitlines():
            if line.startswith(" " * 5) and name:
                found[name] += f" {line.strip()}"
            elif line.startswith(" " * 4):
                name, _, text = line.strip().partition(":")
                found[name] = text.strip()
            elif line.strip():
                break
    return {name: text.replace("``", "") for name, text in found.items()}


def is_optional(hint: Any) -> bool:
    """Whether None is among the values of a type."""
    return _is_union(hint) and type(None) in get_args(hint)


def describe_type(hint: Any) -> str:
    """A type as a message names it."""
    if _is_union(hint):
        return " or ".join(describe_type(a) for a in get_args(hint) if a is not type(None))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(str(a) for a in get_args(hint))}"
    if get_origin(hint) in (tuple, list):
        inner = [a for a in get_args(hint) if a is not Ellipsis]
        count = (
            "" if Ellipsis in get_args(hint) or get_origin(hint) is list else f" of {len(inner)}"
        )
        return f"a list{count}, each {describe_type(inner[0])}" if inner else "a list"
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(hint, "a string")


def convert(hint: Any, value: Any) -> Any:
    """A value of a TOML file as a field of a type takes it.

    Raises:
        TypeError: if it is not of that type.
    """
    if _is_union(hint):
        return _convert_union(hint, value)
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
    elif get_origin(hint) in (tuple, list) and isinstance(value, list):
        return _convert_list(hint, value)
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif hint is Any or (isinstance(hint, type) and type(value) is hint):
        return value
    raise TypeError(describe_type(hint))


def _convert_union(hint: Any, value: Any) -> Any:
    if value == "None" and is_optional(hint):
        return None
    for kind in get_args(hint):
        try:
            return convert(kind, value)
        except TypeError:
            continue
    raise TypeError(describe_type(hint))


def _convert_list(hint: Any, value: list[Any]) -> Any:
    kinds = get_args(hint)
    if get_origin(hint) is list or Ellipsis in kinds:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise TypeError(describe_type(hint))
    return get_origin(hint)(convert(kind, item) for kind, item in zip(kinds, value, strict=True))


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _leaves(hint: Any) -> Iterator[Any]:
    inner = () if get_origin(hint) is Literal else get_args(hint)
    if not inner:
        yield hint
    for kind in inner:
        yield from _leaves(kind)


def _choices(hint: Any) -> Iterator[str]:
    for kind in _leaves(hint):
        if get_origin(kind) is Literal:
            yield from (str(a) for a in get_args(kind) if a is not None)
