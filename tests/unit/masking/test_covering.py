"""CRFR-P masks: one part covered wholly, the same proportion of every other group, exact counts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marlin_sdk.face.regions.labels import FACE_PARTS, REGIONS
from marlin_sdk.masking.covering import GROUPS
from marlin_sdk.masking.patterns import make_masks

BIT = {region: 1 << index for index, region in enumerate(REGIONS)}
GRID = (3, 4, 5)


def some_parse(seed: int, grid: tuple[int, int, int] = GRID) -> NDArray[np.uint8]:
    """Tokens of any regions, (1, *grid): several or none, rare and frequent ones, some in no token at all."""
    rng = np.random.default_rng(seed)
    share = rng.random(len(REGIONS)) ** 3 * (rng.random(len(REGIONS)) < 0.8)
    held = rng.random((1, *grid, len(REGIONS))) < share
    return np.asarray((held << np.arange(len(REGIONS))).sum(axis=-1), dtype=np.uint8)


def group_of(bits: int, covered: str | None) -> str:
    """A direct implementation of the rule for tokens of several regions."""
    if covered is not None and bits & BIT[covered]:
        return covered
    return next((group for group in GROUPS[:-1] if bits & BIT[group]), "none")


def fits(tokens: list[int], visible: NDArray[np.bool_], covered: str | None) -> bool:
    """Whether a mask follows the rule with this covered part."""
    groups = [group_of(bits, covered) for bits in tokens]
    others = [group for group in groups if group != covered]
    budget = len(tokens) - int(visible.sum())
    hidden = {
        group: sum(not seen for own, seen in zip(groups, visible, strict=True) if own == group) for group in GROUPS
    }
    size = len(tokens) - len(others)
    if size > budget:
        return covered is not None and hidden[covered] == budget
    if covered is not None and hidden[covered] != size:
        return False
    quotas = {group: Fraction((budget - size) * others.count(group), max(len(others), 1)) for group in set(others)}
    return all(abs(hidden[group] - quota) < 1 for group, quota in quotas.items())


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), hundredths=st.integers(2, 98))
def test_a_part_that_the_clip_shows_is_covered_and_the_rest_masked_in_proportion(seed: int, hundredths: int) -> None:
    """The count of visible tokens is exact; if no part fits, no part is shown."""
    parse = some_parse(seed)
    mask = make_masks(parse, strategy="crfr", ratio=hundredths / 100, seeds=[seed], grid=GRID)[0].numpy()
    tokens = parse.ravel().tolist()
    assert mask.sum() == 60 * (100 - hundredths) // 100
    parts = [part for part in FACE_PARTS if any(bits & BIT[part] for bits in tokens)]
    assert any(fits(tokens, mask, part) for part in parts) if parts else fits(tokens, mask, None)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), other=st.integers(0, 2**32))
def test_mask_depends_only_on_its_own_regions_and_seed(seed: int, other: int) -> None:
    first, second = some_parse(seed), some_parse(other)
    together = make_masks(np.concatenate([first, second]), strategy="crfr", seeds=[seed, other], grid=GRID)
    for row, parse, own in ((0, first, seed), (1, second, other)):
        alone = make_masks(parse, strategy="crfr", seeds=[own], grid=GRID)
        assert alone[0].tolist() == together[row].tolist()


def faces(clips: int, **cells: int) -> NDArray[np.uint8]:
    """Clips (B, 2, 5, 10) whose time steps have so many tokens of each region; the rest is background."""
    step = np.full(50, BIT["background"], dtype=np.uint8)
    start = 0
    for region, count in cells.items():
        step[start : start + count] = BIT[region]
        start += count
    return np.array(np.broadcast_to(step.reshape(5, 10), (clips, 2, 5, 10)))


def visible_of(parses: NDArray[np.uint8], region: str, masks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The visible tokens of a region in each clip."""
    held = parses.reshape(len(parses), -1) == BIT[region]
    return np.asarray((masks & held).sum(axis=1))


def test_by_hand_the_nose_of_ten_is_covered_and_a_quarter_of_the_rest_is_visible() -> None:
    """100 tokens, ratio 0.8: 20 visible among the 80 that are not nose, a quarter of each group."""
    parses = faces(30, nose=10, skin=16)
    masks = make_masks(parses, strategy="crfr", ratio=0.8, seeds=range(30), grid=(2, 5, 10)).numpy()
    assert visible_of(parses, "nose", masks).tolist() == [0] * 30
    assert visible_of(parses, "skin", masks).tolist() == [8] * 30
    assert visible_of(parses, "background", masks).tolist() == [12] * 30
    assert len({tuple(mask) for mask in masks.tolist()}) == 30


def test_by_hand_largest_remainder() -> None:
    """15 visible of 90: mouth is covered, skin 14 -> 2 1/3, hair 16 -> 2 2/3, background 60 -> 10."""
    parses = faces(40, mouth=5, skin=7, hair=8)
    masks = make_masks(parses, strategy="crfr", ratio=0.85, seeds=range(40), grid=(2, 5, 10)).numpy()
    found = {
        tuple(int(visible_of(parses, region, masks)[clip]) for region in ("mouth", "skin", "hair", "background"))
        for clip in range(40)
    }
    # Of 84 beside the hair: mouth 10 -> 1 11/14, skin 14 -> 2 1/2, background 60 -> 10 5/7.
    assert found == {(0, 2, 3, 10), (2, 2, 0, 11)}


