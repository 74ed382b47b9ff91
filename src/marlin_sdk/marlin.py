"""Marlin: the model class, composed of detector, encoder and decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.assembly import LoadKeywords, LoadOptions
from marlin_sdk.clips.cutter import ClipCutter, SourceFacts
from marlin_sdk.config import ExtractionConfig, ModelConfig, Pool, document_keywords, read_keywords
from marlin_sdk.errors import WeightsError
from marlin_sdk.extraction import (
    check_stream,
    embed_clips,
    embed_cuts,
    encode_finite,
    gather_features,
    log_warnings,
    stream_clips,
    stream_rows,
)
from marlin_sdk.features import SkippedWindow, VideoFeatures, WindowFeatures
from marlin_sdk.loaded import LoadedModel
from marlin_sdk.migration import ExplainsOldNames
from marlin_sdk.runtime.inputs import as_clips, as_layers
from marlin_sdk.video.reader import VideoSource, open_video
from marlin_sdk.weights.loading import load_network, make_network

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from marlin_sdk.clips.cut import Clip
    from marlin_sdk.config import ExtractionSettings
    from marlin_sdk.reconstruction import Reconstruction

__all__ = ["Marlin"]


class Marlin(LoadedModel, ExplainsOldNames):
    """A MARLIN model that embeds face videos.

    Create it with `from_pretrained` or `untrained`. It is not an `nn.Module`: the networks are `encoder` and `decoder`,
    frozen until `model.encoder.requires_grad_()`. Several threads may use one object, and it can be pickled and copied;
    `to` and training need it alone.

    Args:
        runtime: the inference backend.
        detector: the face detector, or a function that makes it, called when first needed.
        recogniser: the same of the face recogniser, for `identify=True`.
        identity: of the weights, for the metadata of features.
        decoder: reconstructs masked tubelets; only pretraining and reconstruction need it.
    """

    @property
    def _cutter(self) -> ClipCutter:
        return ClipCutter(self.config, self._get_detector, self._get_recogniser)

    @classmethod
    @document_keywords(LoadOptions)
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        config: ModelConfig | Mapping[str, Any] | None = None,
        **options: Unpack[LoadKeywords],
    ) -> Marlin:
        """Load published weights, or your own.

        Args:
            model: a published name ("marlin_vit_small_ytf", "marlin_vit_base_ytf", "marlin_vit_large_ytf"), a Hub repo
                id, a folder (`config.json` and `model.safetensors`), or a file: `.safetensors`, `.encoder.pt`,
                `.full.pt`, Lightning `.ckpt`. The published weights are CC BY-NC 4.0.
            options: see `marlin_sdk.assembly.LoadOptions`: `device="auto"`, `dtype="float32"`, `runtime="torch"`,
                `compile=False`, `calibration=None`, `detector="yunet"`, `recogniser="sface"`,
                `decoder=False`, `cache_dir=None`, `local_files_only=False`.
            revision: branch, tag or commit of a Hub repo.
            token: for a private Hub repo; by default the one you are logged in with.
            config: the model's size, for a bare state dict whose heads are not 64 wide.
        Raises:
            ConfigError: an unknown model, device, dtype, runtime or detector, or an unsupported combination.
            MissingExtraError: the runtime is not installed.
            DownloadError: a file cannot be downloaded; the message says how to provide it by hand.
            WeightsError: the checkpoint does not fit, has no decoder with `decoder=True`, or is not safe to open.
            DeviceMemoryError: the weights do not fit into the device's memory.
        """
        load_options = LoadOptions(**options)
        network, identity = load_network(
            model,
            decoder=load_options.decoder,
            revision=revision,
            token=token,
            cache_dir=load_options.cache_dir,
            local_files_only=load_options.local_files_only,
            config=config,
        )
        return cls(**load_options.assemble(network, identity))

    @classmethod
    @document_keywords(LoadOptions)
    def untrained(
        cls, model: str | ModelConfig | Mapping[str, Any], *, seed: int = 0, **options: Unpack[LoadKeywords]
    ) -> Marlin:
        """A model with random weights, for tests without a download. Its features are meaningless.

        Args:
            model: a published name, for its size; or a folder with a `config.json`, such as of a training run; or a
                config, or its values as returned by `ModelConfig.to_dict`.
            options: as in `from_pretrained`.
            seed: the same seed gives the same weights.
        Raises:
            ConfigError: as in `from_pretrained`, or `decoder=True` with a config without a decoder.
            MissingExtraError: the runtime is not installed.
        """
        load_options = LoadOptions(**options)
        return cls(**load_options.assemble(*make_network(model, seed=seed, decoder=load_options.decoder)))

    def extract_clip(
        self,
        clip: Tensor | NDArray[Any],
        *,
        keep_seq: bool = False,
        layers: Sequence[int] | NDArray[np.integer[Any]] | Tensor | None = None,
    ) -> Tensor:
        """Embed clips that are already cropped.

        Args:
            clip: float (B, 3, 16, 224, 224) or (3, 16, 224, 224) in [0, 1], or uint8 (B, 16, 224, 224, 3) or
                (16, 224, 224, 3); RGB; tensor or array.
            keep_seq: return the tokens of each clip instead of their pooled vector.
            layers: return the outputs of these blocks, a list or array of indices from 0 or from the end, pooled and
                normalised like the last.
        Returns:
            float32 on `device`: (B, D); (B, 1568, D) with `keep_seq`; (B, len(layers), ...) with `layers`. Without the
            batch dimension if the clip has none. Without gradients.
        Raises:
            ShapeError: another shape or dtype, NaN, or floats outside [0, 1].
            ConfigError: a layer index out of range.
            DeviceMemoryError: the GPU has no memory left for one clip.
        """
        clips, batched = as_clips(clip, self.config)
        wanted = None if layers is None else as_layers(layers, self.config)
        features = encode_finite(self._runtime, clips, keep_seq=keep_seq, layers=wanted)
        return features if batched else features[0]

    def reconstruct(
        self,
        clip: Tensor | NDArray[Any],
        *,
        masking: str = "fasking",
        ratio: float = 0.9,
        seed: int = 0,
        normalised_target: bool = False,
    ) -> Reconstruction:
        """Mask most of a clip, and reconstruct it with the decoder.

        Args:
            clip: as in `extract_clip`.
            masking: "fasking", "fasking_opp", "crfr", "tube", "random" or "frame"; the first three locate the parts of
                the face with the model's detector.
            ratio: fraction of the tokens that is masked, in (0, 1).
            seed: the same seed masks the same tokens; each clip of a batch has its own.
            normalised_target: the model was trained to reconstruct normalised tubelets, as the recipe `videomae` does.
        Returns:
            Mask (True = visible), masked, reconstructed and composite clips, and the error of each masked tubelet;
            float32 on the CPU. Without the batch dimension if the clip has none.
        Raises:
            WeightsError: the model has no decoder.
            ShapeError: as in `extract_clip`.
            ConfigError: an unknown masking, or a ratio that masks nothing or everything.
            DownloadError: the detector's weights cannot be downloaded.
        """
        from marlin_sdk.masking.detected import draw_masks
        from marlin_sdk.reconstruction import reconstruct

        if self._decoder is None:
            raise WeightsError(
                f"{self.name} was loaded without its decoder, which reconstruction needs; load it with "
                "Marlin.from_pretrained(..., decoder=True), from weights that include it (.full.pt, .ckpt, a run)"
            )
        clips, batched = as_clips(clip, self.config)
        mask = draw_masks(clips, self.config, lambda: self.detector, masking=masking, ratio=ratio, seed=seed)
        result = reconstruct(self._encoder, self._decoder, clips, mask, normalised_target=normalised_target)
        return result if batched else result[0]

    @document_keywords(ExtractionConfig)
    def extract_video(
        self, video: VideoSource, *, progress: bool = False, **settings: Unpack[ExtractionSettings]
    ) -> Tensor:
        """Embed a video; like `extract`, but without the provenance.

        Args:
            video: path, URL, bytes, file object, folder of images, or uint8 array (T, H, W, 3).
            progress: show a progress bar of windows on stderr.
            settings: `crop_face="auto"`, `faces="largest"`, `sample_rate=2`, `stride=16`, `tail="pad"`,
                `reduction="none"`, `pool="mean"`, `keep_seq=False`, `batch_size=8`, and the rest of `ExtractionConfig`.
        Returns:
            float32 on the CPU: (N, D), a row for each window that shows a face; (N, 8, D) with `pool="time"`,
            (N, 4, D) with `pool="regions"`, (N, 1568, D) with `keep_seq`; without N if reduced. The warnings that
            `extract` would return are logged.
        Raises:
            ConfigError: an invalid setting.
            VideoDecodeError: no frame can be decoded.
            NoFaceError: no window shows a face.
            ShapeError: `crop_face=False`, and the frames do not have the model's size.
        """
        result = self.extract(video, progress=progress, **settings)
        log_warnings(result.meta["source"], result.warnings)
        return torch.from_numpy(result.features)

    @document_keywords(ExtractionConfig)
    def extract(
        self, video: VideoSource, *, progress: bool = False, **settings: Unpack[ExtractionSettings]
    ) -> VideoFeatures:
        """Embed a video, with the provenance of each row.

        Args:
            video: as in `extract_video`.
            progress: as in `extract_video`.
            settings: as in `extract_video`.
        Returns:
            Features with times, frames, boxes, scores, skipped windows and the reasons, and metadata.
        Raises:
            MarlinError: as in `extract_video`.
        """
        config = read_keywords(ExtractionConfig, settings)
        rows: list[WindowFeatures] = []
        skipped: list[SkippedWindow] = []
        with open_video(video, source_fps=config.source_fps) as reader:
            cuts = self._cutter.cut(reader, config)
            for row in embed_cuts(cuts, self._runtime, progress=progress):
                rows.append(row) if isinstance(row, WindowFeatures) else skipped.append(row)
            return self.gather(rows, skipped, cuts.facts(), config)

    @document_keywords(ExtractionConfig)
    def clips(
        self,
        video: VideoSource,
        *,
        on_skip: Callable[[SkippedWindow], object] | None = None,
        progress: bool = False,
        **settings: Unpack[ExtractionSettings],
    ) -> Iterator[Clip]:
        """The clips that `extract` would embed, in the order of its rows, without embedding them.

        Args:
            video: as in `extract_video`.
            on_skip: as in `stream`.
            progress: as in `extract_video`.
            settings: as in `extract_video`; those of the features (`keep_seq`, `batch_size`, `pool` but for "regions",
                which finds those of each clip) change no clip.
        Yields:
            Each clip as soon as its frames have been read: pixels uint8 (16, 224, 224, 3), times, source frames, boxes
            and track. None is stored. Warnings are logged at the end.
        Raises:
            ConfigError: as in `stream`.
            MarlinError: as in `extract_video`.
        """
        config = check_stream(read_keywords(ExtractionConfig, settings), "clips()")
        return stream_clips(video, config, self._cutter, on_skip=on_skip, progress=progress)

    def embed_clips(
        self, clips: Sequence[Clip], *, keep_seq: bool = False, pool: Pool = "mean"
    ) -> list[WindowFeatures]:
        """Embed clips of one video or several, as `clips` yields them, in one batch.

        Args:
            clips: with their pixels.
            keep_seq: as in `extract_clip`.
            pool: as in `ExtractionConfig`.
        """
        return embed_clips(clips, self._runtime, keep_seq=keep_seq, pool=pool)

    def gather(
        self,
        rows: Sequence[WindowFeatures],
        skipped: Sequence[SkippedWindow],
        facts: SourceFacts,
        config: ExtractionConfig,
    ) -> VideoFeatures:
        """Join the rows of one video; see `marlin_sdk.extraction.gather_features`.

        Raises:
            NoFaceError: every window was skipped.
            ConfigError: a reduction over a video without windows.
        """
        return gather_features(rows, skipped, facts, config, self._runtime, self.identity)

    @document_keywords(ExtractionConfig)
    def stream(
        self,
        video: VideoSource,
        *,
        on_skip: Callable[[SkippedWindow], object] | None = None,
        progress: bool = False,
        **settings: Unpack[ExtractionSettings],
    ) -> Iterator[WindowFeatures]:
        """Embed a video window by window, for long videos or live streams (a camera's URL).

        Args:
            video: as in `extract_video`.
            on_skip: called with each window that shows no face for at least half of its frames.
            progress: as in `extract_video`.
            settings: as in `extract_video`; each window is embedded immediately, regardless of `batch_size`.
        Yields:
            Each row as soon as the frames it needs have been read. Windows without a face are skipped, and not stored.
            The warnings that `extract` would return are logged at the end.
        Raises:
            ConfigError: an invalid setting; a reduction, which has no rows to yield; `identify`, known only at the end.
            MarlinError: as in `extract_video`.
        """
        config = check_stream(read_keywords(ExtractionConfig, settings), "stream()")
        return stream_rows(video, config, self._cutter, self._runtime, on_skip=on_skip, progress=progress)
