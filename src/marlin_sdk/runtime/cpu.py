"""What the processor has instructions for: a dtype that it only imitates is slower than float32, not faster."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["cpu_flags", "describe_missing_features", "is_amd"]

_CPUINFO = Path("/proc/cpuinfo")
# Linux's names of the instructions, x86 first, then Arm; any one of a row will do.
_NEEDS = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
}


@cache
def cpu_flags() -> frozenset[str] | None:
    """The processor's flags as Linux names them; None where there is no /proc/cpuinfo."""
    try:
        return parse_flags(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def parse_flags(cpuinfo: str) -> frozenset[str]:
    """The flags of the first processor of a /proc/cpuinfo ("flags" on x86, "Features" on Arm)."""
    for line in cpuinfo.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()


@cache
def is_amd() -> bool:
    """Whether AMD made the processor, as far as /proc/cpuinfo tells."""
    try:
        return "AuthenticAMD" in _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def describe_missing_features(dtype: str, flags: frozenset[str] | None) -> str | None:
    """What a processor lacks to multiply quickly in a dtype; None if it has it, or if that cannot be told.

    Args:
        dtype: "float32", "float16", "bfloat16" or "int8".
        flags: of `cpu_flags`.
    """
    needs = _NEEDS.get(dtype, ())
    if not needs or flags is None or flags.intersection(needs):
        return None
    return f"this CPU has no instructions for {dtype} (none of {', '.join(needs)} in /proc/cpuinfo)"
