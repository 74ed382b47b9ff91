"""Marlin: every argument of every method, on a tiny model."""

from __future__ import annotations

import gc
import inspect
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.conftest import ROOT
from tests.making import TINY, PaintedFace, lay, noise, painted, write_checkpoint

from marlin_sdk import Clip, ConfigError, Detections, DownloadError, Marlin, NoFaceError, ShapeError, WeightsError
from marlin_sdk.config import ExtractionSettings
from marlin_sdk.features import SkippedWindow, WindowFeatures
from marlin_sdk.migration import NEW_NAMES
from marlin_sdk.video.sources import ArrayReader

# The signature of issue 2.
DEFAULTS: dict[str, Any] = {
    "crop_face": "auto",
    "sample_rate": 2,
    "stride": 16,
    "tail": "pad",
    "reduction": "none",
    "pool": "mean",
    "keep_seq": False,
    "faces": "largest",
    "batch_size": 8,
    "compat": None,
    "progress": False,
}
STREAMS = ("stream", "clips")
METHODS = ("extract_video", "extract", *STREAMS)
FIELDS = ("start_s", "end_s", "frame_index", "frame_valid", "boxes", "face_score", "track_id")


class TwoFaces:
    """A detector that returns a red and a blue square, the blue one first."""

    name = "two"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._one(frame.astype(int)) for frame in frames]

    def _one(self, frame: NDArray[Any]) -> Detections:
        boxes = []
        for channel in (2, 0):
            rows, columns = np.nonzero(frame[..., channel] - frame[..., 1] > 150)
            if len(rows):
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        return Detections.from_rows(boxes, [0.9] * len(boxes))


@pytest.fixture(scope="module")
def clips() -> NDArray[np.uint8]:
    """uint8 (2, 16, 32, 32, 3)."""
    return noise(32, 32, 32).reshape(2, 16, 32, 32, 3)


@pytest.fixture(scope="module")
def two_faced() -> NDArray[np.uint8]:
    """A large red face throughout, a small blue one in the first 40 of 80 frames; nothing in the last 32."""
    frames = painted(112, dict.fromkeys(range(80), (10, 10, 60, 60)))
    frames[:40, 70:90, 100:120] = (0, 0, 255)
    return frames


# Signatures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_signature_lists_every_setting(method: str) -> None:
    parameters = inspect.signature(getattr(Marlin, method)).parameters
    shown = {name: parameters[name].default for name in DEFAULTS}
    assert shown == DEFAULTS
    assert {parameters[name].kind for name in DEFAULTS} == {inspect.Parameter.KEYWORD_ONLY}
    own = {"self", "video", "progress"} | ({"on_skip"} if method in STREAMS else set())
    assert set(parameters) - own == set(get_type_hints(ExtractionSettings))


def test_signature_works_as_written(tiny: Marlin) -> None:
    video = noise(60, 32, 32)
    plain = tiny.extract_video(video)
    assert torch.equal(tiny.extract_video(video, **DEFAULTS), plain)
    assert np.array_equal(tiny.extract(video, **DEFAULTS).features, plain.numpy())
    assert np.array_equal([row.feature for row in tiny.stream(video, **DEFAULTS)], plain.numpy())


