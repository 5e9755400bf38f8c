"""Network weights on disk: safetensors whose metadata says what network they belong to.

Nothing is ever unpickled. A file of ours carries one metadata entry, ``headmvs``: JSON with the
kind of network and its configuration.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from calib.files import replacing

_KEY = "headmvs"
# Published backbones hold some constants in half precision.
_CONSTANT_TOLERANCE = 0.01

ConfigT = TypeVar("ConfigT")


class CheckpointError(ValueError):
    """A weights file that cannot be used.

    Attributes:
        path: the file.
        reason: what is wrong with it.
        remedy: what to do.
    """

    def __init__(self, path: Path | str, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path
        self.reason = reason
        self.remedy = remedy


def save_checkpoint(path: Path, module: nn.Module, kind: str, config: Any) -> None:
    """Writes a network's tensors with its configuration, whole or not at all.

    Args:
        path: the file to write; an older one is replaced.
        module: the network.
        kind: name of the network, checked when it is loaded.
        config: frozen dataclass the network was built from.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in module.state_dict().items()}
    header = json.dumps({"kind": kind, "config": dataclasses.asdict(config)}, sort_keys=True)
    data = safetensors.torch.save(tensors, metadata={_KEY: header})
    with replacing(path) as file:
        file.write(data)


def load_checkpoint(
    path: Path, kind: str, config_type: type[ConfigT]
) -> tuple[ConfigT, dict[str, Tensor]]:
    """Reads a file of ``save_checkpoint``.

    Args:
        path: the file.
        kind: the network it must be for.
        config_type: dataclass of the network's configuration.

    Returns:
        The configuration and the tensors by name; hand the tensors to ``load_strict``.

    Raises:
        CheckpointError: if the file is absent, damaged, or for another network.
    """
    tensors, metadata = read_tensors(path)
    remedy = f"give a {kind} checkpoint written by this project"
    try:
        header = json.loads(metadata[_KEY])
        found, values = header["kind"], header["config"]
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(path, "holds no network configuration", remedy) from None
    if found != kind:
        shown = " ".join(str(found).split())
        raise CheckpointError(path, f"holds a {shown} network, not {kind}", remedy)
    try:
        return config_from_dict(config_type, values), tensors
    except (TypeError, ValueError) as error:
        raise CheckpointError(path, f"its configuration is unusable ({error})", remedy) from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of a safetensors file, and its metadata.

    Raises:
        CheckpointError: if the file is absent, unreadable or damaged.
    """
    if not path.is_file():
        raise CheckpointError(path, "no such file", "give the path of a safetensors file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            path, f"not a readable safetensors file ({reason})", "fetch or copy it again"
        ) from None


def load_strict(
    module: nn.Module, tensors: Mapping[str, Tensor], path: Path, constants: Collection[str] = ()
) -> None:
    """Copies tensors into a network; every name and shape must fit.

    Args:
        module: the network; takes float32 whatever floating type the file has.
        tensors: by name, as ``module.state_dict`` names them.
        path: where they come from, for the error.
        constants: names of tensors that follow from the architecture; the file's are taken, rounded
            as they are, but must agree with the network's.

    Raises:
        CheckpointError: if tensors are missing, unexpected, of another shape or kind, not finite,
            or if a constant differs.
    """
    own = module.state_dict()
    problem = _misfit(own, tensors) or _bad_values(own, tensors, constants)
    if problem:
        raise CheckpointError(path, problem, "give a checkpoint of this network")
    module.load_state_dict(tensors)


def _misfit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str | None:
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    reshaped = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    retyped = [
        f"{name} {tensors[name].dtype}"
        for name, tensor in own.items()
        if name in tensors and tensors[name].is_floating_point() != tensor.is_floating_point()
    ]
    found = {
        "missing": missing,
        "unexpected": unexpected,
        "of wrong shape": reshaped,
        "of wrong type": retyped,
    }
    parts = [f"{_some(names)} {what}" for what, names in found.items() if names]
    return "tensors do not fit: " + ", ".join(parts) if parts else None


def _bad_values(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], constants: Collection[str]
) -> str | None:
    not_finite = [name for name, tensor in tensors.items() if not tensor.float().isfinite().all()]
    if not_finite:
        return f"{_some(not_finite)} not finite"
    different = [
        name
        for name in constants
        if not torch.allclose(tensors[name].to(own[name]), own[name], rtol=_CONSTANT_TOLERANCE)
    ]
    return f"constants differ from the architecture's: {_some(different)}" if different else None


def _some(names: Collection[str]) -> str:
    """The first name and how many more there are."""
    first = next(iter(names))
    return f"{first} and {len(names) - 1} more" if len(names) > 1 else first


def config_from_dict(config_type: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Builds a (nested) dataclass from plain values, as JSON holds them.

    Args:
        config_type: the dataclass; its fields are numbers, strings, tuples or dataclasses.
        values: by field name; lists become tuples, absent fields keep their defaults.

    Raises:
        ValueError: if a key is no field or a nested value is no mapping.
        TypeError: if a field without default is absent.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{config_type.__name__} expects a mapping, got {values!r}")
    hints = typing.get_type_hints(config_type)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{config_type.__name__} has no {', '.join(unknown)}")
    return config_type(**{name: _field(hints[name], value) for name, value in values.items()})


def _field(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return config_from_dict(hint, value)
    return tuple(value) if isinstance(value, list) else value
