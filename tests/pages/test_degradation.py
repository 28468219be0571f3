"""Degradation wears the pixels and moves the truth with them; what is written stays, and stays legible."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from ml.config import SynthConfig
from ml.pages.page import Region, Word
from ml.pages.synthesis.degradation import LEGIBLE, SCENES, Scene, _legible, _played, degrade, marks, wear
from ml.pages.synthesis.degradation.warp import draw_warp, move
from ml.pages.synthesis.typesetting import Setting, set_page

CONFIG = SynthConfig(long_edge=760, body_px=(9.5, 15))
EFFECTS = sorted(
    {effect for scene in SCENES.values() for effect, _ in scene.effects}, key=lambda e: e.__name__
)
MARKS = (marks.stamp, marks.underlines, marks.markers, marks.rules, marks.scribbles)


@cache
def setting(template: str) -> Setting:
    return set_page(23, 1, CONFIG, template)


@pytest.mark.parametrize("template", ["article", "form", "receipt", "slide"])
@pytest.mark.parametrize("scene", SCENES)
def test_in_every_scene_the_truth_stays_true(scene, template):
    made = setting(template)
    for seed in range(3):
        worn = degrade(
            np.random.default_rng(seed), made.pixels, made.layout.words, made.layout.regions or (), scene
        )
        assert worn.pixels.shape == made.pixels.shape and worn.pixels.dtype == np.uint8
        assert [w.text for w in worn.words] == [w.text for w in made.layout.words]
        assert [r.label for r in worn.regions] == [r.label for r in made.layout.regions or ()]
        assert worn.quality is None or 40 <= worn.quality <= 95
        height, width = worn.pixels.shape[:2]
        for x1, y1, x2, y2 in [item.box for item in (*worn.words, *worn.regions)]:
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert _legible(worn)


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_is_a_function_of_its_generator(scene):
    made = setting("article")
    one, two, other = (
        degrade(np.random.default_rng(seed), made.pixels, made.layout.words, made.layout.regions or (), scene)
        for seed in (5, 5, 6)
    )
    assert np.array_equal(one.pixels, two.pixels) and one.words == two.words and one.effects == two.effects
    assert not np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_every_effect_changes_pixels_and_nothing_else(effect):
    pixels = setting("figures").pixels
    before = pixels.copy()
    worn = effect(np.random.default_rng(2), pixels, 1.0)
    assert worn.shape == pixels.shape and worn.dtype == np.uint8
    assert np.array_equal(pixels, before), "the input is not its to change"
    assert not np.array_equal(worn, pixels)


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.__name__)
def test_marks_are_seen_and_seen_through(mark):
    made = setting("article")
    marked = mark(np.random.default_rng(3), made.pixels, made.layout.words)
    assert not np.array_equal(marked, made.pixels)
    assert (marked <= made.pixels).all(), "ink only darkens"


def test_only_words_of_one_pitch_are_taken_for_a_typewriters():
    made = setting("typescript")
    pitch = marks.pitch_of(made.layout.words)
    assert pitch == pytest.approx(made.manuscript.style.body * 0.6, rel=0.05), (
        "typewriters' letters are 0.6 em wide"
    )
    for other in ("article", "newspaper", "invoice"):
        assert marks.pitch_of(setting(other).layout.words) is None
    untouched = marks.typed(np.random.default_rng(1), made.pixels, made.layout.words[:10])
    assert np.array_equal(untouched, made.pixels), "too few words to tell"


def test_a_typewriters_letters_move_and_weigh_one_by_one_and_stay_in_their_words():
    made = setting("typescript")
    words = made.layout.words
    typed = marks.typed(np.random.default_rng(2), made.pixels, words)
    changed = np.any(typed != made.pixels, axis=2)
    near = np.zeros_like(changed)
    for word in words:
        x1, y1, x2, y2 = (round(side) for side in word.box)
        near[max(0, y1 - 6) : y2 + 6, max(0, x1 - 8) : x2 + 8] = True
    assert changed.sum() > 0.02 * near.sum()
    heavy = [
        float((255.0 - typed[y1:y2, x1:x2]).mean() / (255.0 - made.pixels[y1:y2, x1:x2]).mean())
        for x1, y1, x2, y2 in ([round(side) for side in word.box] for word in words if len(word.text) > 2)
    ]
    assert np.std(heavy) > 0.05, "ink differs from word to word, more than by moving"


@pytest.mark.parametrize("seed", range(8))
def test_a_warp_moves_boxes_with_the_ink(seed):
    """A black box on white, warped: the moved region is its hull, the moved word lies between it and the ink's core."""
    pixels = np.full((700, 500, 3), 255, np.uint8)
    rng = np.random.default_rng(seed)
    x, y = rng.integers(60, 300), rng.integers(60, 550)
    box = (float(x), float(y), float(x + 90), float(y + 14))
    pixels[y : y + 14, x : x + 90] = 0
    warp = draw_warp(rng, 500, 700, degrees=4, tilt=0.02, curl=4)
    dark = np.argwhere(warp.image(pixels, (255.0,) * 3)[..., 0] < 128)
    (top, left), (bottom, right) = dark.min(0), dark.max(0) + 1
    (word,), (region,) = move(warp, (Word(box, "w", 0),), (Region(box, "Text"),), 500, 700)
    assert region.box == pytest.approx((left, top, right, bottom), abs=1.2)
    assert word.box[1] == pytest.approx(top, abs=3.5) and word.box[3] == pytest.approx(bottom, abs=3.5)
    assert word.box[0] >= region.box[0] and word.box[3] <= region.box[3]


def test_a_page_on_which_words_fade_is_found_out():
    made = setting("article")
    worn = degrade(
        np.random.default_rng(0), made.pixels, made.layout.words, made.layout.regions or (), "scan"
    )
    grey = np.full_like(worn.pixels, 200)
    assert not _legible(replace(worn, pixels=grey))
    assert not _legible(
        replace(worn, pixels=np.where(worn.pixels < 128, 200 - LEGIBLE / 2, 200).astype(np.uint8))
    )
    assert not _legible(replace(worn, pixels=np.zeros_like(worn.pixels)))


def test_small_text_is_worn_less():
    pixels = setting("article").pixels
    blurred = [
        np.abs(wear.blur(np.random.default_rng(1), pixels, s).astype(int) - pixels).mean() for s in (0.4, 1.0)
    ]
    assert blurred[0] < blurred[1]


def test_marks_and_warps_are_named_in_what_was_done():
    made = setting("article")
    scene = Scene(1.0, ((wear.grey, 1.0),), skewed=1.0, marked=2.0)
    worn = _played(
        np.random.default_rng(1),
        scene,
        "test",
        made.pixels,
        made.layout.words,
        made.layout.regions or (),
        1.0,
    )
    assert worn.effects == ("test", "stamp", "underlines", "markers", "rules", "scribbles", "warp", "grey")
    assert cv2.cvtColor(worn.pixels, cv2.COLOR_RGB2HSV)[..., 1].max() == 0
