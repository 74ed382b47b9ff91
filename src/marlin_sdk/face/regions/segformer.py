"""Face parsing with a SegFormer (extra `[parsing]`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import DownloadError, MissingExtraError, WeightsError
from marlin_sdk.face.regions.labels import LABELS, FaceCrops

__all__ = ["SEGFORMER", "SegformerParser"]

SEGFORMER = "jonathandinu/face-parsing"
"""SegFormer-B5 with the 19 classes of CelebAMask-HQ, a data set for non-commercial research."""

# CelebAMask-HQ class to LaPa label; LaPa has no glasses, ears, hat, neck or cloth. Right is the person's right.
_LABEL_OF_CLASS = {
    "skin": "skin",
    "nose": "nose",
    "eye_g": "skin",
    "l_eye": "left_eye",
    "r_eye": "right_eye",
    "l_brow": "left_brow",
    "r_brow": "right_brow",
    "mouth": "inner_mouth",
    "u_lip": "upper_lip",
    "l_lip": "lower_lip",
    "hair": "hair",
}
_NEEDED = ("skin", "nose", "l_eye", "r_eye", "mouth", "hair")
_INPUT_PX = 512
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the model's preprocessor_config.json says


class SegformerParser:
    """Regions from `transformers`' SegFormer.

    Args:
        model: a Hub repo or a folder whose classes are those of CelebAMask-HQ.
        device: torch device it runs on.
        batch_size: crops per forward pass.
        local_files_only: do not access the network.
    Raises:
        MissingExtraError: transformers is not installed.
        DownloadError: the model cannot be downloaded or read.
        WeightsError: its classes are not those of CelebAMask-HQ.
    """

    name = "segformer"

    def __init__(
        self, model: str = SEGFORMER, *, device: str = "cpu", batch_size: int = 8, local_files_only: bool = False
    ) -> None:
        try:
            from transformers import SegformerForSemanticSegmentation
        except ImportError as error:
            raise MissingExtraError('parser="segformer"', "parsing") from error
        try:
            network: Any = SegformerForSemanticSegmentation.from_pretrained(model, local_files_only=local_files_only)
        except (OSError, ValueError) as error:  # transformers raises either for an unavailable repo or file
            raise DownloadError(
                f'cannot get the face parser {model}: {error}; pass parser="segformer:path/to/folder"'
            ) from error
        names: dict[int, str] = {int(key): value for key, value in (network.config.id2label or {}).items()}
        if missing := sorted(set(_NEEDED) - set(names.values())):
            raise WeightsError(
                f"{model} has no classes {', '.join(missing)}; expected a face parser with the classes of CelebAMask-HQ"
            )
        labels = [LABELS.index(_LABEL_OF_CLASS.get(names[index], "background")) for index in range(len(names))]
        self._labels = np.array(labels, dtype=np.uint8)
        self._device, self._batch_size = device, batch_size
        self._network = network.eval().to(device)

    def parse(self, crops: FaceCrops) -> NDArray[np.uint8]:
        """See `RegionParser.parse`."""
        starts = range(0, len(crops), self._batch_size)
        return np.concatenate([self._parse(crops.pixels[start : start + self._batch_size]) for start in starts])

    def _parse(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import torch
        from torch.nn.functional import interpolate

        size = pixels.shape[1:3]
        frames = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).float().div(255)
        mean, std = (torch.tensor(values, device=self._device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
        wide = interpolate(frames, size=(_INPUT_PX, _INPUT_PX), mode="bilinear", align_corners=False)
        with torch.no_grad():
            logits = self._network(pixel_values=(wide - mean) / std).logits
        classes = interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(dim=1)
        return np.asarray(self._labels[classes.cpu().numpy()], dtype=np.uint8)
