"""What a pretraining run publishes: its model as a Hub-ready folder, with a card that says how it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from marlin_sdk._version import __version__
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.weights.card import NON_COMMERCIAL, PAPER, ModelCard, is_published
from marlin_sdk.weights.publish import write_model

__all__ = ["Card", "export_model", "licence_of", "model_card"]

_BASELINES = {
    "mean_face": "the mean face of the training clips",
    "still_face": "a still face, made of what is visible of the clip",
}
_PARTS = {"": "all that is masked", "_moving": "the moving parts alone"}
_MEANINGS = {
    f"val/{name}{suffix}": f"{subject}, over {part}"
    for name, subject in {"reconstruction": "this model", **_BASELINES}.items()
    for suffix, part in _PARTS.items()
}


@dataclass(frozen=True)
class Card:
    """The contents of a model card.

    Attributes:
        name: of the model.
        data: the training data, in one sentence.
        metrics: numbers by name, of `step`.
        step: steps done.
        init: the initial weights; None for random weights.
        licence: an identifier of the Hub's list; "other" if none is chosen.
    """

    name: str
    data: str
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    init: str | None = None
    licence: str = "other"


def export_model(
    folder: Path, state: Mapping[str, Tensor], config: PretrainConfig, card: Card, *, decoder: bool = True
) -> None:
    """Write the files for `Marlin.from_pretrained(folder)` and the Hub, each atomically.

    Args:
        folder: created if it does not exist.
        state: the autoencoder's, under this package's keys.
        config: of the run.
        card: the contents of the README.
        decoder: write the decoder too, so that `Marlin.reconstruct` works.
    Raises:
        OSError: a file cannot be written.
    """
    selected = {key: tensor for key, tensor in state.items() if decoder or key.startswith("encoder.")}
    write_model(folder, selected, model_card(config, card, decoder=decoder))


def model_card(config: PretrainConfig, card: Card, *, decoder: bool = True) -> ModelCard:
    """The card of a model, with the data and the measures of its training."""
    metrics = "\n".join(f"| {name} | {value:.6g} | {_MEANINGS.get(name, '')} |" for name, value in card.metrics.items())
    adversarial = (
        f"plus {config.adv_weight:g} times a Wasserstein loss against a discriminator of tubelets"
        if config.is_adversarial
        else "without a discriminator"
    )
    target = "normalised tubelets" if config.normalise_target else "pixels in [0, 1]"
    training = (
        f"{card.step} steps of {config.clips_per_step} clips from {card.init or 'random weights'}: {config.masking} "
        f"masking at {config.mask_ratio:g},\nmean squared error of the masked {target}, {adversarial}."
    )
    measures = (
        f"| metric | value | error of |\n| --- | --- | --- |\n{metrics}\n{_verdict(card.metrics)}\n"
        "A reconstruction loss compares runs on the same data. It does not say how good the features are: probe them."
    )
    return ModelCard(
        name=card.name,
        size=config.model if decoder else config.model.without_decoder(),
        summary=f"A face-video encoder pretrained with marlin-sdk {__version__} after MARLIN ({PAPER}).",
        licence=card.licence,
        sections={"Data": card.data, "Training": training, "Metrics": measures},
    )


def _verdict(metrics: Mapping[str, float]) -> str:
    """A paragraph that says which baselines the model beats on held-out clips; empty without any."""
    sentences = []
    for suffix, part in _PARTS.items():
        own = metrics.get(f"val/reconstruction{suffix}")
        known = {subject: metrics.get(f"val/{name}{suffix}") for name, subject in _BASELINES.items()}
        said = [
            f"{'beats' if own < error else 'does NOT beat'} {subject}"
            for subject, error in known.items()
            if own is not None and error is not None
        ]
        if said:
            sentences.append(f"Over {part} of the held-out clips it {', and '.join(said)}.\n")
    return "\n" + "".join(sentences) if sentences else ""


def licence_of(init: str | None, licence: str | None) -> str:
    """The licence of a card: as chosen, unless the model was initialised from MARLIN's or VideoMAE's weights.

    Those are CC BY-NC 4.0, and so is the model. Published files under other names are not recognised.
    """
    return NON_COMMERCIAL if init is not None and is_published(init) else licence or "other"
