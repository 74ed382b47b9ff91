"""Export a run as a Hub-ready folder (config.json, model.safetensors, a model card, checksums), and upload it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import DownloadError, WeightsError
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.run_folder import MODEL_FILES
from marlin_sdk.weights.checkpoints import to_published_keys
from marlin_sdk.weights.integrity import CHECKSUMS, write_checksums

__all__ = ["Card", "export_model", "push_to_hub"]

_PUBLISHED_LICENCE = "cc-by-nc-4.0"
_NON_COMMERCIAL = (
    "It was initialised from published weights under CC BY-NC 4.0, and so it is under the same licence: no commercial "
    "use, and name the authors."
)

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
    from safetensors.torch import save_file

    selected = {key: tensor for key, tensor in state.items() if decoder or key.startswith("encoder.")}
    published = {f"marlin.{key}": tensor.contiguous() for key, tensor in to_published_keys(selected).items()}
    size = config.model if decoder else config.model.without_decoder()
    (folder / CHECKSUMS).unlink(missing_ok=True)  # of an earlier export: it must not accuse the files of this one
    with atomic_path(folder / "model.safetensors") as part:
        save_file(published, part, metadata={"format": "pt"})
    with atomic_path(folder / "config.json") as part:
        part.write_text(json.dumps(_hub_config(size), indent=2) + "\n", encoding="utf-8")
    with atomic_path(folder / "README.md") as part:
        part.write_text(model_card(config, card), encoding="utf-8")
    write_checksums(folder, [folder / "config.json", folder / "model.safetensors"])


def model_card(config: PretrainConfig, card: Card) -> str:
    """The README of a model, with the Hub's metadata at the top."""
    metrics = "\n".join(f"| {name} | {value:.6g} | {_MEANINGS.get(name, '')} |" for name, value in card.metrics.items())
    start = card.init or "random weights"
    licence_note = _NON_COMMERCIAL if card.licence == _PUBLISHED_LICENCE else "See the licence field of this card."
    adversarial = (
        f"plus {config.adv_weight:g} times a Wasserstein loss against a discriminator of tubelets"
        if config.is_adversarial
        else "without a discriminator"
    )
    target = "normalised tubelets" if config.normalise_target else "pixels in [0, 1]"
    size = config.model
    return f"""---
license: {card.licence}
library_name: marlin-sdk
pipeline_tag: feature-extraction
tags: [face, video, masked-autoencoder, marlin]
---

# {card.name}

A face-video encoder pretrained with marlin-sdk {__version__} after MARLIN (CVPR 2023, arXiv 2211.06627).

```python
from marlin_sdk import Marlin

model = Marlin.from_pretrained("{card.name}")
features = model.extract_video("talk.mp4")  # (N, {size.encoder_embed_dim})
```

## Model

Encoder {size.encoder_embed_dim} dims, {size.encoder_depth} blocks, {size.encoder_num_heads} heads; clips of
{size.n_frames} frames of {size.img_size}x{size.img_size} RGB in [0, 1].

## Licence

{licence_note}

## Data

{card.data}

## Training

{card.step} steps of {config.clips_per_step} clips from {start}: {config.masking} masking at {config.mask_ratio:g},
mean squared error of the masked {target}, {adversarial}.

## Metrics

| metric | value | error of |
| --- | --- | --- |
{metrics}
{_verdict(card.metrics)}
A reconstruction loss compares runs on the same data. It does not say how good the features are: probe them.
"""


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


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool = True,
    message: str | None = None,
) -> str:
    """Upload a run's model to the Hub: only `config.json`, `model.safetensors`, `README.md` and `SHA256SUMS`.

    Args:
        folder: written by `pretrain` or `export_model`.
        repo_id: "owner/name"; created if it does not exist.
        token: a write token; None uses the one you are logged in with.
        private: whether a new repo is private.
        message: of the commit.
    Returns:
        The URL of the commit.
    Raises:
        WeightsError: files of the model are missing.
        DownloadError: the Hub cannot be reached, or rejects the upload.
    """
    import os

    from huggingface_hub import HfApi

    path = Path(folder)
    if missing := [name for name in MODEL_FILES if not (path / name).is_file()]:
        raise WeightsError(
            f"{path} is not a Hub-ready folder: {', '.join(missing)} missing; a finished run writes them"
        )
    try:
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=path,
            allow_patterns=[*MODEL_FILES, CHECKSUMS],
            commit_message=message or f"Upload a model pretrained with marlin-sdk {__version__}",
        )
    except Exception as error:  # of its HTTP client: requests, httpx or hf_xet, by version
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DownloadError(f"cannot upload {path} to Hub repo {repo_id}: {reason}; log in or pass token=") from error
    return str(commit.commit_url)


def licence_of(init: str | None, licence: str | None) -> str:
    """The licence of a card: as chosen, unless the model was initialised from MARLIN's or VideoMAE's weights.

    Those are CC BY-NC 4.0, and so is the model. Published files under other names are not recognised.
    """
    from marlin_sdk.config import PRESETS

    published = init is not None and any(name in init.lower() for name in (*PRESETS, "videomae"))
    return _PUBLISHED_LICENCE if published else licence or "other"


def _hub_config(size: ModelConfig) -> dict[str, Any]:
    return {"model_type": "marlin", "architectures": ["MarlinModel"], **size.to_dict()}
