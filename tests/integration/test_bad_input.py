"""Section 7 of issue 2: bad input ends in a typed error or a marked result, in the library and on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import TINY, PaintedFace, lay, noise, painted, write_checkpoint, write_video

from marlin_sdk import Marlin, MarlinError, NoFaceError, ShapeError, VideoDecodeError, VideoFeatures
from marlin_sdk.cli.extract import main
from marlin_sdk.dump.manifest import read_manifest

Make = Callable[[Path], Path]


def truncated(path: Path) -> Path:
    """An mp4 whose index, which lies at its end, is gone."""
    write_video(path, noise(60, 32, 32))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def without_frames(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    return path


def folder_without_videos(path: Path) -> Path:
    lay(path / "notes.txt", b"nothing to see")
    return path


UNREADABLE: dict[str, tuple[Make, type[MarlinError], str]] = {
    "empty": (lambda path: lay(path, b""), VideoDecodeError, "is empty"),
    "text": (
        lambda path: lay(path, b"Dear video,\n" * 200),
        VideoDecodeError,
        "cannot be opened as a video|is not a video",
    ),
    "random": (
        lambda path: lay(path, np.random.default_rng(0).bytes(20_000)),
        VideoDecodeError,
        "cannot|no video|no frame",
    ),
    "truncated": (truncated, VideoDecodeError, "cannot be opened as a video"),
    "audio": (audio_only, VideoDecodeError, "has no video stream, only audio"),
    "no frames": (without_frames, VideoDecodeError, "no frame|cannot be opened|no video"),
    "folder": (folder_without_videos, VideoDecodeError, "holds no (video|image)"),
    "missing": (lambda path: path, VideoDecodeError, "no such video"),
    "no face": (lambda path: write_video(path, noise(40, 64, 64)), NoFaceError, "none of 2 windows shows one face"),
    "16x16": (lambda path: write_video(path, noise(40, 16, 16)), NoFaceError, "none of 2 windows shows one face"),
}


@pytest.fixture(scope="module")
def tiny_folder(tiny: Marlin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), tiny)


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)], prog_name="marlin-extract")
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(("make", "kind", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_face_video(
    tiny: Marlin,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Make,
    kind: type[MarlinError],
    said: str,
) -> None:
    video = make(tmp_path / "odd.mp4")
    for extract in (tiny.extract_video, tiny.extract, lambda source: list(tiny.stream(source))):
        with pytest.raises(kind, match=said):
            extract(video)
    good = write_video(tmp_path / "good.mp4", noise(20, 32, 32))
    for output in ("out", "-"):
        code = call(video, good, "-o", output, "--model", tiny_folder, "--detector", "lbp")
        printed = capsys.readouterr()
        assert code == 1
        (failed,) = [line for line in printed.err.splitlines() if line.startswith("failed: ")]
        assert str(video) in failed
        assert failed.endswith((f"({kind.__name__})", "(VideoNotFoundError)"))
        assert "1 of 2 videos done: 1 rows" in printed.err
        assert "Traceback" not in printed.err + printed.out
    assert sorted(path.name for path in Path("out").iterdir()) == [
        ".locks",
        "good.npz",
        "manifest.jsonl",
        "settings.json",
    ]
    (entry,) = [entry for id, entry in read_manifest(Path("out")).items() if id != "good"]
    assert entry.status == ("no_face" if kind is NoFaceError else "failed")
    assert entry.error in (kind.__name__, "VideoNotFoundError")
    assert re.search(said, entry.message or "")


@pytest.mark.parametrize("num_frames", [1, 2])
def test_video_of_one_frame_is_one_padded_window(tiny: Marlin, tmp_path: Path, num_frames: int) -> None:
    result = tiny.extract(write_video(tmp_path / "one.mp4", noise(num_frames, 32, 32)))
    assert len(result) == 1
    assert result.frame_valid.sum() == 1
    assert (result.frame_index == 0).all()


@pytest.mark.parametrize("size", [(16, 16), (4320, 7680)], ids=["16x16", "8K"])
def test_tiny_and_huge_frames(size: tuple[int, int]) -> None:
    height, width = size
    video = np.full((3, height, width, 3), 90, np.uint8)
    video[:, height // 4 : height * 3 // 4, width // 4 : width // 4 + height // 2] = (255, 0, 0)
    model = Marlin.untrained(TINY, device="cpu", detector=PaintedFace())
    result = model.extract(video, sample_rate=1)
    assert result.features.shape == (1, 32)
    assert np.isfinite(result.features).all()
    x1, y1, x2, _ = result.boxes[0, 0]
    assert abs((x2 - x1) - height // 2) <= 2
    assert abs(y1 - height // 4) <= 2


def test_face_that_leaves_and_returns_is_marked(tmp_path: Path) -> None:
    video = painted(160, dict.fromkeys([*range(32), *range(96, 160)], (40, 20, 80, 60)))
    model = Marlin.untrained(TINY, device="cpu", detector=PaintedFace())
    result = model.extract(write_video(tmp_path / "away.mp4", video, codec="png", pix_fmt="rgb24").rename("away.mov"))
    assert result.frame_index[:, 0].tolist() == [0, 96, 128]
    saved = VideoFeatures.load(result.save(tmp_path / "away.npz"))
    assert [(window.start_s, window.reason) for window in saved.skipped] == [
        (window.start_s, window.reason) for window in result.skipped
    ]
    assert len(saved.skipped) == 2


@pytest.mark.parametrize(
    "video",
    [
        noise(20, 32, 32).transpose(0, 3, 1, 2),
        noise(20, 32, 32).astype(np.float32),
        noise(20, 32, 32)[0],
        noise(20, 32, 32)[..., :1],
    ],
    ids=["channels first", "float", "one image", "grey"],
)
def test_array_of_wrong_shape_or_order(tiny: Marlin, video: NDArray[Any]) -> None:
    with pytest.raises(ShapeError, match=r"uint8 \(T, H, W, 3\); got"):
        tiny.extract_video(video)


@pytest.mark.parametrize("video", [3, None, ["a.mp4"], {"path": "a.mp4"}], ids=str)
def test_what_is_no_source_at_all(tiny: Marlin, video: Any) -> None:
    for extract in (tiny.extract_video, tiny.extract, lambda source: list(tiny.stream(source))):
        with pytest.raises(MarlinError, match="a video is a path"):
            extract(video)


def test_name_too_long_for_a_file(tiny: Marlin) -> None:
    with pytest.raises(VideoDecodeError):
        tiny.extract("x" * 5000)


@pytest.mark.parametrize("name", ["out/file.npz", "folder.npz"])
def test_output_that_cannot_be_written_leaves_nothing(tiny: Marlin, tmp_path: Path, name: str) -> None:
    lay(tmp_path / "out", b"in the way")
    (tmp_path / "folder.npz").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="cannot write"):
        tiny.extract(noise(20, 32, 32)).save(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
