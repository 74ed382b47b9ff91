"""What a dump is made with: it crosses to other processes, and says what its numbers depend on."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.making import TINY, lay, noise

from marlin_sdk import ConfigError, DownloadError, ExtractionConfig, Marlin, WeightsError
from marlin_sdk.batch import recipe as module
from marlin_sdk.batch.inputs import VideoInput
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.dump.settings import settings_hash
from marlin_sdk.face.detectors import FaceDetector, LbpDetector
from marlin_sdk.video.reader import open_video

TINY_RECIPE = Recipe(model=TINY, untrained=True, detector="lbp")


def test_it_crosses_to_another_process() -> None:
    how = replace(TINY_RECIPE, settings=ExtractionConfig(stride=3, fps=5.0))
    assert pickle.loads(pickle.dumps(how)) == how


def test_a_process_that_only_cuts_loads_no_torch() -> None:
    program = (
        "import sys; import marlin_sdk.batch.workers; from marlin_sdk.batch.recipe import Recipe;"
        "from marlin_sdk.config import PRESETS;"
        "Recipe().load_cutter(PRESETS['marlin_vit_base_ytf']);"
        "print('torch' in sys.modules, 'huggingface_hub' in sys.modules, 'pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 3


def test_identity_is_of_the_numbers_not_of_the_speed(tiny: Marlin) -> None:
    base = settings_hash(TINY_RECIPE.identity(tiny))
    faster = replace(TINY_RECIPE, settings=ExtractionConfig(batch_size=99))
    assert settings_hash(faster.identity(tiny)) == base
    others = [
        replace(TINY_RECIPE, settings=ExtractionConfig(stride=8)),
        replace(TINY_RECIPE, settings=ExtractionConfig(keep_seq=True)),
        replace(TINY_RECIPE, dtype="bfloat16"),
        replace(TINY_RECIPE, detector="yunet"),
    ]
    assert len({base, *(settings_hash(other.identity(tiny)) for other in others)}) == 5
    assert settings_hash(TINY_RECIPE.identity(Marlin.untrained(TINY, seed=1, device="cpu"))) != base


def test_identity_is_of_who_multiplies() -> None:
    how = replace(TINY_RECIPE, runtime="onnx")
    model = how.load_model("cpu")
    assert model.runtime["name"] == "onnx"
    assert how.identity(model)["runtime"] == {"name": "onnx"}
    assert settings_hash(how.identity(model)) != settings_hash(TINY_RECIPE.identity(TINY_RECIPE.load_model("cpu")))


def test_identity_knows_a_detector_file_by_its_content(tiny: Marlin, tmp_path: Path) -> None:
    hashes = set()
    for content in (b"one", b"two", b"one"):
        how = replace(TINY_RECIPE, detector=lay(tmp_path / "own.onnx", content))
        hashes.add(settings_hash(how.identity(tiny)))
    assert len(hashes) == 2


def test_settings_of_an_input() -> None:
    video = VideoInput("a", "a.mp4", 1.5, 3.0, 2, {"emotion": "joy"})
    got = replace(TINY_RECIPE, settings=ExtractionConfig(stride=3)).settings_for(video)
    assert got == ExtractionConfig(stride=3, start_s=1.5, end_s=3.0, track=2)


def test_a_config_has_no_weights() -> None:
    with pytest.raises(ConfigError, match="a config has no weights"):
        Recipe(model=TINY).load_model("cpu")
    assert TINY_RECIPE.load_model("cpu").is_untrained


@pytest.mark.parametrize("error", [DownloadError("downloads are off"), WeightsError("no network"), None])
def test_detector_is_sought_once_for_all_videos(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    sought = 0

    def load(_: Any, **__: Any) -> FaceDetector:
        nonlocal sought
        sought += 1
        if error is not None:
            raise error
        return LbpDetector()

    monkeypatch.setattr(module, "load_detector", load)
    cutter = TINY_RECIPE.load_cutter(TINY)
    assert sought == 0
    for size_px in (48, 32, 48):
        with open_video(noise(16, size_px, size_px)) as reader:
            if error is None or size_px == 32:
                assert len(list(cutter.cut(reader, ExtractionConfig()))) == 1
            else:
                with pytest.raises(type(error), match=str(error)):
                    list(cutter.cut(reader, ExtractionConfig()))
    assert sought == 1
