"""Small files, videos and weights that tests make for themselves. Free of torch until asked for weights: worker
processes import it for its detectors.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from marlin_sdk import Detections, ModelConfig

if TYPE_CHECKING:
    import torch

    from marlin_sdk import Marlin

TINY = ModelConfig(
    encoder_embed_dim=32,
    encoder_depth=2,
    encoder_num_heads=2,
    decoder_embed_dim=16,
    decoder_depth=1,
    decoder_num_heads=2,
    img_size=32,
    patch_size=16,
)


def lay(path: Path, data: bytes = b"weights") -> Path:
    """Write a file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def noise(num_frames: int, height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Frames (T, H, W, 3) of smooth colour that differ from each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num_frames, 2, 2, 3), dtype=np.uint8)
    rows = np.repeat(np.repeat(coarse, -(-height // 2), axis=1), -(-width // 2), axis=2)
    return np.ascontiguousarray(rows[:, :height, :width])


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    fps: int = 25,
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    audio_first: bool = False,
) -> Path:
    """Encode RGB frames.

    Args:
        path: its suffix names the container.
        frames: uint8 (H, W, 3).
        codec: FFmpeg's name of it.
        fps: of the time base; frame k is shown at k / fps.
        pix_fmt: FFmpeg's name of it.
        times: presentation times in 1/1000 s instead.
        options: of the encoder.
        container_options: of the muxer.
        audio_first: put a silent sound track before the video.
    """
    stills = list(frames)
    with av.open(str(path), "w", container_options=dict(container_options or {})) as container:
        sound = container.add_stream("aac", rate=48000) if audio_first else None
        stream = container.add_stream(codec, rate=fps, options=dict(options or {}))
        stream.height, stream.width = stills[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if sound is not None:
            samples = len(stills) * 48000 // fps
            silence = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 48000
            container.mux(sound.encode(silence))
            container.mux(sound.encode())
        for index, still in enumerate(stills):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(still), format="rgb24")
            picture.pts = times[index] if times else index
            picture.time_base = Fraction(1, 1000) if times else Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def recipe_weights(shapes: Mapping[str, Sequence[int]], own_tables: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The weights that the golden numbers were made with, each tensor filled from its own key.

    Args:
        shapes: by published key.
        own_tables: the tensors that the recipe leaves alone (`*pos_embedding.emb`).
    """
    import torch

    state: dict[str, Any] = {}
    for key, shape in shapes.items():
        if key in own_tables:
            state[key] = own_tables[key]
            continue
        values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape)).astype(np.float32)
        if key.endswith(("norm1.weight", "norm2.weight", "norm.weight")):
            values = 1 + 0.1 * values
        elif key.endswith("bias"):
            values = 0.1 * values
        elif key.endswith("mask_token"):
            values = 0.02 * values
        else:
            values = values / np.sqrt(np.prod(shape[1:], dtype=np.float32))
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


class PaintedFace:
    """A detector that finds the bright red squares painted by a test, exactly; it counts the frames it is given."""

    name = "painted"

    def __init__(self) -> None:
        self.num_frames = 0

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """One box around all red pixels, in each frame."""
        self.num_frames += len(frames)
        return [self._one(frame) for frame in frames]

    def _one(self, frame: NDArray[np.uint8]) -> Detections:
        red = (frame[..., 0] > 200) & (frame[..., 1] < 60) & (frame[..., 2] < 60)
        if not red.any():
            return Detections.from_rows([], [])
        rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
        return Detections.from_rows([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], [0.9])


def painted(
    num_frames: int, boxes: Mapping[int, tuple[int, int, int, int]], height: int = 96, width: int = 128
) -> NDArray[np.uint8]:
    """Grey frames with a red square (xyxy) in each that `boxes` names."""
    frames = np.full((num_frames, height, width, 3), 90, dtype=np.uint8)
    for index, (x1, y1, x2, y2) in boxes.items():
        frames[index, y1:y2, x1:x2] = (255, 0, 0)
    return frames


def write_checkpoint(folder: Path, model: Marlin) -> Path:
    """Write a model's encoder as the Hub holds the published ones: `config.json` and `model.safetensors`."""
    from safetensors.torch import save_file

    from marlin_sdk.weights.checkpoints import to_published_keys

    folder.mkdir(parents=True, exist_ok=True)
    state = {f"encoder.{name}": tensor for name, tensor in model.encoder.state_dict().items()}
    published = to_published_keys(state)
    save_file({f"marlin.{key}": tensor.contiguous() for key, tensor in published.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.without_decoder().to_dict()))
    return folder


class ColouredFaces:
    """A detector that finds one square of each pure colour (red, green, blue), with the five landmarks of a face."""

    name = "coloured"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """A box around all pixels of each colour, the largest first."""
        return [self._one(frame) for frame in frames]

    def _one(self, frame: NDArray[np.uint8]) -> Detections:
        boxes, scores = [], []
        for channel in range(3):
            pure = (frame[..., channel] > 200) & (frame.sum(axis=2, dtype=np.int64) - frame[..., channel] < 120)
            if pure.any():
                rows, columns = np.flatnonzero(pure.any(axis=1)), np.flatnonzero(pure.any(axis=0))
                boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                scores.append(0.9 - channel / 100)
        corners = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        sizes = (corners[:, 2:] - corners[:, :2])[:, None]
        return Detections.from_rows(corners, scores, corners[:, None, :2] + sizes * FACE_TEMPLATE / 112)


FACE_TEMPLATE = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], dtype=np.float32)
"""Where the five landmarks lie in an aligned face of 112x112 pixels (Deng et al., ArcFace, CVPR 2019)."""


def write_small_sface(path: Path) -> Path:
    """A network with SFace's input and output whose embedding is a face's mean colours in a grid of 4x4, around 0."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("AveragePool", ["data"], ["pooled"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Sub", ["pooled", "middle"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["fc1"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 48])],
        [helper.make_tensor("middle", TensorProto.FLOAT, [1], [127.5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