def test_part_larger_than_the_budget_is_masked_as_far_as_the_ratio_allows() -> None:
    parses = faces(20, hair=20, skin=10)
    masks = make_masks(parses, strategy="crfr", ratio=0.3, seeds=range(20), grid=(2, 5, 10)).numpy()
    assert visible_of(parses, "hair", masks).tolist() == [10] * 20
    assert visible_of(parses, "skin", masks).tolist() == [20] * 20
    assert len({tuple(mask) for mask in masks.tolist()}) == 20


def test_part_of_exactly_the_budget_is_all_that_is_masked() -> None:
    parses = faces(1, hair=20)
    mask = make_masks(parses, strategy="crfr", ratio=0.4, seeds=[0], grid=(2, 5, 10)).numpy()
    assert (mask == (parses.reshape(1, -1) != BIT["hair"])).all()


def test_clip_that_is_all_one_part_is_masked_at_random() -> None:
    masks = make_masks(faces(2, nose=50), strategy="crfr", ratio=0.9, seeds=[0, 1], grid=(2, 5, 10)).numpy()
    assert masks.sum(axis=1).tolist() == [10, 10]
    assert (masks[0] != masks[1]).any()


@pytest.mark.parametrize("cells", [{"skin": 20}, {"skin": 50}, {}], ids=["skin", "all skin", "background"])
def test_clip_without_a_part_is_masked_in_proportion(cells: dict[str, int]) -> None:
    parses = faces(10, **cells)
    masks = make_masks(parses, strategy="crfr", ratio=0.9, seeds=range(10), grid=(2, 5, 10)).numpy()
    skin = cells.get("skin", 0)
    assert visible_of(parses, "skin", masks).tolist() == [skin // 5] * 10
    assert visible_of(parses, "background", masks).tolist() == [(50 - skin) // 5] * 10


def test_tokens_without_any_region_are_a_group() -> None:
    parses = faces(10, nose=10)
    parses[parses == BIT["background"]] = 0
    masks = make_masks(parses, strategy="crfr", ratio=0.9, seeds=range(10), grid=(2, 5, 10)).numpy()
    assert visible_of(parses, "nose", masks).tolist() == [0] * 10
    assert masks.sum(axis=1).tolist() == [10] * 10


def test_every_part_that_is_shown_is_covered_equally_often_and_no_other() -> None:
    parses = faces(3000, left_eye=2, mouth=3, hair=15, skin=10)
    masks = make_masks(parses, strategy="crfr", ratio=0.5, seeds=range(3000), grid=(2, 5, 10)).numpy()
    counts = [int((visible_of(parses, part, masks) == 0).sum()) for part in ("left_eye", "mouth", "hair")]
    assert sum(counts) == 3000
    assert all(abs(count - 1000) < 130 for count in counts), counts  # five standard deviations
    assert not (visible_of(parses, "skin", masks) == 0).any()


def test_token_of_several_regions_belongs_to_the_covered_one() -> None:
    """On the border of nose and hair both parts have a token: it is covered with either."""
    parses = faces(200, nose=5, hair=5)
    parses.reshape(200, 2, 50)[:, :, 4:6] = BIT["nose"] | BIT["hair"]
    masks = make_masks(parses, strategy="crfr", ratio=0.5, seeds=range(200), grid=(2, 5, 10)).numpy()
    border = masks.reshape(200, 2, 50)[:, :, 4:6].any(axis=(1, 2))
    assert not border.any()
    nose, hair = visible_of(parses, "nose", masks), visible_of(parses, "hair", masks)
    assert ((nose == 0) ^ (hair == 0)).all()
    assert 0 < (nose == 0).sum() < 200


def test_token_of_several_uncovered_regions_belongs_to_the_first_of_them() -> None:
    """Skin with background counts as skin: of 20 + 20 tokens of skin 8 are visible, of 40 of background 8."""
    parses = faces(20, nose=10, skin=20)
    parses.reshape(20, 2, 50)[:, :, 20:30] |= BIT["background"]
    masks = make_masks(parses, strategy="crfr", ratio=0.84, seeds=range(20), grid=(2, 5, 10)).numpy()
    skin = (parses.reshape(20, -1) & BIT["skin"]) > 0
    assert (masks & skin).sum(axis=1).tolist() == [8] * 20
    assert visible_of(parses, "background", masks).tolist() == [8] * 20


def test_visible_tokens_of_a_group_are_drawn_over_the_whole_clip() -> None:
    parses = faces(50, nose=10)
    masks = make_masks(parses, strategy="crfr", ratio=0.8, seeds=range(50), grid=(2, 5, 10)).numpy()
    assert len(set(masks.reshape(50, 2, 50).sum(axis=2)[:, 0].tolist())) > 1
    often = masks[:, (parses[0] == BIT["background"]).ravel()].mean(axis=0)
    assert often.min() > 0
    assert often.max() < 0.6  # of 50 draws with p = 0.25, 0.6 is six standard deviations up
