"""One model in several threads, and in other processes, after it has been used."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import TINY
from tests.patience import HANG_S

from marlin_sdk import Marlin, VideoFeatures
from marlin_sdk.face.detectors import load_detector
from marlin_sdk.video.reader import open_video


@pytest.fixture(scope="module")
def videos(astronaut: Path) -> list[NDArray[np.uint8]]:
    """Three of different sizes: a detector that mixes them up gives boxes of another video."""
    with open_video(astronaut) as reader:
        frames = np.stack([frame.rgb for frame in reader][:32])
    return [frames, np.ascontiguousarray(frames[:, :, 40:400]), np.ascontiguousarray(frames[:, ::2, ::2])]


def assert_equal(got: VideoFeatures, expected: VideoFeatures) -> None:
    np.testing.assert_allclose(got.features, expected.features, atol=1e-6)
    np.testing.assert_array_equal(got.boxes, expected.boxes)
    np.testing.assert_array_equal(got.frame_index, expected.frame_index)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_three_threads_share_a_model(videos: list[NDArray[np.uint8]], runtime: str) -> None:
    model = Marlin.untrained(TINY, device="cpu", runtime=runtime, detector="lbp")  # type: ignore[arg-type]
    expected = [model.extract(video, source_fps=25.0) for video in videos]
    fresh = Marlin.untrained(TINY, device="cpu", runtime=runtime, detector="lbp")  # type: ignore[arg-type]
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(fresh.extract, videos[index % 3], source_fps=25.0) for index in range(9)]
        for index, job in enumerate(jobs):
            assert_equal(job.result(timeout=HANG_S), expected[index % 3])


@pytest.mark.shared
def test_three_threads_share_the_default_detector(videos: list[NDArray[np.uint8]], shared: Path) -> None:
    detector = load_detector(shared / "weights" / "face_detection_yunet_2023mar.onnx")
    expected = [detector.detect(list(video[:20])) for video in videos]
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(detector.detect, list(videos[index % 3][:20])) for index in range(9)]
        for index, job in enumerate(jobs):
            for got, right in zip(job.result(timeout=HANG_S), expected[index % 3], strict=True):
                np.testing.assert_array_equal(got.boxes, right.boxes)
    assert len(pickle.loads(pickle.dumps(detector)).detect([videos[0][0]])[0]) == 1


def boxes_of(model: Marlin, video: NDArray[np.uint8]) -> NDArray[np.float32]:
    return model.extract(video, source_fps=25.0).boxes


@pytest.mark.parametrize("runtime", ["torch", "openvino", "onnx"])
def test_model_that_was_used_can_be_copied_pickled_and_sent_to_a_process(
    videos: list[NDArray[np.uint8]], runtime: str
) -> None:
    model = Marlin.untrained(TINY, device="cpu", runtime=runtime, detector="lbp")  # type: ignore[arg-type]
    expected = model.extract(videos[2], source_fps=25.0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_equal(other.extract(videos[2], source_fps=25.0), expected)
        assert other.detector is not model.detector
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        boxes = pool.submit(boxes_of, model, videos[2]).result(timeout=HANG_S)
    np.testing.assert_array_equal(boxes, expected.boxes)
