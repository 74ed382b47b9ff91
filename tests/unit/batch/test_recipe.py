"""What a dump is made with: it crosses to other processes, and says what its numbers depend on."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.making import TINY, ColouredFaces, lay, noise, write_small_sface, write_video

from marlin_sdk import ConfigError, DownloadError, ExtractionConfig, Marlin, WeightsError
from marlin_sdk.batch import recipe as module
from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.run import make_dump
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.dump.settings import check_settings, settings_hash, write_settings
from marlin_sdk.face.detectors import FaceDetector, LbpDetector
from marlin_sdk.inputs.videos import VideoInput, find_videos
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
        replace(TINY_RECIPE, settings=ExtractionConfig(pool="time")),
        replace(TINY_RECIPE, detector=ColouredFaces(), settings=ExtractionConfig(pool="regions")),
        replace(TINY_RECIPE, dtype="bfloat16"),
        replace(TINY_RECIPE, detector="yunet"),
    ]
    assert len({base, *(settings_hash(other.identity(tiny)) for other in others)}) == 7
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


def test_identity_is_of_the_recogniser_only_where_persons_are_identified(tiny: Marlin, tmp_path: Path) -> None:
    base = TINY_RECIPE.identity(tiny)
    assert "identify" not in base["settings"]  # as in dumps of version 0.1.0
    assert replace(TINY_RECIPE, recogniser=lay(tmp_path / "own.onnx")).identity(tiny) == base
    settings = ExtractionConfig(identify=True)
    assert replace(TINY_RECIPE, detector="yunet", settings=settings).identity(tiny)["recogniser"] == {
        "name": "sface",
        "sha256": "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    }
    hashes = set()
    for content in (b"one", b"two", b"one"):
        own = lay(tmp_path / "own.onnx", content)
        how = replace(TINY_RECIPE, detector="yunet", recogniser=own, settings=settings)
        hashes.add(settings_hash(how.identity(tiny)))
    assert len(hashes) == 2


def test_persons_cannot_be_identified_by_a_detector_without_landmarks() -> None:
    with pytest.raises(ConfigError, match=r"detector 'lbp' finds no landmarks, by which sface aligns faces; use yunet"):
        replace(TINY_RECIPE, settings=ExtractionConfig(identify=True))


def test_identity_names_a_pool_only_where_it_is_not_the_mean(tiny: Marlin) -> None:
    assert "pool" not in TINY_RECIPE.identity(tiny)["settings"]  # as in dumps of version 0.1.0
    assert replace(TINY_RECIPE, settings=ExtractionConfig(pool="time")).identity(tiny)["settings"]["pool"] == "time"


@pytest.mark.parametrize("detector", ["lbp", "sfd", "blazeface", "retinaface", "scrfd"])
def test_regions_cannot_be_found_by_a_detector_without_landmarks(detector: str) -> None:
    said = rf"detector '{detector}' finds no landmarks, which pool='regions' needs; use detector='yunet'"
    with pytest.raises(ConfigError, match=said):
        replace(TINY_RECIPE, detector=detector, settings=ExtractionConfig(pool="regions"))
    own = replace(TINY_RECIPE, detector=ColouredFaces(), settings=ExtractionConfig(pool="regions"))
    assert own.settings.pool == "regions"


def test_worker_identifies_persons_and_every_format_keeps_them(tmp_path: Path) -> None:
    frames = np.full((96, 96, 128, 3), 90, dtype=np.uint8)
    frames[:48, 20:60, 10:50] = (255, 0, 0)
    frames[48:, 40:80, 60:100] = (255, 0, 0)
    video = write_video(tmp_path / "talk.mp4", frames)
    recipe = replace(
        TINY_RECIPE,
        detector=ColouredFaces(),
        recogniser=write_small_sface(tmp_path / "small.onnx"),
        settings=ExtractionConfig(sample_rate=1, identify=True),
    )
    model = recipe.load_model("cpu")
    for format in ("npz", "parquet", "webdataset"):
        plan = DumpPlan(tmp_path / format, format, Shard(1, 1))
        engine = LocalEngine(recipe, [model], workers=1, limits=WorkerLimits())
        assert not make_dump(find_videos([str(video)]), engine, plan, recipe.identity(model)).counts["failed"]
        features = FeatureDump(plan.folder)["talk"]
        assert features.track_id.tolist() == [0] * 3 + [1] * 3
        assert features.person_id.tolist() == [0] * 6


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


def test_dump_does_not_resume_with_weights_that_were_changed_in_memory(tmp_path: Path) -> None:
    recipe, model = Recipe(model=TINY, untrained=True), Marlin.untrained(TINY, device="cpu", detector="lbp")
    plan = DumpPlan(tmp_path / "dump")
    plan.folder.mkdir()
    write_settings(plan, recipe.identity(model))
    assert check_settings(plan, recipe.identity(model))
    model.encoder.norm.weight.data.mul_(2)
    with pytest.raises(ConfigError, match=r"(?s)other settings:.*weights\.untrained: True there, False requested"):
        check_settings(plan, recipe.identity(model))


def test_changed_weights_and_their_file_make_the_same_dump(tmp_path: Path) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector="lbp")
    model.encoder.norm.weight.data.mul_(2)
    model.save_pretrained(tmp_path / "tuned")
    recipe = Recipe(model=str(tmp_path / "tuned"))
    assert recipe.identity(model) == recipe.identity(recipe.load_model("cpu"))