@pytest.mark.parametrize("method", METHODS)
def test_unknown_setting_is_named_with_a_suggestion(tiny: Marlin, method: str) -> None:
    call: Any = getattr(tiny, method)
    with pytest.raises(ConfigError, match=r"unknown setting 'strid'; did you mean 'stride'.*batch_size"):
        call(noise(60, 32, 32), strid=8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"stride": 0},
        {"sample_rate": 1.5},
        {"tail": "keep"},
        {"crop_face": "yes"},
        {"faces": "two"},
        {"batch_size": 0},
        {"reduction": "sum"},
        {"compat": "other"},
        {"keep_seq": 1},
        {"keep_seq": True, "reduction": "mean"},
        {"pool": "frames"},
        {"pool": "time", "keep_seq": True},
    ],
    ids=str,
)
def test_wrong_value_is_named_before_the_video_is_opened(tiny: Marlin, method: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        getattr(tiny, method)("not-there.mp4", **wrong)


# Videos -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_frames", "rows"), [(60, 2), (10, 1), (32, 1), (33, 2), (1, 1), (64, 2), (65, 3)])
def test_rows_of_a_video(tiny: Marlin, num_frames: int, rows: int) -> None:
    features = tiny.extract_video(noise(num_frames, 32, 32))
    assert features.shape == (rows, 32)
    assert (features.dtype, features.device.type, features.requires_grad) == (torch.float32, "cpu", False)
    assert features.isfinite().all()
    assert tiny.extract_video(noise(num_frames, 32, 32), keep_seq=True).shape == (rows, 32, 32)


def test_reductions_join_the_rows(tiny: Marlin) -> None:
    video = noise(100, 32, 32)
    rows = tiny.extract_video(video)
    mean, most = tiny.extract_video(video, reduction="mean"), tiny.extract_video(video, reduction="max")
    assert mean.shape == most.shape == (32,)
    torch.testing.assert_close(mean, rows.mean(dim=0))
    assert torch.equal(most, rows.amax(dim=0))
    reduced = tiny.extract(video, reduction="mean")
    assert (len(reduced), reduced.frame_index.shape) == (len(rows), (len(rows), 16))


@pytest.mark.parametrize(
    ("settings", "starts"),
    [
        ({}, [0, 32, 64]),
        ({"stride": 8}, [0, 16, 32, 48, 64]),
        ({"sample_rate": 1}, [0, 16, 32, 48, 64, 80]),
        ({"sample_rate": 3}, [0, 48]),
        ({"tail": "drop"}, [0, 32]),
        ({"fps": 12.5}, [0, 32, 64]),
        ({"fps": 50.0}, [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88]),
        ({"compat": "marlin_pytorch"}, [0, 32]),
    ],
    ids=str,
)
def test_windows_follow_the_settings(tiny: Marlin, settings: dict[str, Any], starts: list[int]) -> None:
    result = tiny.extract(noise(96 if "compat" in settings else 93, 32, 32), source_fps=25.0, **settings)
    assert result.frame_index[:, 0].tolist() == starts
    np.testing.assert_allclose(result.start_s, np.array(starts) / 25, atol=1e-9)
    assert result.meta["settings"] == {**result.meta["settings"], "source_fps": 25.0, **settings}


def test_features_are_those_of_the_frames_that_are_named(tiny: Marlin) -> None:
    video = noise(75, 32, 32)
    result = tiny.extract(video)
    clips = video[result.frame_index]
    np.testing.assert_allclose(result.features, tiny.extract_clip(clips).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"faces": "all"}, {"keep_seq": True}, {"pool": "time"}, {"stride": 5, "faces": "all"}], ids=str
)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_changes_no_result(two_faced: NDArray[np.uint8], settings: dict[str, Any], batch_size: int) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector=TwoFaces())
    usual, other = model.extract(two_faced, **settings), model.extract(two_faced, batch_size=batch_size, **settings)
    np.testing.assert_allclose(other.features, usual.features, atol=1e-6)
    for name in FIELDS:
        assert np.array_equal(getattr(other, name), getattr(usual, name)), name
    assert other.skipped == usual.skipped


@pytest.mark.parametrize("settings", [{}, {"faces": "all"}, {"keep_seq": True}, {"compat": "marlin_pytorch"}], ids=str)
def test_stream_gives_the_rows_of_extract(two_faced: NDArray[np.uint8], settings: dict[str, Any]) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector=TwoFaces())
    whole = model.extract(two_faced, source_fps=25.0, **settings)
    skipped: list[SkippedWindow] = []
    rows = list(model.stream(two_faced, source_fps=25.0, on_skip=skipped.append, **settings))
    assert all(isinstance(row, WindowFeatures) for row in rows)
    np.testing.assert_allclose([row.feature for row in rows], whole.features, atol=1e-6)
    for name in FIELDS:
        assert np.array_equal([getattr(row, name) for row in rows], getattr(whole, name)), name
    assert tuple(skipped) == whole.skipped
    assert bool(skipped) == ("compat" not in settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"faces": "all", "stride": 5},
        {"sample_rate": 1, "start_s": 0.5, "end_s": 3.0},
        {"fps": 10.0},
        {"compat": "marlin_pytorch"},
        {"pool": "time"},
    ],
    ids=str,
)
def test_clips_are_those_that_extract_embeds(two_faced: NDArray[np.uint8], settings: dict[str, Any]) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector=TwoFaces())
    whole = model.extract(two_faced, source_fps=25.0, **settings)
    skipped: list[SkippedWindow] = []
    clips = list(model.clips(two_faced, source_fps=25.0, on_skip=skipped.append, **settings))
    assert all(isinstance(clip, Clip) and clip.pixels.shape == (16, 32, 32, 3) for clip in clips)
    for name in FIELDS:
        assert np.array_equal([getattr(clip, name) for clip in clips], getattr(whole, name)), name
    assert tuple(skipped) == whole.skipped
    rows = model.embed_clips(clips, pool=settings.get("pool", "mean"))
    np.testing.assert_allclose([row.feature for row in rows], whole.features, atol=1e-6)
    if settings.get("pool") is None:
        pixels = np.stack([clip.pixels for clip in clips])
        np.testing.assert_allclose(model.extract_clip(pixels), whole.features, atol=1e-6)
        floats = torch.from_numpy(pixels).permute(0, 4, 1, 2, 3).float() / 255
        np.testing.assert_allclose(model.encoder(floats), whole.features, atol=1e-6)


