"""The machine of a run: processor, versions, and matrix-product throughput."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["GFLOP_PER_CLIP", "clip_gflop", "describe_machine", "measure_gemm", "sdk_commit", "sdk_versions"]

_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")
_PACKAGES = ("torch", "numpy", "opencv-python", "av", "openvino", "nncf", "onnxruntime")
GFLOP_PER_CLIP = {"marlin_vit_small_ytf": 114, "marlin_vit_base_ytf": 361, "marlin_vit_large_ytf": 1194}
"""A multiply-add counts as two operations; the model card gives the multiply-adds (GMAC)."""


def describe_machine(threads: int) -> dict[str, Any]:
    """Processor, its flags relevant to matrix products, memory, operating system."""
    cpu, flags = _processor()
    return {
        "cpu": cpu,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": _memory_gb(),
        "system": platform.platform(),
    }


def sdk_versions() -> dict[str, str]:
    """Versions of Python, marlin-sdk and its installed dependencies."""
    from marlin_sdk import __version__

    versions = {"python": platform.python_version(), "marlin-sdk": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def sdk_commit(root: Path) -> str | None:
    """The commit of the checkout, with a + if files under src differ from it; None outside of git."""
    commands = (["git", "rev-parse", "--short=12", "HEAD"], ["git", "status", "--porcelain", "--", "src"])
    try:
        head, changed = (
            subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + "+" * bool(changed)


def clip_gflop(dim: int, depth: int, tokens: int = 1568, patch_values: int = 1536) -> dict[str, float]:
    """The floating-point operations of one clip by kind, in GFLOP.

    Args:
        dim: embedding dimension of the encoder.
        depth: number of blocks.
        tokens: tokens per clip.
        patch_values: values per tubelet.
    """
    linear = 2 * tokens * dim * (patch_values + depth * 12 * dim)  # q, k, v, projection, and the MLP four times as wide
    attention = depth * 2 * 2 * tokens * tokens * dim
    return {"linear layers": linear / 1e9, "attention": attention / 1e9}


SHAPES = ((4 * 1568, 768, 3072), (4 * 1568, 1024, 4096), (4096, 4096, 4096))
"""Matrix products: the ViT-B and ViT-L linear layers over four clips, and a large square."""


def measure_gemm(
    dtype: torch.dtype, device: str = "cpu", *, least_s: float = 1.5, shapes: Sequence[tuple[int, int, int]] = SHAPES
) -> float:
    """The best throughput of matrix products with the encoder's shapes, in GFLOP/s (or GOP/s).

    Args:
        dtype: float32, bfloat16, float16, or int8 (products of int8, summed in int32).
        device: torch device.
        least_s: minimum measuring time per shape.
        shapes: rows, inner size and columns of each product.
    Returns:
        The best of the shapes.
    """
    best = 0.0
    multiply: Callable[..., Any] = torch._int_mm if dtype == torch.int8 else torch.matmul
    for rows, inner, columns in shapes:
        factors = _matrix(rows, inner, dtype, device), _matrix(columns, inner, dtype, device).t()
        seconds = _best_of(partial(multiply, *factors), device, least_s)
        best = max(best, 2 * rows * inner * columns / seconds / 1e9)
    return best


def _matrix(rows: int, columns: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    if dtype == torch.int8:
        return torch.randint(-128, 127, (rows, columns), dtype=dtype, device=device)
    return torch.randn(rows, columns, device=device).to(dtype)


def _best_of(do: Callable[[], Any], device: str, least_s: float) -> float:
    best, until_s = float("inf"), time.perf_counter() + least_s
    do()
    while best == float("inf") or time.perf_counter() < until_s:
        _wait(device)
        started_s = time.perf_counter()
        do()
        _wait(device)
        best = min(best, time.perf_counter() - started_s)
    return best


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _processor() -> tuple[str, frozenset[str]]:
    found: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    model = found.get("model name") or platform.processor() or platform.machine()
    family = "/".join(found[key] for key in ("cpu family", "model") if key in found)
    return f"{model} (family/model {family})" if family else model, frozenset(found.get("flags", "").split())


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None
