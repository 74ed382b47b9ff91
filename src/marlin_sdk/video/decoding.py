"""Packets to pictures: what can be decoded of a stream, and where data were lost."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from marlin_sdk.video.deinterlacing import Deinterlacer
from marlin_sdk.video.frames import MAX_PIXELS
from marlin_sdk.video.opening import describe_error

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["StreamDecoder"]

_LOST_SHARE = 0.25  # of the bytes that the missing packets would have had
_NEARBY_S = 1.0  # from a loss to the pictures that it may cost: a decoder holds some back
_LATE_S = 0.01  # a hidden picture has about the time of the one that it is for
_RECENT_PACKETS = 4096  # more than any decoder holds back
_NEXT_STEPS = 1.5  # to the next picture, at most
_LAST_PACKETS = 3  # that a decoder may leave without a picture at the end


class StreamDecoder:
    """Decodes a video stream to its end, whatever is wrong with it.

    Packets that cannot be decoded are skipped; the pictures end where the file breaks off.

    Attributes:
        warnings: what is wrong; each means damage.
        deinterlacer: makes interlaced pictures whole.

    Args:
        container: open, at its start.
        stream: of the container.
        origin_s: the file's start time on its own clock.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, origin_s: float) -> None:
        self.warnings: list[str] = []
        self.deinterlacer = Deinterlacer(stream.time_base or Fraction(1))
        self._container, self._stream, self._origin_s = container, stream, origin_s
        self._losses_s: list[float] = []
        self._decoded_s: deque[float] = deque(maxlen=_RECENT_PACKETS)
        self._shown_s = self._step_s = math.inf  # the time of the last picture, from the one before
        options = {"max_pixels": str(MAX_PIXELS)}
        if container.format.name == "hevc":  # without timestamps, only the decoder can tell that frames are missing
            options["err_detect"] = "explode"
        stream.codec_context.options = options

    def pictures(self) -> Iterator[av.VideoFrame]:
        """Decode, once.

        Yields:
            Pictures, in display order.
        """
        import av

        undecoded, first_s, at_s = 0, 0.0, 0.0
        packets = self._packets()
        drained = breaks_off = False
        while not drained:
            try:
                packet = next(packets, None)
            except Exception as error:  # from FFmpeg, or anything that a file object raises
                self.warnings.append(f"breaks off at {at_s:.2f} s: {describe_error(error)}")
                packet, breaks_off = None, True
            drained = packet is None  # decoding None flushes the pictures that the decoder still holds
            if packet is not None and not packet.size:
                continue
            if packet is not None:
                at_s = max(at_s, self._time_s(packet))
            # If the last packet is incomplete, a frame-threaded decoder drops the pictures before it, too. In MPEG
            # streams the flag only says that some bytes nearby were lost.
            is_corrupt = packet is not None and packet.is_corrupt
            failed = is_corrupt and "mpeg" not in self._container.format.name
            try:
                if not failed:
                    for picture in self._decode(packet, breaks_off=breaks_off):
                        yield from self.deinterlacer.feed(picture)
            except av.error.FFmpegError:
                failed = True
            if failed or is_corrupt:
                self._losses_s.append(at_s)
            elif packet is not None and not packet.is_discard:
                self._decoded_s.append(self._time_s(packet))
            if failed:
                first_s = first_s if undecoded else at_s
                undecoded += 1
        yield from self.deinterlacer.flush()
        without = sum(time_s > self._shown_s for time_s in self._decoded_s)
        if without > _LAST_PACKETS:
            self.warnings.append(f"the last {without} packets, after {self._shown_s:.2f} s, give no picture")
        if undecoded:
            self.warnings.append(f"{undecoded} packets cannot be decoded, the first at {first_s:.2f} s")

    def _decode(self, packet: av.Packet[Any] | None, *, breaks_off: bool) -> Iterator[av.VideoFrame]:
        """The pictures that a packet completes; where the stream breaks off, none behind those that have not come."""
        for picture in self._stream.decode(packet):
            time_s = self._time_s(picture)
            if breaks_off and time_s - self._shown_s > _NEXT_STEPS * self._step_s:
                return
            if math.isinf(self._shown_s):
                self._shown_s = time_s
            elif time_s > self._shown_s:
                self._step_s, self._shown_s = time_s - self._shown_s, time_s
            yield picture

    def has_loss(self, begin_s: float, end_s: float) -> bool:
        """Whether data were lost about a time, or gave no picture, so that a gap there is no variable frame rate."""
        return any(begin_s - _NEARBY_S <= loss_s <= end_s + _NEARBY_S for loss_s in self._losses_s) or any(
            begin_s < time_s < end_s - _LATE_S for time_s in self._decoded_s
        )

    def _packets(self) -> Iterator[av.Packet[Any]]:
        """The packets of the stream; in Matroska, bytes between them that belong to none are noted as lost."""
        if "matroska" not in self._container.format.name:
            yield from self._container.demux(self._stream)
            return
        end, lost, num_packets, num_bytes, last_s = None, 0, 0, 0, 0.0
        for packet in self._container.demux():  # of every stream: what lies between two packets may be a third
            is_own = packet.stream_index == self._stream.index
            if packet.size and packet.pos is not None:
                lost += 0 if end is None else max(0, packet.pos - end)
                end = packet.pos + packet.size
                if is_own:
                    time_s = self._time_s(packet)
                    mean = num_bytes / num_packets if num_packets else packet.size
                    expected = max(1.0, (time_s - last_s) * float(self._stream.average_rate or 25))
                    if lost > mean * max(1.0, _LOST_SHARE * expected):
                        self._losses_s.append(last_s)
                    lost, num_packets, num_bytes, last_s = 0, num_packets + 1, num_bytes + packet.size, time_s
            if is_own:
                yield packet

    def _time_s(self, coded: av.Packet[Any] | av.VideoFrame) -> float:
        if coded.pts is None or self._stream.time_base is None:
            return 0.0
        return float(coded.pts * self._stream.time_base) - self._origin_s