@pytest.mark.parametrize("window", STREAMS)
def test_windows_come_while_the_video_is_read_and_none_is_kept(tiny: Marlin, window: str) -> None:
    read: list[int] = []

    class Watched(np.ndarray[Any, np.dtype[np.uint8]]):
        def __getitem__(self, index: Any) -> Any:
            read.append(index)
            return super().__getitem__(index)

    found: list[int] = []
    yielded: list[weakref.ref[Any]] = []
    for row in getattr(tiny, window)(noise(320, 32, 32).view(Watched), source_fps=25.0):
        found.append(len(read))
        yielded.append(weakref.ref(row))
        gc.collect()
        assert sum(one() is not None for one in yielded) <= 2
    assert len(found) == 10
    assert found[0] < 60
    assert found == sorted(found)


@pytest.mark.parametrize("method", STREAMS)
def test_stream_refuses_what_needs_the_whole_video_and_a_bad_video(tiny: Marlin, method: str) -> None:
    windows: Any = getattr(tiny, method)
    with pytest.raises(ConfigError, match=rf"{method}\(\).*reduction='mean'"):
        windows(noise(60, 32, 32), reduction="mean")
    with pytest.raises(ConfigError, match=rf"{method}\(\).*extract\(identify=True\)"):
        windows(noise(60, 32, 32), identify=True)
    with pytest.raises(FileNotFoundError, match=r"not-there\.mp4"):
        next(windows("not-there.mp4"))


@pytest.mark.parametrize("method", STREAMS)
def test_stream_logs_what_is_wrong_with_the_video(tiny: Marlin, caplog: pytest.LogCaptureFixture, method: str) -> None:
    assert len(list(getattr(tiny, method)(noise(60, 32, 32)))) == 2
    assert "no frame rate given" in caplog.text


def test_clips_of_a_video_without_a_face_are_an_error(two_faced: NDArray[np.uint8]) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector=TwoFaces())
    with pytest.raises(NoFaceError, match="none of 1 windows shows one face"):
        list(model.clips(two_faced[80:], source_fps=25.0))


@pytest.mark.parametrize("settings", [{"compat": "marlin_pytorch"}, {"tail": "drop"}, {}], ids=str)
@pytest.mark.parametrize("num_frames", [20, 112])
def test_stream_logs_what_extract_warns_of(
    two_faced: NDArray[np.uint8], caplog: pytest.LogCaptureFixture, settings: dict[str, Any], num_frames: int
) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector=TwoFaces())
    warnings = model.extract(two_faced[:num_frames], **settings).warnings
    list(model.stream(two_faced[:num_frames], **settings))
    assert caplog.messages == [f"<array>: {warning}" for warning in warnings]
    assert len(warnings) == 1 + (len(settings) if num_frames == 20 else 2 * ("compat" in settings))


@pytest.mark.parametrize("method", STREAMS)
def test_stream_releases_its_source_when_it_is_closed(
    tiny: Marlin, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(ArrayReader, "__exit__", lambda reader, *_: closed.append(reader.name))
    windows = getattr(tiny, method)(noise(90, 32, 32))
    next(windows)
    assert closed == []
    windows.close()
    assert closed == ["<array>"]


def test_all_faces_have_rows_and_ids(two_faced: NDArray[np.uint8]) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector=TwoFaces())
    largest, every = model.extract(two_faced), model.extract(two_faced, faces="all")
    assert len(set(largest.track_id)) == 1
    assert len(set(every.track_id)) == 2
    assert len(every) > len(largest)
    np.testing.assert_allclose(every.features[every.track_id == largest.track_id[0]], largest.features, atol=1e-6)
    sides = every.boxes[:, 0, 2] - every.boxes[:, 0, 0]
    assert set(np.sign(sides[every.track_id == largest.track_id[0]] - 40)) == {1}
    assert set(np.sign(sides[every.track_id != largest.track_id[0]] - 40)) == {-1}


