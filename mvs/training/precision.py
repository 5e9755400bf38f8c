"""Where a network is trained, and in which numbers that is fastest."""

from __future__ import annotations

from functools import cache

import torch


@cache
def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones.

    Processors without such instructions emulate them, at a tenth of the speed or less.
    """
    able = torch.cpu.get_capabilities()
    return any(bool(able.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast(device: str) -> torch.autocast:
    """Half-precision arithmetic where the device has it: any GPU, some processors."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or has_bfloat16())


def find_device(name: str) -> torch.device:
    """The device of a name.

    Raises:
        ValueError: if there is none.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {name!r} is none that PyTorch knows; say cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no CUDA device; train with --device cpu")
    return device
