"""A list of a million lines: what its dry run takes, beside that of one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LINES = 1_000_000
COMMAND = ("-m", "marlin_sdk.cli", "--untrained", "--model", "marlin_vit_small_ytf", "--detector", "lbp", "--dry-run")


def dry_run(folder: Path, listed: str) -> tuple[str, float, float]:
    """What it prints last; its peak in MB, and its seconds of a processor."""
    (folder / "list.txt").write_text(listed)
    run = [sys.executable, *COMMAND, "--list", str(folder / "list.txt"), "-o", str(folder / "out")]
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(used.ru_maxrss / 1e3, used.ru_utime + used.ru_stime)"
    )
    done = subprocess.run([sys.executable, "-c", script, *run], capture_output=True, text=True, check=True)
    *_, said, _, _, used = done.stdout.splitlines()
    peak_mb, cpu_s = map(float, used.split())
    return said, peak_mb, cpu_s


def test_dry_run_takes_little(tmp_path: Path) -> None:
    lines = (f"/data/corpus/speaker{n // 100:04d}/session{n % 7}/clip{n:07d}.mp4\n" for n in range(LINES))
    _, base_mb, base_s = dry_run(tmp_path, "/data/a.mp4\n")
    said, peak_mb, cpu_s = dry_run(tmp_path, "".join(lines))
    sys.stdout.write(f"one line: {base_mb:.0f} MB, {base_s:.0f} s; a million: {peak_mb:.0f} MB, {cpu_s:.0f} s\n")
    assert said == "1000000 videos to do, 0 done before"
    assert peak_mb - base_mb < 180  # the packages and the model take 313 MB where torch is the CPU build