def test_crop_is_chosen_by_size_or_forced() -> None:
    fitting = painted(40, dict.fromkeys(range(40), (4, 4, 20, 20)), height=32, width=32)
    detector = PaintedFace()
    model = Marlin.untrained(TINY, device="cpu", detector=detector)
    assert (model.extract(fitting).track_id == -1).all()
    assert model.extract(fitting).meta["detector"] is None
    assert np.isnan(model.extract(fitting).face_score).all()
    assert detector.num_frames == 0
    cropped = model.extract(fitting, crop_face=True)
    assert (cropped.track_id == 0).all()
    assert cropped.meta["detector"]["name"] == "painted"
    assert detector.num_frames > 0
    large = painted(40, dict.fromkeys(range(40), (4, 4, 20, 20)))
    assert (model.extract(large).track_id == 0).all()
    with pytest.raises(ShapeError, match=r"128x96.*32x32: pass crop_face=True"):
        model.extract_video(large, crop_face=False)


def test_extract_video_logs_the_warnings(tiny: Marlin, caplog: pytest.LogCaptureFixture) -> None:
    warnings = tiny.extract(noise(60, 32, 32)).warnings
    assert not caplog.messages
    tiny.extract_video(noise(60, 32, 32))
    assert caplog.messages == [f"<array>: {warning}" for warning in warnings]
    assert warnings


@pytest.mark.parametrize("method", METHODS)
def test_progress_is_a_bar_on_stderr(tiny: Marlin, capfd: pytest.CaptureFixture[str], method: str) -> None:
    for progress in (False, True):
        result = getattr(tiny, method)(noise(60, 32, 32), source_fps=25.0, progress=progress)
        assert len(list(result) if method in STREAMS else result) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert ("0/2" in err and "window" in err) == progress
        assert bool(err) == progress


# Clips --------------------------------------------------------------------------------------------------------------


def test_clip_forms_agree(tiny: Marlin, clips: NDArray[np.uint8]) -> None:
    expected = tiny.extract_clip(clips)
    assert expected.shape == (2, 32)
    assert (expected.dtype, expected.requires_grad) == (torch.float32, False)
    floats = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255
    for form in (torch.from_numpy(clips), floats, floats.numpy(), floats.double()):
        torch.testing.assert_close(tiny.extract_clip(form), expected, atol=1e-6, rtol=0)
    for form in (clips[1], floats[1], floats[1].numpy()):
        single = tiny.extract_clip(form)
        assert single.shape == (32,)
        torch.testing.assert_close(single, expected[1], atol=1e-6, rtol=0)


def test_clip_tokens_and_layers(tiny: Marlin, clips: NDArray[np.uint8]) -> None:
    assert tiny.extract_clip(clips, keep_seq=True).shape == (2, 32, 32)
    layers = tiny.extract_clip(clips, layers=[0, 1, -1])
    assert layers.shape == (2, 3, 32)
    torch.testing.assert_close(layers[:, 1], tiny.extract_clip(clips))
    assert torch.equal(layers[:, 2], layers[:, 1])
    assert not torch.allclose(layers[:, 0], layers[:, 1])
    tokens = tiny.extract_clip(clips[0], layers=[-1], keep_seq=True)
    assert tokens.shape == (1, 32, 32)
    torch.testing.assert_close(tokens[0], tiny.extract_clip(clips[0], keep_seq=True))


@pytest.mark.parametrize("layers", [[], [2], [-3], [0, 7]])
def test_layer_out_of_range(tiny: Marlin, clips: NDArray[np.uint8], layers: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"layers=.*from -2 to 1"):
        tiny.extract_clip(clips, layers=layers)


@pytest.mark.parametrize(
    "layers", [(0, 1), np.array([0, 1]), [np.int64(0), torch.tensor(1)], torch.tensor([0, 1])], ids=str
)
def test_layers_may_be_integers_of_any_type(tiny: Marlin, clips: NDArray[np.uint8], layers: Any) -> None:
    assert torch.equal(tiny.extract_clip(clips, layers=layers), tiny.extract_clip(clips, layers=[0, 1]))


