"""`marlin-sdk sync score`: the offset of the sound of videos."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.cli.options import CONTEXT, ends_with_status, output_options, set_up_logging
from marlin_sdk.cli.output import Console, check_stdout, print_json
from marlin_sdk.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from marlin_sdk.sync.result import SyncScore

__all__ = ["command"]

_PICTURES = (".png", ".svg")


@click.command("score", context_settings=CONTEXT)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True)
@click.option("--model", metavar="DIR", help="Output of marlin-sdk sync train.")
@click.option("--syncnet", metavar="FILE", help="Your own SyncNet v2 weights, for LSE-D and LSE-C.")
@click.option(
    "-o", "--output", "outputs", metavar="FILE", multiple=True,
    help="Repeatable: .json of all videos, .png or .svg of one; - prints JSON lines.",
)  # fmt: skip
@click.option("--stride", type=int, default=4, show_default=True, help="Frames from one window to the next.")
@click.option("--part", "part_s", type=float, default=4.0, show_default=True, help="Seconds of a part, for drift.")
@click.option("--detector", default="yunet", show_default=True, help="As for marlin-extract.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@output_options
def command(
    videos: tuple[str, ...],
    model: str | None,
    syncnet: str | None,
    outputs: tuple[str, ...],
    stride: int,
    part_s: float,
    detector: str,
    device: str,
    quiet: bool,
    debug: bool,
) -> None:
    """Say by how much the sound of videos is early or late, and who speaks.

    A positive offset is a sound that is late: play it earlier by this much. VIDEO is a file, a folder of videos, or a
    quoted pattern.

    \b
    marlin-sdk sync score talk.mp4 --model runs/sync
    marlin-sdk sync score talk.mp4 --model runs/sync -o talk.json -o talk.png
    marlin-sdk sync score videos/ --model runs/sync -o scores.json

    Exit status: 0 success, 1 some videos failed, 2 invalid usage or settings, 130 stopped by Ctrl-C.
    """
    console = Console(quiet=quiet, debug=debug)
    set_up_logging(quiet=quiet)
    with ends_with_status(console, interrupted="stopped by Ctrl-C; nothing was written"):
        from marlin_sdk.inputs.videos import find_videos
        from marlin_sdk.sync.picture import draw_score
        from marlin_sdk.sync.result import write_json
        from marlin_sdk.video.reader import display_name

        found = find_videos(videos)
        _check(outputs, len(found), model, syncnet)
        scorer = _Scorer(model, syncnet, detector=detector, device=device, stride=stride, part_s=part_s)
        results: list[dict[str, Any]] = []
        failed = 0
        for video in found:
            try:
                values, score = scorer.score(str(video.source), progress=console.bars)
            except (BrokenPipeError, ConfigError, WeightsError):
                raise  # of the model or the settings: every video would fail
            except Exception as error:  # one bad video must not stop the others
                failed += 1
                console.failure(display_name(video.source), error)
                continue
            results.append({"id": video.id, **values})
            if "-" in outputs:
                print_json(results[-1])
            elif not quiet:
                _say(results[-1])
            for warning in values["warnings"]:
                console.note(f"warning: {display_name(video.source)}: {warning}")
            for name in outputs:
                if Path(name).suffix.lower() in _PICTURES and score is not None:
                    draw_score(score, Path(name))
        for name in outputs:
            if Path(name).suffix.lower() == ".json":
                write_json(results, Path(name))
        console.note(f"{len(results)} of {len(found)} videos done, {failed} failed")
    if failed:
        sys.exit(1)


def _check(outputs: Sequence[str], num_videos: int, model: str | None, syncnet: str | None) -> None:
    if model is None and syncnet is None:
        raise ConfigError("nothing to score with; give --model, output of marlin-sdk sync train, or --syncnet")
    if "-" in outputs:
        check_stdout()
    for name in outputs:
        suffix = Path(name).suffix.lower()
        if name != "-" and suffix not in (".json", *_PICTURES):
            raise ConfigError(f"{name} is none of .json, .png, .svg, or -")
        if suffix in _PICTURES and (num_videos > 1 or model is None):
            raise ConfigError(f"{name} is the picture of one video and its --model; there are {num_videos} videos")


class _Scorer:
    """What was asked for, of one video after another."""

    def __init__(
        self, model: str | None, syncnet: str | None, *, detector: str, device: str, stride: int, part_s: float
    ) -> None:
        from marlin_sdk.face.detectors import load_detector
        from marlin_sdk.sync.scorer import SyncScorer
        from marlin_sdk.sync.syncnet.network import load_syncnet

        self._network = None if syncnet is None else load_syncnet(syncnet)
        self._detector = load_detector(detector)
        self._scorer = None if model is None else SyncScorer.from_folder(model, detector=self._detector, device=device)
        self._device, self._stride, self._part_s = device, stride, part_s

    def score(self, video: str, *, progress: bool) -> tuple[dict[str, Any], SyncScore | None]:
        """Plain values for JSON, and the score by the model, if there is one."""
        from marlin_sdk.sync.syncnet.measure import lse_of_video

        score = None
        if self._scorer is not None:
            score = self._scorer.score(video, stride=self._stride, part_s=self._part_s, progress=progress)
        values: dict[str, Any] = {"source": video, "warnings": []} if score is None else score.to_dict()
        if self._network is not None:
            found = lse_of_video(video, self._network, self._detector, device=self._device, progress=progress)
            values["syncnet"] = [one.to_dict() for one in found]
        return values, score


def _say(values: dict[str, Any]) -> None:
    """Print what is found of a video, and of its faces if there are several."""
    name = values["id"]
    if "verdict" in values:
        click.echo(f"{name}: {values['verdict']}")
        for track in values["tracks"] if len(values["tracks"]) > 1 else []:
            place = f"  face {track['track_id']}, {track['start_s']:.2f} - {track['end_s']:.2f} s"
            if track["offset_ms"] is None:
                click.echo(f"{place}: no sound")
                continue
            speaks = ", speaks" if track["track_id"] == values["speaker"] else ""
            click.echo(f"{place}: {track['offset_ms']:+.0f} ms, confidence {track['confidence']:.3f}{speaks}")
    for one in values.get("syncnet", ()):
        click.echo(
            f"{name}: face {one['track_id']}: LSE-D {one['lse_d']:.3f}, LSE-C {one['lse_c']:.3f}, "
            f"offset {one['offset_frames']:+d} frames"
        )
