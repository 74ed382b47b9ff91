"""What a run leaves: the model, a head that predicts with it, predictions, their numbers, and a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marlin_sdk._version import __version__
from marlin_sdk.clips.identity import features_identity
from marlin_sdk.config import ExtractionConfig
from marlin_sdk.errors import TrainingError
from marlin_sdk.evaluation.predictions import Predictions, concatenate, write_predictions
from marlin_sdk.evaluation.probe.card import arms_table, by_label, curve_table, differences, safe
from marlin_sdk.evaluation.probe.cells import fit_heads
from marlin_sdk.evaluation.probe.head_file import FittedHeads, save_heads
from marlin_sdk.evaluation.probe.outcome import Outcome, measure_probe, write_results
from marlin_sdk.evaluation.probe.run import Probe, ProbeSettings, predictions_file
from marlin_sdk.evaluation.probe.samples import Pooling
from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.data.table import LabelledTable
from marlin_sdk.training.finetune.frozen import head_name, scores_of
from marlin_sdk.training.finetune.network import feature_width
from marlin_sdk.training.finetune.task import Result
from marlin_sdk.weights.card import ModelCard, licence_of
from marlin_sdk.weights.identity import describe_weights, file_sha256
from marlin_sdk.weights.publish import write_model

__all__ = ["ARM_NAMES", "Tested", "predict", "publish"]

ARM_NAMES = {
    "features": "the fine-tuned encoder",
    "against": "a linear probe of the encoder as it was",
    "majority": "a constant",
}
"""What is compared, by the arm of a probe that it stands for."""


@dataclass(frozen=True, eq=False)
class Tested:
    """The predictions of a run.

    Attributes:
        arms: by the keys of `ARM_NAMES`, a row for each clip.
        windows: of the fine-tuned encoder, a row for each window; None for a head that compares windows.
    """

    arms: dict[str, Predictions]
    windows: Predictions | None


def predict(result: Result, table: LabelledTable, *, ratio: float, seed: int) -> Tested:
    """Predict the test part, and the validation part if the table has one, with all arms.

    Args:
        result: of a run.
        table: its clips.
        ratio: share of the training groups that it learned from.
        seed: of the run.
    """
    heads = list(result.network.head.export(result.objective).values())
    parts = {"test": result.division.test, **({"val": result.division.val} if result.division.own_val else {})}
    arms: dict[str, list[Predictions]] = {name: [] for name in ARM_NAMES}
    windows: list[Predictions] = []
    for part, clips in parts.items():
        kept = np.intersect1d(np.intersect1d(clips, result.rows.rows), result.frozen_rows.rows)
        said = {"features": scores_of(heads, result.rows, kept)}
        said["against"] = scores_of(result.frozen, result.frozen_rows, kept)
        constants = [
            fit_heads("majority", "", table.samples, [target], _labelled(target, result.division.train))[0]
            for target in result.targets
        ]
        said["majority"] = [
            one.scores(np.empty((len(kept), 0), np.float32), np.empty(0, np.int64)) for one in constants
        ]
        for arm, scores in said.items():
            arms[arm] += _predictions(result, table, kept, scores, part=part, ratio=ratio, seed=seed)
        if not any(hasattr(head, "state") for head in heads):
            chosen = np.flatnonzero(np.isin(result.rows.row, kept))
            each = [head.scores(result.rows.features[chosen], np.empty(0, np.int64)) for head in heads]
            windows += _predictions(
                result, table, result.rows.row[chosen], each, part=part, ratio=ratio, seed=seed,
                window=result.rows.window[chosen],
            )  # fmt: skip
    joined = {arm: concatenate(own) for arm, own in arms.items()}
    return Tested(joined, concatenate(windows) if windows else None)


def _predictions(
    result: Result,
    table: LabelledTable,
    rows: Any,
    scores: Sequence[Any],
    *,
    part: str,
    ratio: float,
    seed: int,
    window: Any = -1,
) -> Iterator[Predictions]:
    samples = table.samples
    for target, own in zip(result.targets, scores, strict=True):
        known = target.labelled[rows]
        if known.any():
            yield Predictions.of(
                id=samples.ids[rows[known]],
                group=samples.groups[rows[known]],
                window=window if np.isscalar(window) else window[known],
                split=part,
                seed=seed,
                ratio=ratio,
                label=target.name,
                y_true=target.texts(rows[known]),
                scores=target.named(own[known]),
            )


def _labelled(target: Any, rows: Any) -> Any:
    return rows[target.labelled[rows]]


def publish(
    folder: Path,
    config: FinetuneConfig,
    table: LabelledTable,
    runs: Mapping[float, Result],
    *,
    detector: str,
    start: Mapping[str, Any],
    name: str | None = None,
    licence: str | None = None,
) -> Outcome:
    """Write everything that a run leaves, for the largest share of the training part where there are several.

    The folder then holds `config.json`, `model.safetensors` (for `Marlin.from_pretrained`), the head, predictions of
    each arm (`predictions*.parquet`), `results.json` and the card `README.md`.

    Args:
        folder: of the run.
        config: its settings.
        table: its clips.
        runs: results by the share of the training groups.
        detector: that found the faces.
        start: identity of the weights that the encoder started from.
        name: of the model, for its card; by default the folder's.
        licence: of the model, for its card.
    Returns:
        The numbers, for a page.
    Raises:
        TrainingError: a file cannot be written.
        ConfigError: a licence that the weights do not allow.
    """
    result = runs[max(runs)]
    tested = {ratio: predict(one, table, ratio=ratio, seed=config.seed) for ratio, one in runs.items()}
    arms = {arm: concatenate([one.arms[arm] for one in tested.values()]) for arm in ARM_NAMES if arm != "majority"}
    arms["majority"] = tested[max(runs)].arms["majority"]
    windows = [one.windows for one in tested.values() if one.windows is not None]
    head = head_name(config.head, result.targets[0])
    pooling: Pooling = "sequence" if config.head == "attentive" else "mean"
    probe = Probe(
        folder,
        ProbeSettings(label=config.label, kind=config.kind, head=head, ratios=tuple(sorted(runs)), seed=config.seed),
        arms,
        {**_facts(config, table, result, start), "head": head, "pooling": pooling},
        result.notes,
    )
    outcome = measure_probe(probe, names=ARM_NAMES)
    encoder = result.network.encoder
    card = ModelCard(
        name=name or folder.resolve().name,
        size=encoder.config.without_decoder(),
        summary=f"A face-video encoder fine-tuned with marlin-sdk {__version__} to tell {safe(config.label)}.",
        licence=licence or "other" if start["untrained"] else licence_of(str(start["model"]), licence),
        sections=dict(_sections(outcome, config, result, start)),
    )
    state = {f"encoder.{key}": tensor.contiguous() for key, tensor in encoder.state_dict().items()}
    try:
        for arm, predictions in arms.items():
            write_predictions(predictions_file(folder, arm), predictions)
        if windows:
            write_predictions(folder / "predictions-windows.parquet", concatenate(windows))
        write_model(folder, state, card)
        sha256 = file_sha256(folder / "model.safetensors")
        weights = {**describe_weights(str(folder), None, sha256), "config": encoder.config.without_decoder().to_dict()}
        identity = features_identity(
            weights=weights,
            dtype="float32",
            runtime={"name": "torch", "compiled": False},
            detector=detector,
            settings=ExtractionConfig(sample_rate=config.sample_rate, stride=config.stride, pool=config.pool),
        )
        heads = result.network.head.export(result.objective)
        width = feature_width(encoder.config, config.pool)
        save_heads(folder, FittedHeads(heads, head, pooling, width, f"sha256:{sha256}", identity))
        write_results(outcome)
    except OSError as error:
        raise TrainingError(
            f"cannot write the results of the run to {folder}: {error}; its checkpoints are complete: free some space, "
            "then --resume"
        ) from error
    return outcome


def _facts(config: FinetuneConfig, table: LabelledTable, result: Result, start: Mapping[str, Any]) -> dict[str, Any]:
    source = str(start.get("weights_sha256") or start.get("commit") or f"untrained:{start.get('seed')}")
    return {
        "videos": len(table),
        "groups": len(set(table.samples.groups.tolist())),
        "labels": {target.name: list(target.classes) for target in result.targets},
        "version": __version__,
        "weights": source,
        "against": None,
        "hashes": {},
        "clips": {part: len(getattr(result.division, part)) for part in ("train", "val", "test")},
        "finetune": config.to_dict(),
        "start": dict(start),
        "crops": table.prepared.to_dict(),
        "steps": result.steps,
        "best_epoch": result.best_epoch,
        "speed": dict(result.speed),
    }


def _sections(
    outcome: Outcome, config: FinetuneConfig, result: Result, start: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    facts = outcome.probe.facts
    clips = facts["clips"]
    test = outcome.rows("features")
    yield (
        "Results",
        "\n".join(
            [
                *arms_table(outcome),
                "",
                f"{test[0].videos:,} clips of {test[0].groups:,} groups are tested. Intervals of 95 % by drawing "
                f"groups ({outcome.evaluations['features'].draws:,} draws). Nothing was chosen on the test part.",
                "",
                *differences(outcome),
                *(["", *curve_table(outcome)] if len(outcome.probe.settings.ratios) > 1 else []),
                *(["", *by_label(test, outcome.evaluations["features"].task)] if len(test) > 1 else []),
            ]
        ),
    )
    how = (
        "MARLIN's published protocol"
        if config.protocol == "marlin"
        else f"a linear probe first, then blocks open from the last over {config.opening:.0%} of the steps; AdamW at "
        f"{config.base_lr:g} for 256 clips, {config.layer_decay:g} of it a block further down"
    )
    yield (
        "Training",
        f"{clips['train']:,} clips to learn from, {clips['val']:,} to choose the best epoch by; from "
        f"{safe(str(start['model']))}{' (random weights)' if start['untrained'] else ''}: {how}. Best epoch: "
        f"{result.best_epoch} of {config.epochs}{' (the linear probe)' if not result.best_epoch else ''}. Settings are "
        "in `finetune.yaml`.",
    )
    notes = [*outcome.suspicions, *outcome.probe.notes, *test[0].notes, *outcome.evaluations["features"].notes]
    yield (
        "To know",
        "\n".join(
            [
                *(f"- {safe(note)}" for note in dict.fromkeys(notes)),
                "- The numbers hold for data like these; another source of videos is another question.",
                "",
                "`marlin-sdk predict VIDEO --head .` uses the model and the head in this folder; `results.json` has "
                "every number, `predictions.parquet` what they are made of.",
            ]
        ),
    )
