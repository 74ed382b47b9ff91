"""The model card of a folder of weights: the README that the Hub shows, and its licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from marlin_sdk.config import PRESETS, ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.weights.hub import MODEL_FILES

__all__ = ["NON_COMMERCIAL", "PAPER", "ModelCard", "is_published", "licence_of"]

NON_COMMERCIAL = "cc-by-nc-4.0"
"""The licence of the published weights of MARLIN and VideoMAE, by its name on the Hub."""

PAPER = "CVPR 2023, arXiv 2211.06627"

_NON_COMMERCIAL_NOTE = (
    "It derives from published weights under CC BY-NC 4.0, and so it is under the same licence: no commercial use, and "
    "name the authors."
)
_MAX_CARD_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The contents of a model card.

    Attributes:
        name: of the model.
        size: of the model.
        summary: what it is, in one sentence.
        licence: an identifier of the Hub's list; "other" if none is chosen.
        base: the Hub repo of the weights it derives from, if any.
        sections: Markdown by heading, after those on the model and its licence.
    """

    name: str
    size: ModelConfig
    summary: str
    licence: str = "other"
    base: str | None = None
    sections: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The README, with the Hub's metadata at the top."""
        size = self.size
        note = _NON_COMMERCIAL_NOTE if self.licence == NON_COMMERCIAL else "See the licence field of this card."
        base = f"base_model: {self.base}\n" if self.base else ""
        sections = "".join(f"\n## {heading}\n\n{body}\n" for heading, body in self.sections.items())
        return f"""---
license: {self.licence}
library_name: marlin-sdk
{base}pipeline_tag: feature-extraction
tags: [face, video, masked-autoencoder, marlin]
---

# {self.name}

{self.summary}

```python
from marlin_sdk import Marlin

model = Marlin.from_pretrained("{self.name}")
features = model.extract_video("talk.mp4")  # (N, {size.encoder_embed_dim})
```

## Model

Encoder {size.encoder_embed_dim} dims, {size.encoder_depth} blocks, {size.encoder_num_heads} heads; clips of
{size.n_frames} frames of {size.img_size}x{size.img_size} RGB in [0, 1].

## Licence

{note}
{sections}"""


def is_published(source: str) -> bool:
    """Whether weights are MARLIN's or VideoMAE's, by the name they were loaded under."""
    return any(name in source.lower() for name in (*PRESETS, "videomae"))


def licence_of(source: str, chosen: str | None) -> str:
    """The licence of weights that derive from others: theirs, if it is CC BY-NC 4.0, else the chosen one.

    Args:
        source: the name or path of the weights they derive from. Published weights are known by their names, and a
            folder by its own card.
        chosen: an identifier of the Hub's list; None chooses none.
    Raises:
        ConfigError: another licence was chosen than that of CC BY-NC weights.
    """
    inherited = NON_COMMERCIAL if is_published(source) else _licence_in(Path(source))
    if inherited == NON_COMMERCIAL and chosen not in (None, NON_COMMERCIAL):
        raise ConfigError(
            f"licence is {chosen!r}, but the weights derive from {source}, which is under CC BY-NC 4.0, and so are "
            "they; leave the licence out"
        )
    return chosen or inherited or "other"


def _licence_in(folder: Path) -> str | None:
    """The licence that the card of a folder states, if any."""
    try:
        card = (folder if folder.is_dir() else folder.parent) / MODEL_FILES[-1]
        if not card.is_file() or card.stat().st_size > _MAX_CARD_BYTES:
            return None
        head = re.match(r"---\n(.*?)\n---\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    except (OSError, ValueError):
        return None
    found = re.search(r"^license: *([\w.-]+) *$", head[1], re.MULTILINE) if head else None
    return found[1] if found else None
