"""The torch runtime: devices, precisions, memory, gradients."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.making import TINY
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, DeviceMemoryError
from marlin_sdk.model import Encoder
from marlin_sdk.model.layers import Attention
from marlin_sdk.runtime.torch import TorchRuntime, resolve_device, resolve_dtype

CPU = torch.device("cpu")
CLIPS = torch.rand(9, *TINY.clip_shape, generator=torch.Generator().manual_seed(6))


# Clips of eight pixels, where only their number matters.
SPECK = ModelConfig(
    encoder_embed_dim=4, encoder_depth=1, encoder_num_heads=1, img_size=2, patch_size=1, n_frames=2, tubelet_size=1
)
SPECKS = torch.rand(9, *SPECK.clip_shape, generator=torch.Generator().manual_seed(6))


def _encoder(config: ModelConfig = TINY) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return Encoder(config)


class SmallMemory(nn.Module):
    """Wraps the patch embedding to simulate a device with memory for a limited number of clips."""

    def __init__(self, inner: nn.Module, holds: int) -> None:
        super().__init__()
        self.inner, self.holds = inner, holds
        self.batches: list[int] = []

    def forward(self, clips: Tensor) -> Tensor:
        self.batches.append(len(clips))
        if len(clips) > self.holds:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        out: Tensor = self.inner(clips)
        return out


def _small(holds: int) -> tuple[TorchRuntime, SmallMemory]:
    encoder = _encoder(SPECK)
    memory = SmallMemory(encoder.patch_embedding, holds)
    encoder.patch_embedding = memory  # type: ignore[assignment]
    runtime = TorchRuntime(encoder, device=CPU, dtype=torch.float32)
    runtime._largest_batch = None  # as on a GPU
    return runtime, memory


@pytest.fixture(scope="module")
def runtime() -> TorchRuntime:
    return TorchRuntime(_encoder(), device=CPU, dtype=torch.float32)


def test_batch_gives_the_same_as_single_clips(runtime: TorchRuntime) -> None:
    one_by_one = torch.cat([runtime.encode(clip[None]) for clip in CLIPS])
    assert torch.allclose(runtime.encode(CLIPS), one_by_one, atol=1e-6)
    assert one_by_one.shape == (9, 32)


@pytest.mark.parametrize(("threads", "batches"), [(2, [1] * 9), (16, [4, 4, 1])])
def test_batch_on_a_cpu_is_limited_by_its_threads(
    threads: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    encoder = _encoder(SPECK)
    memory = SmallMemory(encoder.patch_embedding, 9)
    encoder.patch_embedding = memory  # type: ignore[assignment]
    assert len(TorchRuntime(encoder, device=CPU, dtype=torch.float32).encode(SPECKS)) == 9
    assert memory.batches == batches


def test_bytes_are_scaled_to_0_to_1(runtime: TorchRuntime) -> None:
    pixels = (CLIPS[:2] * 255).to(torch.uint8)
    expected = runtime.encode(pixels.float() / 255)
    assert torch.equal(runtime.encode(pixels.permute(0, 2, 3, 4, 1)), expected)


def test_tokens_and_layers(runtime: TorchRuntime) -> None:
    tokens = runtime.encode(CLIPS[:2], keep_seq=True)
    assert tokens.shape == (2, TINY.num_tokens, 32)
    assert torch.equal(tokens, runtime.encoder(CLIPS[:2], pool="none"))
    layers = runtime.encode(CLIPS[:2], layers=[0, -1])
    assert layers.shape == (2, 2, 32)
    assert torch.equal(layers[:, 1], runtime.encode(CLIPS[:2]))
    assert runtime.encode(CLIPS[:2], keep_seq=True, layers=[0]).shape == (2, 1, TINY.num_tokens, 32)


@pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, 0.9995), (torch.float16, 0.99999)])
def test_half_precision_is_close_and_returned_as_float32(
    runtime: TorchRuntime, dtype: torch.dtype, least: float
) -> None:
    half = TorchRuntime(_encoder(), device=CPU, dtype=dtype)
    assert {parameter.dtype for parameter in half.encoder.parameters()} == {half.dtype} == {dtype}
    for keep_seq in (False, True):
        got, expected = half.encode(CLIPS, keep_seq=keep_seq), runtime.encode(CLIPS, keep_seq=keep_seq)
        assert got.dtype == torch.float32
        assert not torch.equal(got, expected)
        assert cosine_similarity(got, expected, dim=-1).min() > least


def test_moving_changes_the_dtype_in_place() -> None:
    moving = TorchRuntime(_encoder(), device=CPU, dtype=torch.float32)
    encoder = moving.encoder
    moving.to(dtype=torch.bfloat16)
    assert (moving.dtype, moving.device, moving.encoder) == (torch.bfloat16, CPU, encoder)
    moving.to(device=CPU)
    assert moving.dtype == torch.bfloat16


@settings(deadline=None, max_examples=25)
@given(clips=st.integers(1, 9), holds=st.integers(1, 9), keep_seq=st.booleans())
def test_batch_is_halved_until_it_fits_and_rows_stay_in_order(clips: int, holds: int, keep_seq: bool) -> None:
    runtime, memory = _small(holds)
    enough, _ = _small(9)
    expected = enough.encode(SPECKS[:clips], keep_seq=keep_seq)
    assert torch.allclose(runtime.encode(SPECKS[:clips], keep_seq=keep_seq), expected, atol=1e-5)
    assert sum(batch for batch in memory.batches if batch <= holds) == clips  # nothing is embedded twice
    memory.batches.clear()
    runtime.encode(SPECKS[:clips])
    assert max(memory.batches) <= holds  # batches that did not fit are not tried again


def test_batch_is_halved_repeatedly() -> None:
    runtime, memory = _small(2)
    runtime.encode(SPECKS[:8])
    assert memory.batches == [8, 4, 2, 2, 2, 2]


def test_int8_is_refused_by_torch(runtime: TorchRuntime) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown dtype torch.int8 for runtime='torch'; load with runtime='openvino'"
    ):
        runtime.to(dtype=torch.int8)
    assert runtime.dtype == torch.float32


def test_attention_per_head_agrees_with_torchs_own() -> None:
    encoder = _encoder()
    expected = encoder(CLIPS)
    halves = TorchRuntime(_encoder(), device=CPU, dtype=torch.bfloat16)
    for module in (*encoder.modules(), *halves.encoder.modules()):
        if isinstance(module, Attention):
            module.per_head = True
    assert torch.allclose(encoder(CLIPS), expected, atol=1e-6)
    assert cosine_similarity(halves.encode(CLIPS), expected, dim=-1).min() > 0.9995


@pytest.mark.parametrize("amd", [True, False])
def test_attention_per_head_is_used_only_for_bf16_on_amd_cpus(monkeypatch: pytest.MonkeyPatch, amd: bool) -> None:
    monkeypatch.setattr("marlin_sdk.runtime.torch.is_amd", lambda: amd)

    def ways(runtime: TorchRuntime) -> set[bool]:
        return {module.per_head for module in runtime.encoder.modules() if isinstance(module, Attention)}

    runtime = TorchRuntime(_encoder(), device=CPU, dtype=torch.bfloat16)
    assert ways(runtime) == {amd}
    runtime.to(dtype=torch.float32)
    assert ways(runtime) == {False}


@pytest.mark.long
def test_compiled_encoder_agrees_with_the_uncompiled_one(runtime: TorchRuntime) -> None:
    compiled = TorchRuntime(_encoder(), device=CPU, dtype=torch.float32, compile=True)
    assert compiled.provenance["compiled"]
    assert not runtime.provenance["compiled"]
    assert torch.allclose(compiled.encode(CLIPS[:2]), runtime.encode(CLIPS[:2]), atol=1e-5)
    assert torch.equal(compiled.encode(CLIPS[:2], layers=[-1]), runtime.encode(CLIPS[:2], layers=[-1]))


def test_larger_batches_are_tried_again_after_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 36)  # busy with nine clips at once
    runtime, memory = _small(1)
    runtime.encode(SPECKS[:4])
    memory.holds = 9
    memory.batches.clear()
    runtime.encode(SPECKS[:4])
    assert memory.batches == [1, 1, 1, 1]
    runtime.to(device=CPU)
    memory.batches.clear()
    runtime.encode(SPECKS[:4])
    assert memory.batches == [4]


def test_one_clip_that_does_not_fit_is_an_error() -> None:
    runtime, _ = _small(0)
    message = (
        r"no memory left on cpu for one clip.*weights take 0\.0 MB in float32.*dtype=.*smaller model.*device='cpu'"
    )
    with pytest.raises(DeviceMemoryError, match=message) as caught:
        runtime.encode(SPECKS)
    assert caught.value.__context__ is None  # whose traceback would hold the tensors


def test_weights_that_do_not_fit_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = _encoder(SPECK)

    def full(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(encoder, "to", full)
    with pytest.raises(DeviceMemoryError, match=r"no memory left on cpu for the model"):
        TorchRuntime(encoder, device=CPU, dtype=torch.float16)


def test_other_errors_are_not_reported_as_out_of_memory() -> None:
    runtime, memory = _small(9)
    memory.inner = nn.Linear(5, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        runtime.encode(SPECKS)
    assert memory.batches == [9]


def test_gradients_flow_only_through_the_encoder_itself(runtime: TorchRuntime) -> None:
    runtime.encoder.requires_grad_()
    try:
        features = runtime.encode(CLIPS[:1].clone().requires_grad_())
        assert not features.requires_grad
        assert not features.is_inference()  # a probe can be trained on them
        nn.Linear(32, 2)(features).sum().backward()
        runtime.encoder(CLIPS[:1]).sum().backward()
        assert runtime.encoder.patch_embedding.projection.weight.grad is not None
    finally:
        runtime.encoder.requires_grad_(requires_grad=False).zero_grad()


def test_encoder_is_in_evaluation_mode(runtime: TorchRuntime) -> None:
    assert not any(module.training for module in runtime.encoder.modules())


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.99999), ("bfloat16", 0.999), ("float16", 0.9999)])
def test_cuda_agrees_with_the_cpu(runtime: TorchRuntime, dtype: str, least: float) -> None:
    cuda = TorchRuntime(_encoder(), device=resolve_device("cuda"), dtype=resolve_dtype(dtype))
    got = cuda.encode(CLIPS).cpu()
    assert cosine_similarity(got, runtime.encode(CLIPS), dim=-1).min() > least


def test_auto_is_cuda_if_available() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == resolve_device(CPU) == CPU


@pytest.mark.parametrize("device", ["tpu", "", "cuda:x", "cpu cpu", None, 1.5])
def test_unknown_device_is_named_with_the_known_ones(device: object) -> None:
    with pytest.raises(ConfigError, match=r"unknown device .*expected auto, cpu, cuda or cuda:N"):
        resolve_device(device)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["meta", "mps", "xpu"])
def test_unsupported_torch_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{device}' is not supported; expected auto"):
        resolve_device(device)


def test_missing_cuda_device_reports_the_number_of_devices() -> None:
    index = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=rf"'cuda:{index}' is not available.*sees {index} CUDA dev.*use device='cpu'"):
        resolve_device(f"cuda:{index}")


def test_dtypes_by_name_and_by_value() -> None:
    for name in ("float32", "bfloat16", "float16", "int8"):
        assert resolve_dtype(name) == resolve_dtype(getattr(torch, name)) == getattr(torch, name)


@pytest.mark.parametrize("dtype", ["float64", torch.int16, "half", "", None])
def test_unknown_dtype_is_named_with_the_known_ones(dtype: object) -> None:
    with pytest.raises(ConfigError, match=r"unknown dtype .*expected one of float32, bfloat16, float16, int8"):
        resolve_dtype(dtype)  # type: ignore[arg-type]


def test_protocol_is_importable_without_torch() -> None:
    code = "import sys, marlin_sdk.runtime; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
