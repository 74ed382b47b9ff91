"""Every kind of video source, and everything that is not a video."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import cv2
import numpy as np
import pytest
import torch
from tests.making import lay, noise, write_video

from marlin_sdk.errors import ConfigError, ShapeError, VideoDecodeError, VideoNotFoundError
from marlin_sdk.video.reader import VideoSource, display_name, open_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames, a format that can be read front to back."""
    return write_video(tmp_path_factory.mktemp("reader") / "clip.mkv", noise(12, 64, 96))


def pixels(video: VideoSource, *, source_fps: float | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Every frame of any video source."""
    with open_video(video, source_fps=source_fps) as reader:
        return np.stack([frame.rgb for frame in reader])


class OnlyRead:
    """A minimal file object."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class Unseekable(io.BytesIO):
    """Like a socket or a pipe: not seekable."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation("seek")


WAYS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "relative": os.path.relpath,
    "file URL": lambda path: path.as_uri(),
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "unseekable": lambda path: Unseekable(path.read_bytes()),
    "only read": lambda path: OnlyRead(path.read_bytes()),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_pass_a_file_gives_the_same_frames(clip: Path, way: str) -> None:
    np.testing.assert_array_equal(pixels(WAYS[way](clip)), pixels(clip))


def test_an_open_file_is_read_from_its_start_and_left_open(clip: Path) -> None:
    with clip.open("rb") as file:
        file.seek(100)
        np.testing.assert_array_equal(pixels(file), pixels(clip))
        assert not file.closed

    written = io.BytesIO()
    written.write(clip.read_bytes())  # its position is at its end now
    np.testing.assert_array_equal(pixels(written), pixels(clip))


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_formats_are_read_from_files_that_are_not_seekable(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"v{suffix}", noise(12, 64, 96), container_options={"movflags": "faststart"})

    np.testing.assert_array_equal(pixels(cast(BinaryIO, OnlyRead(path.read_bytes()))), pixels(path))


def test_a_pipe_is_read_although_it_can_be_read_only_once(tmp_path: Path, clip: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()))
    writer.start()
    try:
        np.testing.assert_array_equal(pixels(pipe), pixels(clip))
    finally:
        writer.join()


@pytest.mark.parametrize("name", ["ümläut ☃.mkv", "a%03d.mkv", "a:b?c#d&e.mkv", "-o.mkv", "no suffix", "concat|x.mkv"])
def test_names_are_taken_literally(tmp_path: Path, clip: Path, name: str) -> None:
    path = lay(tmp_path / name, clip.read_bytes())

    assert len(pixels(path)) == len(pixels(name)) == 12  # the second from the working folder


def test_a_reader_has_the_name_of_its_video(clip: Path) -> None:
    with clip.open("rb") as file:
        names = [open_video(video).name for video in (clip, clip.read_bytes(), file, io.BytesIO(clip.read_bytes()))]

    assert names == [str(clip), "<bytes>", str(clip), "<file>"]


def test_tensors_are_arrays(clip: Path) -> None:
    frames = noise(6, 8, 10)

    np.testing.assert_array_equal(pixels(cast(Any, torch.from_numpy(frames)), source_fps=25), frames)
    channels_first = torch.from_numpy(frames).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(pixels(cast(Any, channels_first.permute(0, 2, 3, 1)), source_fps=25), frames)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_tensors_of_other_types_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ShapeError, match=rf"a video tensor is uint8 \(T, H, W, 3\); got {dtype} \(2, 4, 4, 3\)"):
        open_video(cast(Any, torch.zeros(2, 4, 4, 3, dtype=dtype)))


def test_a_folder_of_images_is_a_video(tmp_path: Path) -> None:
    for index, still in enumerate(noise(12, 16, 16)):
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), still[..., ::-1])

    np.testing.assert_array_equal(pixels(tmp_path, source_fps=10), noise(12, 16, 16))
    np.testing.assert_array_equal(pixels(str(tmp_path), source_fps=10), noise(12, 16, 16))


def test_a_frame_rate_is_refused_for_a_file_with_its_own_clock(clip: Path) -> None:
    with pytest.raises(ConfigError, match=r"source_fps=30 is for arrays and folders of images"):
        open_video(clip, source_fps=30)


@pytest.mark.parametrize("video", [None, 7, 2.5, ["a.mp4"], {"a": 1}])
def test_objects_that_are_not_videos_are_refused(video: Any) -> None:
    with pytest.raises(ConfigError, match=f"a video is a path, URL, bytes, file or array, not {type(video).__name__}"):
        open_video(video)


def silent_track(path: Path) -> bytes:
    """An audio file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        assert isinstance(stream, av.AudioStream)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return path.read_bytes()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s\n#EXT-X-ENDLIST\n"
BAD: dict[str, tuple[Callable[[Path, Path], bytes], str]] = {
    "empty": (lambda _folder, _clip: b"", r"is empty \(0 bytes\)"),
    "text": (lambda _folder, _clip: b"Dear diary, today I filmed a face.\n" * 40, "cannot be opened|is not a video"),
    "one byte": (lambda _folder, _clip: b"\0", "cannot be opened as a video"),
    "zeros": (lambda _folder, _clip: bytes(5000), "cannot be opened as a video"),
    "sound": (lambda folder, _clip: silent_track(folder / "sound.m4a"), "has no video stream, only audio streams"),
    "head of a file": (lambda _folder, clip: clip.read_bytes()[:200], "(cannot be opened|no frame|no video stream)"),
    "playlist": (lambda _folder, clip: PLAYLIST % str(clip).encode(), "is a playlist, which refers to other files"),
    "playlist behind a mark": (
        lambda _folder, clip: b"\xef\xbb\xbf\n" + PLAYLIST % str(clip).encode(),
        "is a playlist",
    ),
    "concat list": (lambda _folder, clip: b"ffconcat version 1.0\nfile '%s'\n" % str(clip).encode(), "is a playlist"),
    "concat list, unmarked": (lambda _folder, clip: b"file '%s'\n" % str(clip).encode(), "cannot be opened|refused"),
    "MPD": (lambda _folder, _clip: b'<?xml version="1.0"?><MPD></MPD>', "is a playlist"),
    "MPD behind a comment": (
        lambda _folder, _clip: b"<!-- -->" + b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
        "cannot be opened|refused",
    ),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("way", ["path", "bytes", "BytesIO", "unseekable", "only read"])
@pytest.mark.parametrize("suffix", [".mp4", ".txt"])
def test_files_that_are_not_videos_are_a_typed_error_that_names_them(
    tmp_path: Path, clip: Path, kind: str, way: str, suffix: str
) -> None:
    make, reason = BAD[kind]
    path = lay(tmp_path / f"bad{suffix}", make(tmp_path, clip))
    once_only = way in ("unseekable", "only read")

    with pytest.raises(VideoDecodeError) as caught, open_video(WAYS[way](path)) as reader:
        list(reader)

    name = {"path": str(path), "bytes": "<bytes>"}.get(way, "<file>")
    assert str(caught.value).startswith(name)
    if not once_only:
        caught.match(reason)


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_never_raise_another_error(seed: int) -> None:
    content = np.random.default_rng(seed).bytes(20_000)

    with pytest.raises(VideoDecodeError), open_video(content) as reader:
        list(reader)


@pytest.mark.parametrize("seed", range(12))
def test_a_file_with_random_damage_gives_frames_or_a_typed_error(clip: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = np.frombuffer(clip.read_bytes(), np.uint8).copy()
    content[rng.integers(0, len(content), 40)] = rng.integers(0, 256, 40, dtype=np.uint8)

    with suppress(VideoDecodeError), open_video(content.tobytes()) as reader:
        shapes = [frame.rgb.shape for frame in reader]
        assert 1 <= len(shapes) <= 12
        assert {channels for _, _, channels in shapes} == {3}


def test_a_playlist_opens_no_other_file(tmp_path: Path, clip: Path) -> None:
    # Not even one that the check of the first bytes does not recognise.
    pipe = OnlyRead(PLAYLIST % clip.as_uri().encode())

    with pytest.raises(VideoDecodeError):
        open_video(cast(BinaryIO, pipe))


def test_a_missing_path_is_a_file_not_found() -> None:
    with pytest.raises(FileNotFoundError, match=r"no such video: nowhere/talk\.mp4") as caught:
        open_video("nowhere/talk.mp4")
    assert isinstance(caught.value, VideoNotFoundError)


@pytest.mark.parametrize("name", ["x" * 5000 + ".mp4", "null\0byte.mp4"])
def test_impossible_file_names_are_a_typed_error(name: str) -> None:
    with pytest.raises(VideoDecodeError):
        open_video(name)


def test_a_folder_without_videos_or_images_is_a_typed_error(tmp_path: Path) -> None:
    lay(tmp_path / "folder" / "readme.txt")

    with pytest.raises(VideoDecodeError, match=r"folder .*folder holds no video"):
        open_video(tmp_path / "folder")


@pytest.mark.parametrize("file", [io.StringIO("not bytes"), io.TextIOWrapper(io.BytesIO(b"not bytes"))])
def test_a_file_open_as_text_is_refused(file: Any) -> None:
    with pytest.raises(VideoDecodeError, match="is open as text; open it in binary mode"):
        open_video(file)


def test_a_file_object_that_fails_is_a_typed_error() -> None:
    class Broken(OnlyRead):
        def read(self, size: int = -1) -> bytes:
            raise RuntimeError("the tape is torn")

    with pytest.raises(VideoDecodeError, match="<file> cannot be opened as a video: the tape is torn"):
        open_video(cast(BinaryIO, Broken(b"")))


def test_a_closed_file_is_a_typed_error(clip: Path) -> None:
    file = clip.open("rb")
    file.close()

    with pytest.raises(VideoDecodeError, match="cannot be read as a binary file"):
        open_video(file)


def test_a_url_that_does_not_answer_is_a_typed_error_without_its_password() -> None:
    with pytest.raises(VideoDecodeError, match="cannot be opened as a video") as caught:
        open_video("http://someone:secret@127.0.0.1:9/camera.mp4")
    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:9/camera.mp4" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("talk.mp4", "talk.mp4"),
        (Path("a/b?c.mp4"), "a/b?c.mp4"),
        ("rtsp://camera/stream", "rtsp://camera/stream"),
        ("rtsp://user:pass@camera:554/stream", "rtsp://camera:554/stream"),
        ("rtsp://user:p@ss:w?rd#@camera/stream", "rtsp://camera/stream"),
        ("https://host/@user/talk.mp4", "https://host/@user/talk.mp4"),
        ("https://host/talk.mp4?X-Amz-Signature=abc&x=1", "https://host/talk.mp4?..."),
        ("https://u:p@host/talk.mp4?token=a@b#t=3", "https://host/talk.mp4?..."),
        ("https://host/talk.mp4#access_token=abc", "https://host/talk.mp4#..."),
        ("async:http://u:p@host/talk.mp4", "async:http://host/talk.mp4"),
        ("file:///videos/talk%20one.mp4", "/videos/talk one.mp4"),
        (b"bytes", "<bytes>"),
        (np.zeros((1, 2, 2, 3), np.uint8), "<array>"),
        (torch.zeros(1, 2, 2, 3, dtype=torch.uint8), "<array>"),
        (io.BytesIO(b""), "<file>"),
    ],
)
def test_name_of_a_video_contains_no_secret(source: Any, name: str) -> None:
    assert display_name(source) == name


def test_reader_has_that_name(clip: Path) -> None:
    for source in (clip, str(clip), clip.as_uri(), clip.read_bytes()):
        with open_video(source) as reader:
            assert reader.name == display_name(source)
    with pytest.raises(VideoDecodeError, match=r"^http://127\.0\.0\.1:9/talk\.mp4\?\.\.\. cannot") as caught:
        open_video("http://127.0.0.1:9/talk.mp4?signature=secret")
    assert "secret" not in str(caught.value)


def test_empty_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the name of the video is empty; expected a path, URL"):
        open_video("")


def test_an_unknown_protocol_is_a_typed_error() -> None:
    with pytest.raises(VideoDecodeError, match=r"nosuch://host/v\.mp4 cannot be opened as a video"):
        open_video("nosuch://host/v.mp4")


@pytest.mark.parametrize(
    "address",
    [
        "subfile,,start,0,end,0,,:file:///etc/passwd",
        "cache:http://host/v.mp4",
        "async:file:///v.mp4",
        "gopher://host/1",
        "unix:///run/socket",
        "concat://a|b",
        "data://video/mp4;base64,AAAA",
        "lavfi://testsrc",
    ],
)
def test_addresses_of_other_protocols_are_refused(address: str) -> None:
    with pytest.raises(VideoDecodeError, match="are refused; expected one of http, https, rtmp"):
        open_video(address)


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "x%d.png", "clip*.png"])
def test_names_are_names_and_no_patterns(tmp_path: Path, name: str) -> None:
    (tmp_path / "x1.png").write_bytes(b"")
    with pytest.raises(VideoNotFoundError, match="no such video"):
        open_video(tmp_path / name)