@pytest.mark.parametrize("layers", [1, 1.5, [0.5], [True], ["0"], "01", np.array([0.0]), np.array(1), [None]], ids=str)
def test_layers_that_are_not_a_list_of_integers(tiny: Marlin, clips: NDArray[np.uint8], layers: Any) -> None:
    with pytest.raises(ConfigError, match=r"layers=.*list of block indices.*from -2 to 1"):
        tiny.extract_clip(clips, layers=layers)


def with_value(value: float) -> torch.Tensor:
    clip = torch.full((1, 3, 16, 32, 32), 0.5)
    clip[0, 0, 3, 5, 7] = value
    return clip


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (with_value(float("nan")), "nan"),
        (with_value(float("inf")), "inf"),
        (with_value(1.5), r"0\.5 to 1\.5"),
        (with_value(-0.5), r"-0\.5 to 0\.5"),
        (torch.full((3, 16, 32, 32), 128.0), "divide 8-bit pixels by 255"),
        (torch.rand(16, 3, 32, 32), r"got \(16, 3, 32, 32\)"),
        (torch.rand(1, 16, 32, 32, 3), "order of uint8 clips"),
        (torch.zeros(3, 16, 32, 32, dtype=torch.uint8), "order of float clips"),
        (torch.rand(3, 15, 32, 32), r"got \(3, 15, 32, 32\)"),
        (torch.rand(3, 16, 224, 224), r"\(3, 16, 32, 32\); got"),
        (torch.rand(1, 16, 32, 32), "got"),
        (torch.rand(0, 3, 16, 32, 32), "got"),
        (torch.zeros(3, 16, 32, 32, dtype=torch.int64), "int64 is ambiguous"),
        ([["a"]], "not list"),
        (None, "NoneType"),
    ],
)
def test_wrong_clip_is_refused(tiny: Marlin, clip: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        tiny.extract_clip(clip)


def test_gradients_flow_only_on_request() -> None:
    model = Marlin.untrained(TINY, device="cpu", detector="lbp")
    clip = torch.rand(1, 3, 16, 32, 32, requires_grad=True)
    assert not model.extract_clip(clip).requires_grad
    assert not any(weight.requires_grad for weight in model.encoder.parameters())
    torch.nn.Linear(32, 1)(model.extract_clip(clip)).sum().backward()  # a probe trains on top
    model.encoder.requires_grad_()
    assert not model.extract_clip(clip).requires_grad
    assert all(weight.grad is None for weight in model.encoder.parameters())
    model.encoder(clip).sum().backward()
    assert clip.grad is not None
    assert all(weight.grad is not None for weight in model.encoder.parameters())


def test_training_through_the_encoder_changes_what_extract_gives() -> None:
    model = Marlin.untrained(TINY, device="cpu", detector="lbp")
    torch.manual_seed(0)
    head = torch.nn.Linear(32, 2)
    encoder = model.encoder.requires_grad_()
    before = model.extract_video(noise(60, 32, 32))
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=0.003)
    inputs = torch.stack([torch.zeros(TINY.clip_shape), torch.ones(TINY.clip_shape)])
    losses = []
    for _ in range(20):
        loss: Any = torch.nn.functional.cross_entropy(head(encoder(inputs)), torch.tensor([0, 1]))
        optimiser.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in encoder.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert not torch.allclose(model.extract_video(noise(60, 32, 32)), before, atol=1e-3)


def test_only_some_blocks_may_be_trained(clips: NDArray[np.uint8]) -> None:
    encoder = Marlin.untrained(TINY, device="cpu", detector="lbp").encoder
    encoder.blocks[-1:].requires_grad_()
    encoder(torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 255).sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in encoder.named_parameters() if name.startswith("blocks.1.")}


# Models -------------------------------------------------------------------------------------------------------------


def test_untrained_twin_of_a_folder_has_its_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY.to_dict()))
    twin = Marlin.untrained(str(tmp_path), device="cpu", detector="lbp")
    assert (twin.config, twin.is_untrained) == (TINY.without_decoder(), True)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="expected an object of model sizes"):
        Marlin.untrained(str(tmp_path), device="cpu")


