"""Interlaced video: moving things have no combs, and no picture, time or colour is lost."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import write_video

from marlin_sdk.video.container import ContainerReader

WARNING = "interlaced; its frames are deinterlaced by FFmpeg's bwdif"


def moving_bar(count: int, height: int = 96, width: int = 256) -> list[NDArray[np.uint8]]:
    """A bright bar that moves by three pixels a field, two fields a frame."""
    frames = np.full((count, height, width, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        for field in (0, 1):
            left = 10 + 3 * (2 * index + field)
            frame[field::2, left : left + 20] = 220
    return list(frames)


def write_interlaced(path: Path, frames: list[NDArray[np.uint8]], *, options: str = "") -> Path:
    return write_video(path, frames, options={"flags": "+ildct+ilme", "x264-params": f"tff=1{options}", "crf": "4"})


def combing(rgb: NDArray[np.uint8]) -> float:
    """How much each line differs from its neighbours, which are of the other field."""
    lines = rgb.astype(np.float64)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_moving_things_have_no_combs_and_no_frame_or_time_is_lost(tmp_path: Path, suffix: str) -> None:
    path = write_interlaced(tmp_path / f"fields.{suffix}", moving_bar(30))
    with av.open(str(path)) as container:
        woven = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with ContainerReader(str(path), name="fields") as reader:
        frames = [(frame.index, frame.time_s, frame.rgb) for frame in reader]
        assert reader.warnings == [WARNING]
        assert not reader.is_damaged
    assert [index for index, _, _ in frames] == list(range(30))
    np.testing.assert_allclose([time_s for _, time_s, _ in frames], np.arange(30) / 25, atol=1e-3)
    assert np.mean([combing(rgb) for rgb in woven]) > 5
    assert np.mean([combing(rgb) for _, _, rgb in frames[1:-1]]) < 0.5


def test_progressive_video_is_untouched(tmp_path: Path) -> None:
    path = write_video(tmp_path / "whole.mp4", moving_bar(30))
    with av.open(str(path)) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with ContainerReader(str(path), name="whole") as reader:
        for before, frame in zip(plain, reader, strict=True):
            np.testing.assert_array_equal(frame.rgb, before)
        assert reader.warnings == []


def test_colours_stay(tmp_path: Path) -> None:
    still = np.zeros((96, 128, 3), np.uint8)
    still[:, :64], still[:, 64:] = (200, 40, 60), (30, 90, 210)
    path = write_interlaced(tmp_path / "still.mp4", [still] * 12, options=":colormatrix=bt709:range=pc")
    with av.open(str(path)) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with ContainerReader(str(path), name="still") as reader:
        for before, frame in zip(plain, reader, strict=True):
            np.testing.assert_allclose(frame.rgb.astype(int), before, atol=2)


def test_size_may_change_on_the_way(tmp_path: Path) -> None:
    small = write_interlaced(tmp_path / "small.ts", moving_bar(20))
    large = write_interlaced(tmp_path / "large.ts", moving_bar(20, 128, 160))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with ContainerReader(str(both), name="both") as reader:
        sizes = [(frame.height, frame.width, frame.rgb.shape[:2]) for frame in reader]
    assert sizes == [(96, 256, (96, 256))] * 20 + [(128, 160, (128, 160))] * 20
