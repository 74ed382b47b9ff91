"""Turn and turn about: A B A B, the ratio taken within each round, so that what slows the machine slows both."""

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
    """A worker could not do what it was asked; the message is its own."""


class Worker:
    """A process in some environment that does tasks (`benchmarks.protocol`).

    Args:
        python: the environment's interpreter.
        module: run with -m.
        import_path: folders put before the environment's packages.
        threads: of every library that reads the usual variables.
        log: what it says besides its answers is added to this file.
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
        """Have a task done.

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
        measure: does the work once; gives its `seconds` and whatever else is to be kept.
        goal: the ratio to the reference that is wanted: at least, and aimed for.
        features: where `measure` leaves its features, if it makes any.
        prepare: gets it ready, which is not timed.
        close: ends its process.
    """

    label: str
    measure: Callable[[], Answer]
    goal: tuple[float, float] | None = None
    features: Path | None = None
    prepare: Callable[[], object] = field(default=lambda: None)
    close: Callable[[], None] = field(default=lambda: None)


def take_turns(contestants: Sequence[Contestant], rounds: int, say: Callable[[str], None]) -> dict[str, list[Answer]]:
    """Get each ready, and let each do its work once a round, in the order given.

    Args:
        contestants: at work by turns; one that fails is left out from then on.
        rounds: of turns.
        say: told how it goes.
    Returns:
        The answers of the rounds, by label; one that failed has `{"error": ...}` alone.
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
    """Medians, the ratio to the reference in each round, and how near the features are.

    Args:
        contestants: as they took turns.
        answers: of `take_turns`.
    Returns:
        By label: `seconds` of each round, `median_s`, `count`, `ratios`, `ratio` (their median), `cosine` (the least
        over the rows) and `max_difference` of the features from the reference's, `goal`; or `error`.
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
        UnavailableError: it failed; with the end of what it said.
    """
    started_s = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started_s
    if done.returncode:
        raise UnavailableError(f"exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return {"seconds": seconds}


def on_stderr(line: str) -> None:
    """Say how it goes."""
    click.echo(line, err=True)


def _distance(ours: Any, theirs: Any) -> dict[str, float | str]:
    if ours.shape != theirs.shape:
        return {"features": f"{ours.shape}, the reference's are {theirs.shape}"}
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return {"cosine": float(cosine.min()), "max_difference": float(np.abs(ours - theirs).max())}
