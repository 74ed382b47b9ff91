"""Prepare one video: track, crop, parse and encode its faces as one part of the data."""

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

__all__ = ["Segment", "load_tools", "prepare_source", "track_faces"]


@dataclass
class Segment:
    """Consecutive frames of one face, collected one by one.

    Attributes:
        track: track id of the face in its video.
        pixels: its crops.
        frame_index: indices of their frames.
        times_us: presentation times of their frames, in microseconds.
        squares: the square cropped from each frame.
        frame_size: (height, width) of the frames.
        weight: prominence of the face: area times score, summed over all frames.
    """

    track: int
    frame_size: tuple[int, int]
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    frame_index: list[int] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    squares: list[NDArray[np.int64]] = field(default_factory=list)
    weight: float = 0.0

    def add(self, frame: Frame, face: TrackedFace, size_px: int) -> None:
        """Crop and append a frame."""
        whole = frame.rgb.shape[:2] == (size_px, size_px) and face.box.tolist() == [0, 0, size_px, size_px]
        square = face.box.astype(np.int64) if whole else square_box(face.box)
        self.pixels.append(frame.rgb if whole else crop_square(frame.rgb, square, size_px))
        self.frame_index.append(frame.index)
        self.times_us.append(round(frame.time_s * 1e6))
        self.squares.append(square)
        self.weight += float(np.prod(face.box[2:] - face.box[:2])) * face.score

    def split_off(self, num_frames: int) -> Segment:
        """Remove the first frames, and return them as a segment."""
        first = Segment(self.track, self.frame_size, weight=self.weight * num_frames / len(self.pixels))
        for name in ("pixels", "frame_index", "times_us", "squares"):
            values: list[Any] = getattr(self, name)
            getattr(first, name).extend(values[:num_frames])
            del values[:num_frames]
        self.weight -= first.weight
        return first

    @property
    def face_px(self) -> float:
        """Median side of the face's square in the source."""
        return float(np.median([square[2] - square[0] for square in self.squares]))


def track_faces(frames: Iterable[Frame], config: PrepareConfig, detector: FaceDetector | None) -> Iterator[Segment]:
    """Track and crop every face of a video, with at most one segment of each in memory.

    Args:
        frames: in order.
        config: crop size, detection interval, and length of a segment.
        detector: finds the faces; None uses the frames uncropped.
    Yields:
        Segments of `segment_frames`, and the rest of each track: longer by less than `min_frames`, or a whole track if
        it is shorter.
    Raises:
        ShapeError: frames are not cropped, and one does not have `size_px`.
    """
    if detector is None:
        tracked = _whole_frames(frames, config.size_px)
    else:
        tracked = FaceTracker(detector, detect_every=config.detect_every).follow(frames)
    open_segments: dict[int, Segment] = {}
    for frame, faces in tracked:
        present = {face.track_id for face in faces}
        for ended in [track for track in open_segments if track not in present]:
            yield open_segments.pop(ended)
        for face in faces:
            segment = open_segments.setdefault(face.track_id, Segment(face.track_id, frame.rgb.shape[:2]))
            segment.add(frame, face, config.size_px)
            if len(segment.pixels) >= config.segment_frames + config.min_frames:
                yield segment.split_off(config.segment_frames)
    yield from open_segments.values()


def prepare_source(source: Source, folder: DataFolder, config: PrepareConfig) -> Outcome:
    """Prepare one video, and write its part atomically.

    Args:
        source: the video.
        folder: of the data.
        config: the settings.
    Returns:
        The outcome; a video that cannot be read is an outcome, not an error.
    Raises:
        OSError: the part cannot be written.
        ConfigError, WeightsError, DownloadError, MissingExtraError: detector or parser cannot be loaded.
    """
    detector, parser = load_tools(config)
    outcome = partial(Outcome, source.id, stamp=source.stamp, identity=source.identity)
    try:
        with open_video(source.path) as reader:
            samples, left_out = _write_part(reader, source, folder, config, detector, parser)
            warnings = [text for text in reader.warnings if "source_fps" not in text]
    except (VideoDecodeError, ShapeError) as error:
        return outcome(status="broken", reason=str(error))
    except (MarlinError, OSError):
        raise  # would happen to every video
    except Exception as error:  # one bad video must not stop the others
        return outcome(status="broken", reason=f"unexpected {error!r}")
    if not samples:
        limits = f"shorter than {config.min_frames} frames or smaller than {config.min_face_px} pixels"
        reason = f"face tracks: {left_out}, all {limits}" if left_out else "no face in any frame"
        return outcome(status="left_out" if left_out else "no_face", reason=reason, left_out=left_out)
    frames = sum(sample.num_frames for sample in samples)
    return outcome(status="done", samples=len(samples), frames=frames, left_out=left_out, warnings=tuple(warnings))


@cache
def load_tools(config: PrepareConfig) -> tuple[FaceDetector, RegionParser]:
    """Detector and parser, loaded once per process.

    Raises:
        ConfigError, WeightsError, DownloadError, MissingExtraError: one cannot be loaded.
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
    """The samples written, and the number of discarded faces."""
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
            for segment in track_faces(sampled, config, detector if crop else None):
                if len(segment.pixels) < config.min_frames or segment.face_px < config.min_face_px:
                    left_out += 1
                    continue
                weights[segment.track] = weights.get(segment.track, 0.0) + segment.weight
                crops = _as_crops(segment, source, names)
                regions = region_bits(parser.parse(crops), config.patch_px)
                description = _describe(segment, source)
                samples.append(write_sample(file, description, regions, encode(crops.pixels, config.quality)))
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
    """Encode each frame as WebP.

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


def _as_crops(segment: Segment, source: Source, names: tuple[str, ...]) -> FaceCrops:
    return FaceCrops(
        pixels=np.stack(segment.pixels),
        frame_index=np.array(segment.frame_index, dtype=np.int64),
        squares=np.stack(segment.squares),
        frame_size=segment.frame_size,
        source=source.id,
        frame_names=tuple(names[index] for index in segment.frame_index) if names else (),
    )


def _describe(segment: Segment, source: Source) -> dict[str, Any]:
    return {
        "id": f"{source.id}#{segment.track}-{segment.frame_index[0]}",
        "source": source.id,
        "identity": source.identity,
        "track": segment.track,
        "first_frame": segment.frame_index[0],
        "times_us": tuple(segment.times_us),
    }
