"""Alternating rounds (A B A B), with the ratio taken within each round, so that other load slows both sides."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from benchmarks.protocol import Answer
from marlin_sdk.evaluation.fidelity import fidelity

__all__ = [
    "REFERENCE",
    "Contestant",
    "UnavailableError",
    "Worker",
    "compare",
    "on_stderr",
    "take_turns",
    "timed_process",
]

REFERENCE = "marlin-pytorch"


class UnavailableError(RuntimeError):
    """A worker could not run its task; carries the worker's message."""


class Worker:
    """A process in some Python environment that runs tasks (`benchmarks.protocol`).

    Args:
        python: the environment's interpreter.
        module: the module to run with -m.
        import_path: folders that precede the environment's packages.
        threads: thread count of every library that reads the usual variables.
        log: its output other than answers is appended to this file.
    """

    def __init__(self, python: Path, module: str, import_path: Sequence[Path], threads: int, log: Path) -> None:
        count = str(threads)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("a", encoding="utf-8")
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, import_path)),
                "OMP_NUM_THREADS": count,
                "MKL_NUM_THREADS": count,
            },
        )

    def ask(self, task: str, **arguments: Any) -> Answer:
        """Run a task and return its answer.

        Raises:
            UnavailableError: it failed, or the process died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UnavailableError(f"the worker died (status {self._process.wait()}) at {task}; see {self._log.name}")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise UnavailableError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        with self._process:  # closes its pipes, which ends it, and waits
            pass
        self._log.close()


@dataclass
class Contestant:
    """One side of a comparison.

    Attributes:
        label: as the table names it.
        measure: runs the work once; returns `seconds` and other results to record.
        goal: the speed-up over the reference: minimum and target.
        features: the file `measure` writes its features to, if any.
        prepare: untimed setup.
        close: ends its process.
    """

    label: str
    measure: Callable[[], Answer]
    goal: tuple[float, float] | None = None
    features: Path | None = None
    prepare: Callable[[], object] = field(default=lambda: None)
    close: Callable[[], None] = field(default=lambda: None)


def take_turns(contestants: Sequence[Contestant], rounds: int, say: Callable[[str], None]) -> dict[str, list[Answer]]:
    """Prepare every contestant, then run each once per round, in the given order.

    Args:
        contestants: the sides to run; one that fails is dropped.
        rounds: number of timed rounds.
        say: called with each progress message.
    Returns:
        The answers of the rounds, by label; only `{"error": ...}` for one that failed.
    """
    answers: dict[str, list[Answer]] = {contestant.label: [] for contestant in contestants}
    at_work = list(contestants)
    for turn in range(rounds + 1):
        for contestant in list(at_work):
            try:
                if turn == 0:
                    contestant.prepare()
                    continue
                answer = contestant.measure()
            except UnavailableError as error:
                at_work.remove(contestant)
                answers[contestant.label] = [{"error": str(error)}]
                say(f"{contestant.label}: {error}")
                continue
            answers[contestant.label].append(answer)
            say(f"round {turn}/{rounds}  {contestant.label}: {answer['seconds']:.3f} s")
    return answers


def compare(contestants: Iterable[Contestant], answers: Mapping[str, list[Answer]]) -> dict[str, Any]:
    """Medians, the ratio to the reference in each round, and the difference between the features.

    Args:
        contestants: in the order of `take_turns`.
        answers: the result of `take_turns`.
    Returns:
        By label: `seconds` of each round, `median_s`, `count`, `ratios`, `ratio` (their median), `cosine` (the lowest
        of all rows), `r2_within` (see `fidelity`) and `max_difference` of the features from the reference's, `goal`;
        or `error`.
    """
    reference = [answer["seconds"] for answer in answers.get(REFERENCE, []) if "seconds" in answer]
    theirs: Path | None = None
    results: dict[str, Any] = {}
    for contestant in contestants:
        own = answers[contestant.label]
        if own and "error" in own[0]:
            results[contestant.label] = own[0]
            continue
        seconds = [answer["seconds"] for answer in own]
        result: dict[str, Any] = {"seconds": seconds, "median_s": median(seconds), "count": own[0].get("count")}
        if reference and contestant.label != REFERENCE:
            ratios = [other / mine for other, mine in zip(reference, seconds, strict=True)]
            result |= {"ratios": ratios, "ratio": median(ratios)}
        if contestant.goal:
            result["goal"] = contestant.goal
        if contestant.label == REFERENCE:
            theirs = contestant.features
        elif theirs and contestant.features:
            result |= _distance(np.load(contestant.features), np.load(theirs))
        results[contestant.label] = result
    return results


def timed_process(command: Sequence[str | Path], environment: Mapping[str, str]) -> Answer:
    """Seconds from the start of a process to its end.

    Raises:
        UnavailableError: it failed; carries the end of its stderr.
    """
    started_s = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started_s
    if done.returncode:
        raise UnavailableError(f"exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return {"seconds": seconds}


def on_stderr(line: str) -> None:
    """Print a progress message to stderr."""
    click.echo(line, err=True)


def _distance(ours: Any, theirs: Any) -> dict[str, float | str]:
    if ours.shape != theirs.shape:
        return {"features": f"{ours.shape}, the reference's are {theirs.shape}"}
    found = fidelity(ours, theirs)
    within = {} if found.r2_within is None else {"r2_within": found.r2_within}
    return {"cosine": found.cosine, **within, "max_difference": float(np.abs(ours - theirs).max())}