def test_properties(tiny: Marlin) -> None:
    assert (tiny.embedding_dim, tiny.config, tiny.device) == (32, TINY, torch.device("cpu"))
    assert (tiny.dtype, tiny.is_untrained, tiny.name) == (torch.float32, True, "custom")
    assert tiny.decoder is not None
    assert not tiny.encoder.training


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16], ids=str)
def test_to_moves_in_place_and_features_stay_float32(clips: NDArray[np.uint8], dtype: str | torch.dtype) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector="lbp", decoder=True)
    exact = model.extract_clip(clips)
    assert model.to(dtype=dtype) is model
    assert str(model.dtype).endswith(str(dtype).removeprefix("torch."))
    assert model.decoder is not None
    assert next(model.decoder.parameters()).dtype == model.dtype
    rough = model.extract_clip(clips)
    assert rough.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(rough, exact).min() > 0.99
    assert model.extract(noise(20, 32, 32)).meta["dtype"] == str(model.dtype).removeprefix("torch.")
    assert model.to("cpu", torch.float32).dtype == torch.float32
    assert model.to(torch.bfloat16).dtype == torch.bfloat16
    assert model.to("float16").dtype == torch.float16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:99"}, "'cuda:99' is not available"),
        ({"device": "meta"}, "'meta' is not supported"),
        ({"dtype": "float8"}, "unknown dtype 'float8'.*float32, bfloat16, float16"),
        ({"dtype": torch.int8}, "unknown dtype"),
        ({"detector": "viola"}, "unknown detector 'viola'.*yunet, lbp"),
        ({"detector": object()}, "detector is a object"),
    ],
)
def test_unknown_choice_is_named_before_anything_is_loaded(change: dict[str, Any], message: str) -> None:
    for make in (Marlin.from_pretrained, Marlin.untrained):
        with pytest.raises(ConfigError, match=message):
            make("marlin_vit_small_ytf", **change)


def test_unknown_model_lists_the_published_ones() -> None:
    for make in (Marlin.from_pretrained, Marlin.untrained):
        with pytest.raises(ConfigError, match=r"unknown model 'marlin_vit_huge'.*marlin_vit_base_ytf"):
            make("marlin_vit_huge")


@pytest.mark.parametrize("model", [None, 7, b"marlin_vit_small_ytf", ["marlin_vit_small_ytf"]])
def test_invalid_model_argument_is_refused(model: Any) -> None:
    for make in (Marlin.from_pretrained, Marlin.untrained):
        with pytest.raises(ConfigError, match=rf"model is a {type(model).__name__}; expected .*name"):
            make(model, detector="lbp")


def test_untrained_accepts_the_values_of_a_config_file(tiny: Marlin, clips: NDArray[np.uint8]) -> None:
    model = Marlin.untrained(TINY.to_dict(), device="cpu", detector="lbp", decoder=True)
    assert torch.equal(model.extract_clip(clips), tiny.extract_clip(clips))
    with pytest.raises(ConfigError, match="unknown keys"):
        Marlin.untrained({**TINY.to_dict(), "size": 3})


def test_untrained_weights_depend_only_on_the_seed(clips: NDArray[np.uint8]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = Marlin.untrained(TINY, device="cpu", detector="lbp").extract_clip(clips)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = Marlin.untrained(TINY, seed=0, device="cpu", detector="lbp").extract_clip(clips)
    other = Marlin.untrained(TINY, seed=1, device="cpu", detector="lbp").extract_clip(clips)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_untrained_is_marked(tiny: Marlin) -> None:
    meta = tiny.extract(noise(20, 32, 32)).meta
    assert (meta["untrained"], meta["seed"], meta["commit"]) == (True, 0, None)


def test_untrained_decoder_needs_a_size() -> None:
    with pytest.raises(ConfigError, match="decoder"):
        Marlin.untrained(TINY.without_decoder(), device="cpu", decoder=True)


def test_detector_is_downloaded_when_first_needed(tmp_path: Path) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector="yunet", local_files_only=True)
    assert model.extract_video(noise(20, 32, 32)).shape == (1, 32)
    with pytest.raises(DownloadError, match=r"face_detection_yunet_2023mar\.onnx.*downloads are off") as caught:
        model.extract_video(noise(20, 64, 64))
    for part in ('detector="path/to/', "MARLIN_HOME", str(tmp_path / "home")):
        assert part in str(caught.value)
    elsewhere = Marlin.untrained(TINY, device="cpu", cache_dir=tmp_path / "elsewhere", local_files_only=True)
    with pytest.raises(DownloadError, match="elsewhere"):
        _ = elsewhere.detector


