"""Textures are what their numbers say, change without jumps, and are refused when they do not fit."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.playtable.textures import PATTERNS, Texture, mix, paint, write_texture

TEXTURE = Texture(colour=(0.8, 0.6, 0.4), second_colour=(0.2, 0.3, 0.5), scale_m=0.11, angle_deg=10.0, phase=0.2)
PATTERNED = [kind for kind in PATTERNS if kind != "plain"]
SMALL_STEPS = {"strength": -0.01, "scale_m": 0.0001, "angle_deg": 0.1, "phase": 0.01}


def picture_of(kind, **changes):
    return paint(replace(TEXTURE, kind=kind, **changes), 128, 1.0)


def difference(first, second):
    return np.abs(first.astype(int) - second)


@pytest.mark.parametrize("kind", PATTERNED)
def test_a_pattern_runs_between_its_two_colours(kind):
    picture = picture_of(kind).reshape(-1, 3) / 255
    share = (picture - TEXTURE.colour) / np.subtract(TEXTURE.second_colour, TEXTURE.colour)
    assert share.min() > -0.03
    assert share.max() < 1.03
    assert np.ptp(share[:, 0]) > 0.5


def test_a_plain_texture_is_its_first_colour():
    assert (picture_of("plain") == (204, 153, 102)).all()


@pytest.mark.parametrize("kind", PATTERNED)
def test_without_strength_every_texture_is_plain(kind):
    assert (picture_of(kind, strength=0.0) == picture_of("plain")).all()


@pytest.mark.parametrize("kind", PATTERNED)
@pytest.mark.parametrize(("number", "step"), SMALL_STEPS.items())
def test_a_small_step_of_a_number_changes_the_picture_a_little(kind, number, step):
    before, after = picture_of(kind), picture_of(kind, **{number: getattr(TEXTURE, number) + step})
    assert 0 < difference(before, after).mean() < 4


@pytest.mark.parametrize("kind", PATTERNED)
def test_a_quarter_turn_turns_the_picture_to_the_left(kind):
    turned = picture_of(kind, angle_deg=90.0, phase=0.0)
    # Numbers at the edge of a tile may round to either side.
    assert (difference(np.rot90(picture_of(kind, angle_deg=0.0, phase=0.0)), turned) > 1).mean() < 0.01


def test_stripes_are_as_wide_as_a_feature_and_move_by_the_phase():
    stripes = picture_of("stripes", scale_m=0.25, angle_deg=0.0, phase=0.0)
    assert (stripes[16, 34:62] == stripes[16, 40]).all()
    assert (stripes[16, 66:94] == stripes[16, 70]).all()
    assert difference(stripes[16, 40], stripes[16, 70]).min() > 20
    moved = picture_of("stripes", scale_m=0.25, angle_deg=0.0, phase=1.0)
    assert difference(moved[:, :96], stripes[:, 32:]).max() <= 1


def test_pictures_blend_by_shares():
    first, second = picture_of("wood"), picture_of("tiles")
    assert (mix(first, second, 0.0) == first).all()
    assert (mix(first, second, 1.0) == second).all()
    assert difference(mix(first, second, 0.5), (first.astype(int) + second) / 2).max() <= 0.5


def test_an_unknown_kind_is_refused_with_those_that_exist():
    with pytest.raises(UnknownName, match=r"marble.*wood"):
        picture_of("marble")


def test_a_feature_without_size_is_refused():
    with pytest.raises(SimulatorError, match="scale_m 0"):
        picture_of("wood", scale_m=0.0)


def test_a_picture_that_does_not_fit_its_texture_is_refused():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><asset><texture name='floor' type='2d' builtin='flat' width='8' height='8'/></asset></mujoco>"
    )
    with pytest.raises(SimulatorError, match=r"floor is uint8 \(128, 128, 3\); expected uint8 \(8, 8, 3\)"):
        write_texture(model, "floor", picture_of("wood"))
