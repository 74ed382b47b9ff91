"""Marlin: a detector, an encoder and their settings, joined. Composition only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.calibration import CalibrationSource, read_calibration
from marlin_sdk.config import ExtractionConfig, ModelConfig
from marlin_sdk.cutting import ClipCutter, SourceFacts
from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.extraction import Tally, count_on_bar, embed_clips, embed_cuts, gather_features
from marlin_sdk.face.detectors import FaceDetector, check_detector, load_detector
from marlin_sdk.features import SkippedWindow, VideoFeatures, WindowFeatures
from marlin_sdk.loading import load_network, make_network
from marlin_sdk.model import Decoder, Encoder, MaskedAutoencoder
from marlin_sdk.runtime import EncoderRuntime, RuntimeName
from marlin_sdk.runtime.choice import RuntimeChoice, choose_runtime
from marlin_sdk.runtime.inputs import as_clips, as_layers
from marlin_sdk.runtime.torch import DTYPES, TorchRuntime, resolve_device, resolve_dtype
from marlin_sdk.settings import read_settings, spell_out_settings
from marlin_sdk.video.reader import VideoReader, VideoSource, open_video

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from marlin_sdk.clips import Clip
    from marlin_sdk.config import ExtractionSettings
    from marlin_sdk.reconstruction import Reconstruction

__all__ = ["Marlin"]

logger = logging.getLogger("marlin_sdk")


class Marlin:
    """A MARLIN model that takes videos.

    Make one with `from_pretrained` or `untrained`. It is no `nn.Module`: the networks are `encoder` and `decoder`,
    frozen (`model.encoder.blocks.requires_grad_()` thaws its layers for training). One object serves one thread at a
    time.

    Args:
        runtime: what multiplies.
        detector: finds faces; or a function that makes the detector, called when first needed.
        identity: what the weights are, for the metadata of features.
        decoder: rebuilds masked tubelets; only pretraining and reconstruction need it.
    """

    def __init__(
        self,
        runtime: EncoderRuntime,
        *,
        detector: FaceDetector | Callable[[], FaceDetector],
        identity: Mapping[str, Any],
        decoder: Decoder | None = None,
    ) -> None:
        self._runtime = runtime
        self._detector = detector
        self._identity = dict(identity)
        self.decoder = decoder
        self._cutter = ClipCutter(runtime.config, lambda: self.detector)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float32",
        runtime: RuntimeName = "torch",
        compile: bool = False,
        calibration: CalibrationSource | None = None,
        detector: str | Path | FaceDetector = "yunet",
        decoder: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        config: ModelConfig | Mapping[str, Any] | None = None,
    ) -> Marlin:
        """Load published weights, or your own.

        Args:
            model: a published name ("marlin_vit_small_ytf", "marlin_vit_base_ytf", "marlin_vit_large_ytf"), a Hub repo
                id, a folder (`config.json` and `model.safetensors`), or a file: `.safetensors`, `.encoder.pt`,
                `.full.pt`, Lightning `.ckpt`. The published weights are CC BY-NC 4.0.
            device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1".
            dtype: "float32", "bfloat16" or "float16", of weights and arithmetic, or "int8" with runtime="openvino";
                features are float32 in any case.
            runtime: who multiplies: "torch"; "openvino" (faster on a CPU; extra [openvino]; float32, bfloat16, int8);
                "onnx" (ONNX Runtime; extra [onnx]; float32). The latter two keep a converted model in `MARLIN_HOME`.
            compile: let torch compile the encoder: a minute's wait, then a few per cent.
            calibration: videos, or uint8 clips (N, 16, 224, 224, 3), for dtype="int8"; by default a set made from
                scikit-image's picture of an astronaut. Yours fit your videos better.
            detector: see `marlin_sdk.face.detectors.load_detector`; fetched when first needed.
            decoder: load the decoder too (of a published model: another, larger file).
            revision: branch, tag or commit of a Hub repo.
            token: for a private Hub repo; by default the one you are logged in with.
            cache_dir: where downloads lie; by default the Hub's own cache, and `MARLIN_HOME` for other files.
            local_files_only: touch no network.
            config: the model's size, for a bare state dict whose heads are not 64 wide.
        Raises:
            ConfigError: an unknown model, device, dtype, runtime or detector, or two that do not go together.
            MissingExtraError: the runtime is not installed.
            DownloadError: a file cannot be had; the message says how to provide it by hand.
            WeightsError: the checkpoint does not fit, lacks a decoder that was asked for, or is not safe to open.
            DeviceMemoryError: the weights do not fit into the device's memory.
        """
        choice = choose_runtime(
            runtime, device=device, dtype=dtype, compile=compile, decoder=decoder, calibrated=calibration is not None
        )
        check_detector(detector)
        network, identity = load_network(
            model,
            decoder=decoder,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            config=config,
        )
        return cls._assemble(
            network,
            identity,
            choice,
            calibration,
            detector=_detector_maker(detector, choice.device, cache_dir, local_files_only),
        )

    @classmethod
    def untrained(
        cls,
        model: str | ModelConfig | Mapping[str, Any],
        *,
        seed: int = 0,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float32",
        runtime: RuntimeName = "torch",
        compile: bool = False,
        calibration: CalibrationSource | None = None,
        detector: str | Path | FaceDetector = "yunet",
        decoder: bool = False,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Marlin:
        """A model with random weights, for trying things out with no download. Its features mean nothing.

        Args:
            model: a published name, for its size; or a config, or its values as `ModelConfig.to_dict` gives them.
            seed: the same seed gives the same weights.
            device: as in `from_pretrained`.
            dtype: as in `from_pretrained`.
            runtime: as in `from_pretrained`.
            compile: as in `from_pretrained`.
            calibration: as in `from_pretrained`.
            detector: as in `from_pretrained`.
            decoder: make a decoder too.
            cache_dir: as in `from_pretrained`, for the detector's weights.
            local_files_only: as in `from_pretrained`, for the detector's weights.
        Raises:
            ConfigError: as in `from_pretrained`, or a config without the decoder asked for.
            MissingExtraError: the runtime is not installed.
        """
        choice = choose_runtime(
            runtime, device=device, dtype=dtype, compile=compile, decoder=decoder, calibrated=calibration is not None
        )
        check_detector(detector)
        network, identity = make_network(model, seed=seed, decoder=decoder)
        return cls._assemble(
            network,
            identity,
            choice,
            calibration,
            detector=_detector_maker(detector, choice.device, cache_dir, local_files_only),
        )

    @classmethod
    def _assemble(
        cls,
        network: Encoder | MaskedAutoencoder,
        identity: Mapping[str, Any],
        choice: RuntimeChoice,
        calibration: CalibrationSource | None,
        *,
        detector: Callable[[], FaceDetector],
    ) -> Marlin:
        encoder, decoder = (network, None) if isinstance(network, Encoder) else (network.encoder, network.decoder)
        clips = None if calibration is None else read_calibration(calibration, encoder.config, detector)
        runtime = choice.build(encoder, identity, clips)
        if decoder is not None:
            decoder.eval().to(device=choice.device, dtype=choice.dtype)
        return cls(runtime, detector=detector, identity=identity, decoder=decoder)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the weights are: name, Hub commit or sha256, config, or that they are untrained."""
        return self._identity

    @property
    def runtime(self) -> Mapping[str, Any]:
        """Who multiplies: name and version, and for int8 what it was calibrated with."""
        return self._runtime.provenance

    @property
    def name(self) -> str:
        """What the weights are called: a published name, a repo id, a path."""
        return str(self._identity["model"])

    @property
    def is_untrained(self) -> bool:
        """Whether the weights are random."""
        return bool(self._identity["untrained"])

    @property
    def encoder(self) -> Encoder:
        """The network that makes features: call it directly where gradients are wanted.

        Raises:
            ConfigError: another runtime than torch's holds no network.
        """
        if not isinstance(self._runtime, TorchRuntime):
            name = self._runtime.provenance["name"]
            raise ConfigError(f"runtime={name!r} holds no torch network; load with runtime='torch' for model.encoder")
        return self._runtime.encoder

    @property
    def detector(self) -> FaceDetector:
        """What finds faces; its weights are fetched when it is first asked for."""
        if not isinstance(self._detector, FaceDetector):
            self._detector = self._detector()
        return self._detector

    def with_detector(self, detector: FaceDetector | Callable[[], FaceDetector]) -> Marlin:
        """The same networks, not copied, with another detector.

        Args:
            detector: or a function that makes it, called when first needed.
        """
        return Marlin(self._runtime, detector=detector, identity=self._identity, decoder=self.decoder)

    @property
    def config(self) -> ModelConfig:
        """The size of the model."""
        return self._runtime.config

    @property
    def embedding_dim(self) -> int:
        """D: 384, 768 or 1024 for the published models."""
        return self.config.encoder_embed_dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._runtime.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self._runtime.dtype

    def to(
        self, device: str | torch.device | torch.dtype | None = None, dtype: str | torch.dtype | None = None
    ) -> Marlin:
        """Move the weights, in place.

        Args:
            device: as in `from_pretrained`; None leaves it. A dtype may stand in its place.
            dtype: as in `from_pretrained`; None leaves it.
        Returns:
            The same object.
        Raises:
            ConfigError: no such device or dtype.
        """
        if isinstance(device, torch.dtype) or device in DTYPES:
            device, dtype = None, str(device)
        where = None if device is None else resolve_device(device)
        precision = None if dtype is None else resolve_dtype(dtype)
        self._runtime.to(where, precision)
        if self.decoder is not None:
            self.decoder.to(device=self.device, dtype=self.dtype)
        return self

    def extract_clip(
        self,
        clip: Tensor | NDArray[Any],
        *,
        keep_seq: bool = False,
        layers: Sequence[int] | NDArray[np.integer[Any]] | Tensor | None = None,
    ) -> Tensor:
        """Embed clips that are cropped already.

        Args:
            clip: float (B, 3, 16, 224, 224) or (3, 16, 224, 224) in [0, 1], or uint8 (B, 16, 224, 224, 3) or
                (16, 224, 224, 3); RGB; tensor or array.
            keep_seq: keep the tokens of each clip instead of their pooled vector.
            layers: give the output of these blocks, a list or array of indices from 0 or from the end, pooled and
                normalised as the last.
        Returns:
            float32 on `device`: (B, D); (B, 1568, D) with `keep_seq`; (B, len(layers), ...) with `layers`. Without the
            batch dimension where the clip has none. No gradients flow.
        Raises:
            ShapeError: another shape or dtype, NaN, or floats outside [0, 1].
            ConfigError: a layer that is not there.
            DeviceMemoryError: the GPU has no memory left for one clip.
        """
        clips, batched = as_clips(clip, self.config)
        wanted = None if layers is None else as_layers(layers, self.config)
        features = self._runtime.encode(clips, keep_seq=keep_seq, layers=wanted)
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
        """Hide most of a clip, and let the decoder rebuild it.

        Args:
            clip: as in `extract_clip`.
            masking: "fasking", "fasking_opp", "tube", "random" or "frame"; the first two look for the parts of the face
                with the model's detector.
            ratio: share of the tokens that is hidden, in (0, 1).
            seed: the same seed hides the same tokens; of a batch, each clip has its own.
            normalised_target: the model was trained to rebuild normalised tubelets, as the recipe `videomae` does.
        Returns:
            Mask (True = visible), masked, rebuilt and composed clips, and the error of each hidden tubelet; float32 on
            the CPU. Without the batch dimension where the clip has none.
        Raises:
            WeightsError: the model has no decoder.
            ShapeError: as in `extract_clip`.
            ConfigError: an unknown masking, or a ratio that hides nothing or everything.
            DownloadError: the detector's weights cannot be had.
        """
        from marlin_sdk.reconstruction import rebuild
        from marlin_sdk.training.unparsed import draw_masks

        if self.decoder is None:
            raise WeightsError(
                f"{self.name} was loaded without its decoder, which rebuilds what is hidden; load it with "
                "Marlin.from_pretrained(..., decoder=True), from weights that hold one (.full.pt, .ckpt, a run)"
            )
        clips, batched = as_clips(clip, self.config)
        mask = draw_masks(clips, self.config, lambda: self.detector, masking=masking, ratio=ratio, seed=seed)
        result = rebuild(self.encoder, self.decoder, clips, mask, normalised_target=normalised_target)
        return result if batched else result[0]

    @spell_out_settings
    def extract_video(
        self, video: VideoSource, *, progress: bool = False, **settings: Unpack[ExtractionSettings]
    ) -> Tensor:
        """Embed a video; `extract` without the provenance.

        Args:
            video: path, URL, bytes, file object, folder of images, or uint8 array (T, H, W, 3).
            progress: show a bar of windows on stderr.
            settings: `crop_face="auto"`, `faces="largest"`, `sample_rate=2`, `stride=16`, `tail="pad"`,
                `reduction="none"`, `keep_seq=False`, `batch_size=8`, `compat=None`, and the rest of `ExtractionConfig`.
        Returns:
            float32 on the CPU: (N, D), a row for each window that shows a face; (N, 1568, D) with `keep_seq`; (D,) with
            a reduction. What `extract` would give as warnings is logged.
        Raises:
            ConfigError: a setting that cannot be used.
            VideoDecodeError: no frame can be had.
            NoFaceError: no window shows a face.
            ShapeError: `crop_face=False`, and the frames do not have the model's size.
        """
        result = self.extract(video, progress=progress, **settings)
        for warning in result.warnings:
            logger.warning("%s: %s", result.meta["source"], warning)
        return torch.from_numpy(result.features)

    @spell_out_settings
    def extract(
        self, video: VideoSource, *, progress: bool = False, **settings: Unpack[ExtractionSettings]
    ) -> VideoFeatures:
        """Embed a video, and keep where each row comes from.

        Args:
            video: as in `extract_video`.
            progress: as in `extract_video`.
            settings: as in `extract_video`.
        Returns:
            Features with times, frames, boxes, scores, what was skipped and why, and metadata.
        Raises:
            MarlinError: as in `extract_video`.
        """
        config = read_settings(settings)
        rows: list[WindowFeatures] = []
        skipped: list[SkippedWindow] = []
        with open_video(video, source_fps=config.source_fps) as reader:
            for row in self._rows(reader, config, config.batch_size, progress):
                rows.append(row) if isinstance(row, WindowFeatures) else skipped.append(row)
            return self.gather(rows, skipped, self._cutter.facts(reader), config)

    def embed_clips(self, clips: Sequence[Clip], *, keep_seq: bool = False) -> list[WindowFeatures]:
        """Embed clips that a `ClipCutter` has cut, of one video or of several, in one batch.

        Args:
            clips: with their pixels.
            keep_seq: as in `extract_clip`.
        """
        return embed_clips(clips, self._runtime, keep_seq=keep_seq)

    def gather(
        self,
        rows: Sequence[WindowFeatures],
        skipped: Sequence[SkippedWindow],
        facts: SourceFacts,
        config: ExtractionConfig,
    ) -> VideoFeatures:
        """Join the rows of one video; see `marlin_sdk.extraction.gather_features`.

        Raises:
            NoFaceError: every window was left out.
            ConfigError: a reduction over a video that has no window.
        """
        return gather_features(rows, skipped, facts, config, self._runtime, self._identity)

    @spell_out_settings
    def stream(
        self,
        video: VideoSource,
        *,
        on_skip: Callable[[SkippedWindow], object] | None = None,
        progress: bool = False,
        **settings: Unpack[ExtractionSettings],
    ) -> Iterator[WindowFeatures]:
        """Embed a video window by window, for one that is long or never ends (a camera's URL).

        Args:
            video: as in `extract_video`.
            on_skip: called with each window that shows no face for at least half of its frames.
            progress: as in `extract_video`.
            settings: as in `extract_video`; each window is embedded at once, whatever `batch_size` says.
        Yields:
            Each row as soon as the frames it needs have been seen. Windows without a face are passed over, and not
            kept. What `extract` would give as warnings is logged at the end.
        Raises:
            ConfigError: a setting that cannot be used, or a reduction, which has no rows to yield.
            MarlinError: as in `extract_video`.
        """
        config = read_settings(settings)
        if config.reduction != "none":
            raise ConfigError(f"stream() yields a row for each window; reduction={config.reduction!r} needs them all")
        return self._stream(video, config, on_skip, progress)

    def _stream(
        self,
        video: VideoSource,
        config: ExtractionConfig,
        on_skip: Callable[[SkippedWindow], object] | None,
        progress: bool,
    ) -> Iterator[WindowFeatures]:
        with open_video(video, source_fps=config.source_fps) as reader:
            tally = Tally()
            for row in self._rows(reader, config, 1, progress):
                tally.add(row)
                if isinstance(row, WindowFeatures):
                    yield row
                elif on_skip:
                    on_skip(row)
            facts = self._cutter.facts(reader)
            tally.check_faces(facts.name, self.config.img_size)
            for warning in tally.warnings(facts, config):
                logger.warning("%s: %s", facts.name, warning)

    def _rows(
        self, reader: VideoReader, config: ExtractionConfig, batch_size: int, progress: bool
    ) -> Iterator[WindowFeatures | SkippedWindow]:
        cuts = self._cutter.cut(reader, config)
        rows = embed_cuts(cuts, self._runtime, batch_size=batch_size, keep_seq=config.keep_seq)
        return count_on_bar(rows, reader, config, self.config.n_frames, disable=not progress)


def _detector_maker(
    detector: str | Path | FaceDetector, device: torch.device, cache_dir: str | Path | None, local_files_only: bool
) -> Callable[[], FaceDetector]:
    return lambda: load_detector(detector, device=str(device), cache_dir=cache_dir, local_files_only=local_files_only)
