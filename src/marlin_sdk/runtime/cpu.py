"""CPU instructions for reduced precision: a dtype that is only emulated is slower than float32, not faster."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["cpu_flags", "describe_missing_features", "is_amd"]

_CPUINFO = Path("/proc/cpuinfo")
# Linux's names of the instructions, x86 first, then Arm; any one of a row is enough.
_REQUIRED_FLAGS = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
}


@cache
def cpu_flags() -> frozenset[str] | None:
    """The processor's flags as Linux names them; None without /proc/cpuinfo."""
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
    """Whether the processor is an AMD one, according to /proc/cpuinfo."""
    try:
        return "AuthenticAMD" in _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def describe_missing_features(dtype: str, flags: frozenset[str] | None) -> str | None:
    """The instructions that a processor lacks for fast arithmetic in a dtype; None if it has them, or if unknown.

    Args:
        dtype: "float32", "float16", "bfloat16" or "int8".
        flags: of `cpu_flags`.
    """
    required = _REQUIRED_FLAGS.get(dtype, ())
    if not required or flags is None or flags.intersection(required):
        return None
    return f"this CPU has no instructions for {dtype} (none of {', '.join(required)} in /proc/cpuinfo)"
