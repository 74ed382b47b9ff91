"""One video to one part: faces followed, cropped, parsed, encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.atomic import atomic_path
from marlin_sdk.clips.windows import sample_by_time
from marlin_sdk.errors import MarlinError, ShapeError, VideoDecodeError
from marlin_sdk.face.cropping import crop_square, square_box
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.detectors import load_detector
from marlin_sdk.face.regions.labels import FaceCrops, RegionParser, region_bits
from marlin_sdk.face.regions.parsers import load_parser
from marlin_sdk.face.tracking import FaceTracker, TrackedFace
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.shards import Sample, Shard, end_tar, write_index, write_sample
from marlin_sdk.training.prepare.sources import Source
from marlin_sdk.video.reader import Frame, VideoReader, open_video
from marlin_sdk.video.sources import ImageFolderReader

__all__ = ["Stretch", "follow_faces", "load_tools", "prepare_source"]


@dataclass
class Stretch:
    """Consecutive frames of one face, while they are gathered.

    Attributes:
        track: number of the face in its video.
        pixels: its crops.
        frame_index: numbers of their frames.
        squares: what was cut out of each frame.
        frame_size: (height, width) of the frames.
        weight: how prominent the face is: area times score, over all frames.
    """

    track: int
    frame_size: tuple[int, int]
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    frame_index: list[int] = field(default_factory=list)
    squares: list[NDArray[np.int64]] = field(default_factory=list)
    weight: float = 0.0

    def add(self, frame: Frame, face: TrackedFace, size_px: int) -> None:
        """Crop one more frame."""
        whole = frame.rgb.shape[:2] == (size_px, size_px) and face.box.tolist() == [0, 0, size_px, size_px]
        square = face.box.astype(np.int64) if whole else square_box(face.box)
        self.pixels.append(frame.rgb if whole else crop_square(frame.rgb, square, size_px))
        self.frame_index.append(frame.index)
        self.squares.append(square)
        self.weight += float(np.prod(face.box[2:] - face.box[:2])) * face.score

    def cut(self, num_frames: int) -> Stretch:
        """Take the first frames out of it."""
        first = Stretch(self.track, self.frame_size, weight=self.weight * num_frames / len(self.pixels))
        for name in ("pixels", "frame_index", "squares"):
            values: list[Any] = getattr(self, name)
            getattr(first, name).extend(values[:num_frames])
            del values[:num_frames]
        self.weight -= first.weight
        return first

    @property
    def face_px(self) -> float:
        """Side of the face's square in the source: the median over the frames."""
        return float(np.median([square[2] - square[0] for square in self.squares]))


def follow_faces(frames: Iterable[Frame], config: PrepareConfig, detector: FaceDetector | None) -> Iterator[Stretch]:
    """Follow every face of a video and crop it, holding no more than a stretch of each.

    Args:
        frames: in order.
        config: size, looks, and how long a stretch is.
        detector: finds the faces; None takes the frames as they are.
    Yields:
        Stretches of `segment_frames`, and the rest of each track: longer by less than `min_frames`, or a whole track
        that was shorter.
    Raises:
        ShapeError: nothing is cropped, and a frame is not of `size_px`.
    """
    if detector is None:
        followed = _whole_frames(frames, config.size_px)
    else:
        followed = FaceTracker(detector, detect_every=config.detect_every).follow(frames)
    open_tracks: dict[int, Stretch] = {}
    for frame, faces in followed:
        shown = {face.track_id for face in faces}
        for gone in [track for track in open_tracks if track not in shown]:
            yield open_tracks.pop(gone)
        for face in faces:
            stretch = open_tracks.setdefault(face.track_id, Stretch(face.track_id, frame.rgb.shape[:2]))
            stretch.add(frame, face, config.size_px)
            if len(stretch.pixels) >= config.segment_frames + config.min_frames:
                yield stretch.cut(config.segment_frames)
    yield from open_tracks.values()


def prepare_source(source: Source, folder: DataFolder, config: PrepareConfig) -> Outcome:
    """Prepare one video, and write its part, whole or not at all.

    Args:
        source: the video.
        folder: of the data.
        config: how.
    Returns:
        What became of it; a video that cannot be read is an outcome, not an error.
    Raises:
        OSError: the part cannot be written.
        ConfigError, WeightsError, DownloadError, MissingExtraError: detector or parser cannot be had.
    """
    detector, parser = load_tools(config)
    told = partial(Outcome, source.id, stamp=source.stamp, identity=source.identity)
    try:
        with open_video(source.path) as reader:
            kept, left_out = _write_part(reader, source, folder, config, detector, parser)
            warnings = [text for text in reader.warnings if "source_fps" not in text]
    except (VideoDecodeError, ShapeError) as error:
        return told(status="broken", reason=str(error))
    except (MarlinError, OSError):
        raise  # would happen to every video
    except Exception as error:  # one bad video must not cost the others
        return told(status="broken", reason=f"unexpected {error!r}")
    if not kept:
        limits = f"shorter than {config.min_frames} frames or smaller than {config.min_face_px} pixels"
        reason = f"face tracks: {left_out}, all {limits}" if left_out else "no face in any frame"
        return told(status="left_out" if left_out else "no_face", reason=reason, left_out=left_out)
    frames = sum(sample.num_frames for sample in kept)
    return told(status="done", samples=len(kept), frames=frames, left_out=left_out, warnings=tuple(warnings))


