"""In which numbers a machine trains fastest."""

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
