"""Tracks of one person are joined, those of two are not, and faces seen together never are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import hypothesis
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from marlin_sdk.face.detections import Detections
from marlin_sdk.face.people import People

PIXELS = np.zeros((8, 8, 3), dtype=np.uint8)


class ByNumber:
    """A recogniser for scripted faces: a face's score says who it is, in hundredths; some noise is added."""

    name, threshold = "by number", 0.4

    def __init__(self, noise: float = 0.0) -> None:
        self.num_faces = 0
        self._noise = np.random.default_rng(0).normal(scale=noise or 1e-9, size=(1000, 64))

    def embed(self, frame: NDArray[np.uint8], faces: Detections) -> NDArray[np.float32]:
        who = np.round(faces.scores * 100).astype(int)
        self.num_faces += len(who)
        return np.asarray(np.eye(64)[who] + self._noise[self.num_faces - len(who) : self.num_faces], dtype=np.float32)


def scripted(frames: Sequence[Mapping[int, int]], recogniser: ByNumber) -> list[int]:
    """The persons after frames that show some tracks, each of a known person."""
    people = People(recogniser)
    for tracks in frames:
        order = sorted(tracks, key=lambda track: -tracks[track])  # as detections are sorted: not by track
        boxes = [[0, 0, 4, 4]] * len(order)
        faces = Detections.from_rows(boxes, [tracks[track] / 100 for track in order])
        people.see(PIXELS, faces, dict(enumerate(order)))
    return people.persons()


def test_tracks_of_one_person_are_joined_across_a_cut() -> None:
    assert scripted([{0: 5}] * 3 + [{1: 7}] * 3 + [{2: 5}] * 3, ByNumber(0.05)) == [0, 1, 0]


def test_persons_are_numbered_in_order_of_appearance() -> None:
    assert scripted([{0: 9, 1: 3}, {2: 3}, {3: 1}, {4: 9}], ByNumber()) == [0, 1, 1, 2, 0]


def test_faces_seen_together_are_two_people_however_alike() -> None:
    assert scripted([{0: 5, 1: 5}] * 4, ByNumber()) == [0, 1]
    assert sorted(scripted([{0: 5, 1: 5}, {2: 5}], ByNumber())) in ([0, 0, 1], [0, 1, 1])


def test_no_track_and_one_track() -> None:
    assert scripted([], ByNumber()) == []
    assert scripted([{0: 5}], ByNumber()) == [0]


def test_long_track_is_embedded_a_few_times_from_all_over_it() -> None:
    recogniser = ByNumber()
    scripted([{0: 5}] * 100, recogniser)
    assert recogniser.num_faces == 7  # at 1, 2, 4, 8, 16, 32, 64


@hypothesis.given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True), max_size=12))
def test_joined_tracks_show_one_person(shots: list[list[int]]) -> None:
    """Each shot shows some of six people, each in a new track; whatever the order, each is found again."""
    frames: list[dict[int, int]] = []
    truth: list[int] = []
    for shot in shots:
        frames.append({len(truth) + index: person for index, person in enumerate(shot)})
        truth += shot
    numbers = {person: number for number, person in enumerate(dict.fromkeys(truth))}
    assert scripted(frames, ByNumber()) == [numbers[person] for person in truth]
