"""`python -m benchmarks`: run the benchmarks, and write JSON, a table and a plot."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.contest import on_stderr
from benchmarks.inputs import ROOT
from benchmarks.machine import describe_machine, sdk_commit, sdk_versions
from benchmarks.peer.environment import set_up
from benchmarks.report import draw, write_table
from benchmarks.rows import ROWS
from marlin_sdk.atomic import atomic_path

LEAST_ROUNDS = 5


def main(arguments: list[str] | None = None) -> None:
    """Measure the requested rows that are missing, and write each as soon as it is done."""
    asked = _parse(arguments)
    results_path = asked.out / "cpu.json"
    work = ROOT / "build" / "benchmarks"
    peer = None if asked.without_peer else set_up(work / "peer", ROOT / "constraints" / "dev.txt")
    results = _begin(results_path, asked, peer)
    asked.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(work, asked.threads, asked.rounds, asked.quick, peer)
    started_s = time.perf_counter()
    try:
        for name in asked.rows or ROWS:
            if name in results["rows"] and not asked.again:
                on_stderr(f"== {name}: measured {results['rows'][name]['date']}; --again measures it anew")
                continue
            on_stderr(f"== {name} ({time.perf_counter() - started_s:.0f} s)")
            results["rows"][name] = _measure(name, bench)
            _write(results_path, results)
    finally:  # also after an interruption, with the rows so far
        write_table(results, asked.out / "cpu.md")
        draw(results, asked.out / "cpu.png")
    on_stderr(f"{results_path}, cpu.md and cpu.png written; {time.perf_counter() - started_s:.0f} s")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=lambda names: names.split(","), help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--rounds", type=int, help=f"A B A B: how often each side runs; at least {LEAST_ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="two rounds on little work: to see that it works")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "results", help="folder of results")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each side; all cores by default")
    parser.add_argument("--again", action="store_true", help="measure rows anew that are there already")
    parser.add_argument("--without-peer", action="store_true", help="measure marlin-sdk alone: no ratios")
    asked = parser.parse_args(arguments)
    asked.rounds = asked.rounds or (2 if asked.quick else LEAST_ROUNDS)
    if asked.rounds < LEAST_ROUNDS and not asked.quick:
        parser.error(f"--rounds {asked.rounds}: a result takes at least {LEAST_ROUNDS}; --quick may take fewer")
    if unknown := [name for name in asked.rows or () if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return asked


def _begin(path: Path, asked: argparse.Namespace, peer: Any) -> dict[str, Any]:
    """The results so far; exits if they are from another machine or other settings."""
    now: dict[str, Any] = {
        "machine": describe_machine(asked.threads),
        "rounds": asked.rounds,
        "quick": asked.quick,
        "versions": {"marlin-sdk": sdk_versions(), "marlin-pytorch": peer and peer.versions},
        "notes": list(peer.notes) if peer else ["the reference was not run (--without-peer)"],
        "rows": {},
    }
    if not path.exists():
        return now
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("machine", "rounds", "quick"):
        if before[key] != now[key]:
            sys.exit(f"{path} holds results of another {key}: {before[key]}; this is {now[key]}; use another --out")
    return {**now, "rows": before["rows"]}


def _measure(name: str, bench: Bench) -> dict[str, Any]:
    started_s, load = time.perf_counter(), os.getloadavg()[0]
    return {
        "title": ROWS[name].title,
        **ROWS[name].measure(bench),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": sdk_commit(ROOT),
        "load_before": round(load, 2),
        "took_s": round(time.perf_counter() - started_s, 1),
    }


def _write(path: Path, results: dict[str, Any]) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(_rounded(results), indent=1) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Floats rounded to six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
