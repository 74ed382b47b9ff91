"""Which tracks of a video show one person: across cuts, and across absences."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.face.detections import Detections
from marlin_sdk.face.recognition import FaceRecogniser, embed_faces

__all__ = ["People"]

_APART = 1e6  # distance of tracks that cannot be one person: no average with it comes near a threshold


class People:
    """Collects embeddings of the tracks of a video, and joins the tracks of each person.

    A track is embedded at its 1st, 2nd, 4th, 8th, ... detection: from all over its length, at little cost.

    Args:
        recogniser: embeds faces.
    """

    def __init__(self, recogniser: FaceRecogniser) -> None:
        self._recogniser = recogniser
        self._detections: list[int] = []  # by track: how often it was detected
        self._sums: list[NDArray[np.float64]] = []  # by track: of its embeddings
        self._together: set[tuple[int, int]] = set()

    def see(self, rgb: NDArray[np.uint8], faces: Detections, tracks: Mapping[int, int]) -> None:
        """Take note of the faces of one frame.

        Args:
            rgb: its pixels, uint8 (H, W, 3).
            faces: at least one.
            tracks: `track_id` of each face, by its index; new tracks are numbered without gaps.
        Raises:
            ConfigError: the recogniser returned invalid embeddings.
        """
        self._together.update(combinations(sorted(tracks.values()), 2))
        due = []
        for index, track in sorted(tracks.items(), key=lambda item: item[1]):
            if track == len(self._detections):
                self._detections.append(0)
            self._detections[track] += 1
            if self._detections[track].bit_count() == 1:
                due.append(index)
        if not due:
            return
        chosen = Detections(faces.boxes[due], faces.scores[due], faces.landmarks[due])
        for index, embedding in zip(due, embed_faces(self._recogniser, rgb, chosen), strict=True):
            track = tracks[index]
            if track == len(self._sums):
                self._sums.append(embedding)
            else:
                self._sums[track] = self._sums[track] + embedding

    def persons(self) -> list[int]:
        """The person of each track so far, numbered from 0 in order of appearance.

        Tracks are joined by average linkage (Sokal and Michener 1958) of their cosine distances, down to the
        recogniser's threshold. Tracks that were seen in one frame are never joined.
        """
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform

        if len(self._sums) < 2:
            return [0] * len(self._sums)
        means = np.stack([total / max(float(np.linalg.norm(total)), 1e-12) for total in self._sums])
        distances = np.clip(1 - means @ means.T, 0, 2)
        for first, second in self._together:
            distances[first, second] = distances[second, first] = _APART
        np.fill_diagonal(distances, 0)
        joined = linkage(squareform(distances, checks=False), "average")
        clusters = fcluster(joined, 1 - self._recogniser.threshold, criterion="distance").tolist()
        numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
        return [numbers[cluster] for cluster in clusters]
