"""Writing frames to a video file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from tests.making import noise

from marlin_sdk.errors import ConfigError, FeatureFileError, NoFaceError, VideoDecodeError
from marlin_sdk.video.reader import open_video
from marlin_sdk.video.sound import SOUND_RATE, Sound, read_sound
from marlin_sdk.video.writer import write_video


def test_video_has_the_frames_at_their_rate(tmp_path: Path) -> None:
    frames = noise(10, 48, 65)
    assert write_video(frames, tmp_path / "out.mp4", fps=12.5) == 10
    with open_video(tmp_path / "out.mp4") as reader:
        read = [frame.rgb for frame in reader]
        assert reader.fps == pytest.approx(12.5)
    assert len(read) == 10
    assert read[0].shape == (48, 64, 3)
    assert np.abs(np.stack(read).astype(int) - frames[:, :, :64]).mean() < 12


@pytest.mark.parametrize("name", ["out.gif", "out", "out.png"])
def test_name_of_another_container_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.mkv, \.mov, \.mp4"):
        write_video(noise(2, 32, 32), tmp_path / name, fps=25)


def test_video_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no frame"):
        write_video([], tmp_path / "out.mp4", fps=25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [NoFaceError, VideoDecodeError])
def test_error_of_the_source_is_not_reported_as_one_of_the_file(tmp_path: Path, kind: type[Exception]) -> None:
    def frames() -> object:
        yield noise(1, 32, 32)[0]
        raise kind("the source")

    with pytest.raises(kind, match="the source"):
        write_video(frames(), tmp_path / "out.mp4", fps=25)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatureFileError, match=r"cannot write .*out\.mp4"):
        write_video(noise(2, 32, 32), tmp_path / "file" / "out.mp4", fps=25)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_sound_is_written_on_the_clock_of_the_frames(tmp_path: Path, suffix: str) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)
    path = tmp_path / f"out.{suffix}"
    write_video(noise(50, 32, 32), path, fps=25, sound=Sound(tone, 0.5, rate=48_000), metadata={"comment": "made"})
    read = read_sound(path)
    loud = np.flatnonzero(np.abs(read.samples) > 0.2) / SOUND_RATE + read.start_s
    assert loud[0] == pytest.approx(0.5, abs=0.02)
    assert loud[-1] == pytest.approx(1.5, abs=0.02)
    with av.open(str(path)) as container:
        metadata = {key.lower(): value for key, value in container.metadata.items()}
    assert metadata["comment"] == "made"


def test_sound_ends_with_the_frames(tmp_path: Path) -> None:
    write_video(noise(25, 32, 32), tmp_path / "out.mp4", fps=25, sound=Sound(np.full(80_000, 0.3, np.float32)))
    assert read_sound(tmp_path / "out.mp4").end_s == pytest.approx(1.0, abs=0.07)
