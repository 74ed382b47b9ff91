"""Interlaced pictures made whole: else moving faces have combs of lines from two moments."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    from av.filter import Graph

__all__ = ["Deinterlacer"]

_FILTER = ("bwdif", "mode=send_frame:deint=interlaced")


class Deinterlacer:
    """Deinterlaces the pictures of one stream, one for one, with FFmpeg's filter bwdif.

    Until the first interlaced picture, pictures pass through at no cost. The filter then holds one picture back.

    Attributes:
        is_active: whether an interlaced picture was met.

    Args:
        time_base: of the stream; pictures that a decoder was flushed for have none.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self.is_active = False
        self._graph: Graph | None = None
        self._made_for: tuple[object, ...] = ()

    def feed(self, picture: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Take the next picture; yield those that are ready."""
        self.is_active = self.is_active or picture.interlaced_frame
        if not self.is_active:
            yield picture
            return
        needed = (picture.width, picture.height, picture.format.name)
        if needed != self._made_for:
            yield from self.flush()
            self._graph, self._made_for = _graph_for(picture, self._time_base), needed
        assert self._graph is not None
        self._graph.vpush(picture)
        yield from self._ready()

    def flush(self) -> Iterator[av.VideoFrame]:
        """Yield what is held back, at the end of the stream."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready()
            self._graph, self._made_for = None, ()

    def _ready(self) -> Iterator[av.VideoFrame]:
        import av

        assert self._graph is not None
        while True:
            try:
                picture = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            if picture.pts is not None and picture.time_base:
                picture.pts = round(picture.pts * picture.time_base / self._time_base)  # the filter counts in halves
                picture.time_base = self._time_base
            yield picture


def _graph_for(picture: av.VideoFrame, time_base: Fraction) -> Graph:
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=picture.width, height=picture.height, format=picture.format, time_base=time_base)
    graph.link_nodes(source, graph.add(*_FILTER), graph.add("buffersink")).configure()
    return graph
