"""CPU instructions for reduced precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from marlin_sdk.runtime import cpu
from marlin_sdk.runtime.cpu import cpu_flags, describe_missing_features, is_amd, parse_flags

# Shortened from real files.
ZEN4 = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni\n\nprocessor\t: 1\n"
)
HASWELL = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse4_2 avx2 fma\nbugs\t\t: spectre_v1\n"
GRAVITON3 = "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimddp i8mm bf16\nCPU part\t: 0xd40\n"


def test_flags_are_read_from_x86_and_arm() -> None:
    assert parse_flags(ZEN4) == {"fpu", "avx2", "avx512f", "avx512_bf16", "avx512_vnni"}
    assert parse_flags(GRAVITON3) == {"fp", "asimd", "asimddp", "i8mm", "bf16"}
    assert parse_flags("") == frozenset()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_processors_with_the_instructions_have_no_missing_features(dtype: str) -> None:
    assert describe_missing_features(dtype, parse_flags(ZEN4)) is None
    assert describe_missing_features(dtype, parse_flags(GRAVITON3)) is None


def test_processor_without_them_reports_the_missing_features() -> None:
    flags = parse_flags(HASWELL)
    assert describe_missing_features("float32", flags) is None
    assert "no instructions for bfloat16 (none of avx512_bf16, amx_bf16" in str(
        describe_missing_features("bfloat16", flags)
    )
    assert "no instructions for int8 (none of avx512_vnni, avx_vnni, amx_int8" in str(
        describe_missing_features("int8", flags)
    )


def test_unknown_flags_are_not_reported() -> None:
    assert describe_missing_features("bfloat16", None) is None


def test_system_without_the_file_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    for function in (cpu_flags, is_amd):
        function.cache_clear()
    try:
        assert cpu_flags() is None
        assert not is_amd()
        (tmp_path / "cpuinfo").write_text(ZEN4)
        for function in (cpu_flags, is_amd):
            function.cache_clear()
        assert "avx512_bf16" in (cpu_flags() or ())
        assert is_amd()
    finally:
        for function in (cpu_flags, is_amd):
            function.cache_clear()