@cache
def load_tools(config: PrepareConfig) -> tuple[FaceDetector, RegionParser]:
    """Detector and parser, made once in each process.

    Raises:
        ConfigError, WeightsError, DownloadError, MissingExtraError: one cannot be had.
    """
    detector = load_detector(config.detector)
    return detector, load_parser(config.parser, detector=detector)


def _write_part(
    reader: VideoReader,
    source: Source,
    folder: DataFolder,
    config: PrepareConfig,
    detector: FaceDetector,
    parser: RegionParser,
) -> tuple[list[Sample], int]:
    """The samples that were kept, and the number of faces that were left out."""
    frames = iter(reader)
    first = next(frames, None)
    if first is None:
        raise VideoDecodeError(f"{reader.name} has no frame that can be decoded")
    fits = (first.height, first.width) == (config.size_px, config.size_px)
    crop = not fits if config.crop_face == "auto" else config.crop_face
    sampled: Iterable[Frame] = chain([first], frames)
    if config.fps:
        sampled = sample_by_time(sampled, config.fps)
    names = tuple(file.stem for file in reader.files) if isinstance(reader, ImageFolderReader) else ()
    path = folder.part(source.id)
    samples: list[Sample] = []
    weights: dict[int, float] = {}
    left_out = 0
    with atomic_path(path) as part:
        with part.open("wb") as file:
            for stretch in follow_faces(sampled, config, detector if crop else None):
                if len(stretch.pixels) < config.min_frames or stretch.face_px < config.min_face_px:
                    left_out += 1
                    continue
                weights[stretch.track] = weights.get(stretch.track, 0.0) + stretch.weight
                crops = _as_crops(stretch, source, names)
                regions = region_bits(parser.parse(crops), config.patch_px)
                described = _describe(stretch, source)
                samples.append(write_sample(file, described, regions, encode(crops.pixels, config.quality)))
            num_bytes = end_tar(file)
        if config.faces == "largest" and samples:
            largest = max(weights, key=weights.__getitem__)
            left_out += len({sample.track for sample in samples} - {largest})
            samples = [sample for sample in samples if sample.track == largest]
    if samples:
        write_index(Shard(path, None, samples, num_bytes))
    else:
        path.unlink()
    return samples, left_out


def encode(pixels: NDArray[np.uint8], quality: int) -> list[bytes]:
    """Each frame as WebP.

    Args:
        pixels: uint8 (T, S, S, 3), RGB.
        quality: 1 to 100.
    """
    import cv2

    settings = [cv2.IMWRITE_WEBP_QUALITY, quality]
    return [cv2.imencode(".webp", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), settings)[1].tobytes() for frame in pixels]


def _whole_frames(frames: Iterable[Frame], size_px: int) -> Iterator[tuple[Frame, list[TrackedFace]]]:
    whole = np.array([0, 0, size_px, size_px], dtype=np.float64)
    for frame in frames:
        if (frame.height, frame.width) != (size_px, size_px):
            raise ShapeError(
                f"frame {frame.index} is {frame.width}x{frame.height}; without cropping, frames must be "
                f"{size_px}x{size_px}: crop faces, or scale the video"
            )
        yield frame, [TrackedFace(0, whole, 1.0)]


def _as_crops(stretch: Stretch, source: Source, names: tuple[str, ...]) -> FaceCrops:
    return FaceCrops(
        pixels=np.stack(stretch.pixels),
        frame_index=np.array(stretch.frame_index, dtype=np.int64),
        squares=np.stack(stretch.squares),
        frame_size=stretch.frame_size,
        source=source.id,
        frame_names=tuple(names[index] for index in stretch.frame_index) if names else (),
    )


def _describe(stretch: Stretch, source: Source) -> dict[str, Any]:
    return {
        "id": f"{source.id}#{stretch.track}-{stretch.frame_index[0]}",
        "source": source.id,
        "identity": source.identity,
        "track": stretch.track,
        "first_frame": stretch.frame_index[0],
    }