def test_folder_with_the_layout_of_the_hub_gives_the_same_features(
    tiny: Marlin, tmp_path: Path, clips: NDArray[np.uint8]
) -> None:
    folder = write_checkpoint(tmp_path / "own", tiny)
    model = Marlin.from_pretrained(folder, device="cpu", dtype="float32", detector="lbp")
    assert torch.equal(model.extract_clip(clips), tiny.extract_clip(clips))
    assert (model.is_untrained, model.name, model.decoder) == (False, str(folder), None)
    assert model.config == TINY.without_decoder()
    meta = model.extract(noise(20, 32, 32)).meta
    assert (meta["model"], meta["commit"], meta["untrained"]) == (str(folder), None, False)
    assert len(meta["weights_sha256"]) == 64
    with pytest.raises(WeightsError, match="holds no decoder"):
        Marlin.from_pretrained(folder, detector="lbp", decoder=True)


def test_config_may_be_given_for_bare_weights(tiny: Marlin, tmp_path: Path, clips: NDArray[np.uint8]) -> None:
    weights = write_checkpoint(tmp_path / "own", tiny) / "model.safetensors"
    bare = lay(tmp_path / "bare.safetensors", weights.read_bytes())
    with pytest.raises(WeightsError, match="pass config="):
        Marlin.from_pretrained(bare, detector="lbp")
    for config in (TINY.without_decoder(), TINY.without_decoder().to_dict()):
        model = Marlin.from_pretrained(bare, device="cpu", detector="lbp", config=config)
        assert torch.equal(model.extract_clip(clips), tiny.extract_clip(clips))


# Old names, and what a model says of itself -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["from_online", "from_file"])
def test_class_methods_of_the_reference_name_their_successor(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"'{name}' is marlin-pytorch's.*Marlin.from_pretrained\("):
        getattr(Marlin, name)


@pytest.mark.parametrize("name", sorted(NEW_NAMES.keys() - {"__call__", "from_online", "from_file"}))
def test_methods_of_the_reference_and_of_modules_name_their_successor(tiny: Marlin, name: str) -> None:
    with pytest.raises(AttributeError, match=rf"'{name}' is marlin-pytorch's"):
        getattr(tiny, name)


def test_calling_a_model_says_what_to_call(tiny: Marlin) -> None:
    with pytest.raises(TypeError, match=r"calling a model.*model\.extract_clip\(clips\)"):
        tiny(torch.zeros(1, 3, 16, 32, 32))


def test_other_unknown_names_are_plain_attribute_errors(tiny: Marlin) -> None:
    with pytest.raises(AttributeError, match="'Marlin' object has no attribute 'extract_vidoe'"):
        _ = tiny.extract_vidoe
    with pytest.raises(AttributeError, match="type object 'Marlin' has no attribute 'load'"):
        _ = Marlin.load


def test_migration_page_has_every_old_name() -> None:
    page = (ROOT / "docs" / "explanation" / "reference-differences.md").read_text(encoding="utf-8")
    for name in NEW_NAMES:
        assert ("model(clips)" if name == "__call__" else f"{name}(") in page, name


def test_representation_says_weights_precision_device_and_backend(tiny: Marlin) -> None:
    assert repr(tiny).startswith(f"Marlin(custom, untrained: 32 dims, float32 on cpu, torch {torch.__version__}")
    assert tiny.detector.name == "lbp"
    assert repr(tiny).endswith(", detector lbp)")


def test_model_name_with_a_slip_is_recognised() -> None:
    for load in (Marlin.from_pretrained, Marlin.untrained):
        with pytest.raises(ConfigError, match="did you mean 'marlin_vit_base_ytf'"):
            load("marlin_vit_bas_ytf")


@pytest.mark.parametrize("side", ["largest", "left", "right"])
def test_face_on_one_side_is_taken(two_faced: NDArray[np.uint8], side: Any) -> None:
    """The red face is large and on the left, the blue one small and on the right."""
    model = Marlin.untrained(TINY, device="cpu", detector=TwoFaces())
    both = model.extract(two_faced[:32], source_fps=25.0, faces="all")
    one = model.extract(two_faced[:32], source_fps=25.0, faces=side)
    left_first = sorted(both.track_id.tolist(), key=lambda id: both.boxes[both.track_id == id][0, 0, 0])
    expected = {"largest": left_first[0], "left": left_first[0], "right": left_first[1]}[side]
    assert one.track_id.tolist() == [expected]