def test_image_whose_name_looks_like_a_pattern_is_read(tmp_path: Path) -> None:
    for name, shade in (("x%d.png", 10), ("x1.png", 200)):
        write_png(tmp_path / name, shade)
    with open_video(tmp_path / "x%d.png") as reader:
        assert [int(frame.rgb.mean()) for frame in reader] == [10]


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/null"])
def test_endless_device_is_refused_at_once(device: str) -> None:
    with pytest.raises(VideoDecodeError, match="is a device, not a video"):
        open_video(device)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pa/ss@host/talk.mp4", "https://host/talk.mp4"),
        ("https://host/talk.mp4;token=secret", "https://host/talk.mp4;..."),
        ("https://host/talk.mp4%3Fkey=secret", "https://host/talk.mp4%3F..."),
        ("https://host/@user/talk.mp4", "https://host/@user/talk.mp4"),
        ("https://host:8080/a@b.mp4", "https://host:8080/a@b.mp4"),
        ("rtsp://cam:p@ss@10.0.0.1/live", "rtsp://10.0.0.1/live"),
    ],
)
def test_secrets_of_an_address_are_not_shown(url: str, shown: str) -> None:
    assert display_name(url) == shown
    assert "secret" not in display_name(url)


def write_png(path: Path, shade: int) -> None:
    import cv2

    done, data = cv2.imencode(".png", np.full((32, 32, 3), shade, np.uint8))
    assert done
    path.write_bytes(data.tobytes())
