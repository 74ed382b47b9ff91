"""Features of frames: which frames, and what is drawn together."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.making import noise, write_video

from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.inception.features import inception_features
from marlin_sdk.inception.network import FEATURES, Inception


class Mean(Inception):
    """A stand-in: the mean colour of each picture, 2048 wide. The real network is in test_network."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        assert 0 <= pictures.min() <= pictures.max() <= 1
        return pictures.mean(dim=(2, 3)).repeat(1, FEATURES)[:, :FEATURES]


@pytest.fixture(scope="module")
def mean() -> Inception:
    return Mean().requires_grad_(False)


def images(folder: Path, count: int, *, sizes: tuple[int, ...] = (24,)) -> Path:
    folder.mkdir(parents=True)
    for at in range(count):
        side = sizes[at % len(sizes)]
        cv2.imwrite(str(folder / f"{at}.png"), np.full((side, side, 3), (at, 50, 200), np.uint8))
    return folder


def test_all_frames_of_a_video_in_stretches_of_a_second(tmp_path: Path, mean: Inception) -> None:
    video = write_video(tmp_path / "a.mp4", noise(60, 32, 48))
    found = inception_features(video, mean, batch_size=7)
    assert (found.features.shape, found.unit) == ((60, FEATURES), "frames")
    assert [found.groups.tolist().count(name) for name in sorted(set(found.groups))] == [25, 25, 10]
    some = inception_features(video, mean, every=5)
    assert [some.groups.tolist().count(name) for name in sorted(set(some.groups))] == [5, 5, 2]
    assert any("one video" in note for note in found.notes)


def test_pictures_are_rgb_of_any_size_in_natural_order(tmp_path: Path, mean: Inception) -> None:
    found = inception_features(images(tmp_path / "pictures", 12, sizes=(24, 16)), mean)
    np.testing.assert_allclose(found.features[:, 0], 200 / 255, rtol=1e-5)
    np.testing.assert_allclose(found.features[:, 2], np.arange(12) / 255, rtol=1e-5)


def test_each_video_of_a_folder_is_a_group(tmp_path: Path, mean: Inception) -> None:
    for name in ("b", "a"):
        write_video(tmp_path / f"{name}.mp4", noise(20, 32, 32))
    done = []
    found = inception_features(tmp_path, mean, every=3, progress=lambda *step: done.append(step[1:]))
    assert found.groups.tolist() == [str(tmp_path / "a.mp4")] * 7 + [str(tmp_path / "b.mp4")] * 7
    assert done == [(1, 2), (2, 2)]
    assert found.notes == ("one of 3 frames is used; FID is defined on all",)


def test_a_damaged_picture_is_said(tmp_path: Path, mean: Inception) -> None:
    folder = images(tmp_path / "pictures", 12)
    (folder / "3.png").write_bytes(b"no picture")
    found = inception_features(folder, mean)
    assert len(found) == 11
    assert any("is damaged, 11 frames of it are used" in note for note in found.notes)


def test_what_cannot_be_compared_is_refused(tmp_path: Path, mean: Inception) -> None:
    with pytest.raises(ConfigError, match="has 9 frames, too few"):
        inception_features(images(tmp_path / "few", 9), mean)
    with pytest.raises(ConfigError, match="every is 0"):
        inception_features(tmp_path / "few", mean, every=0)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoDecodeError):
        inception_features(tmp_path / "text.mp4", mean)
