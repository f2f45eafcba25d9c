"""Who may attend to whom, each rule in words, and the counts of the specification."""

from dataclasses import replace

import pytest

from worldagen.network.config import find_preset
from worldagen.network.layout import CONTEXT_GROUPS, PREDICTION_GROUPS, Group, Layout
from worldagen.network.masks import build_mask

CONFIG = replace(find_preset("calvin"), state_prediction=True, frames=2)
LAYOUT = Layout.of(CONFIG)
MASK = build_mask(LAYOUT)
GOAL_MASK = build_mask(LAYOUT, goal_attention=True)
IMAGE = (Group.LATENT, Group.CLS)
EVERYTHING = tuple(Group)


def may(asking, read, *, i, j, mask=MASK):
    """Whether every (True), or no (False), token of `asking` in unit i attends to every token of `read` in unit j."""
    cells = mask[LAYOUT.indices(i, [asking])][:, LAYOUT.indices(j, [read])]
    assert cells.all() or not cells.any(), "a rule holds for whole groups"
    return bool(cells.all())


def reads(asking, mask=MASK):
    """Group -> the units that tokens of `asking` in unit 1 of 3 read it in."""
    return {read: [j for j in range(3) if may(asking, read, i=1, j=j, mask=mask)] for read in CONTEXT_GROUPS}


def test_nobody_reads_a_later_unit():
    for asking in EVERYTHING:
        for read in EVERYTHING:
            assert not may(asking, read, i=0, j=1)
            assert not may(asking, read, i=1, j=2)


def test_nobody_reads_a_prediction_token_not_even_the_token_itself():
    for read in PREDICTION_GROUPS:
        for i in range(3):
            for j in range(3):
                assert not any(may(asking, read, i=i, j=j) for asking in EVERYTHING)


def test_text_reads_text_and_past_actions_only():
    assert reads(Group.TEXT) == {Group.TEXT: [0, 1], Group.STATE: [], Group.ACTION: [0], Group.LATENT: [], Group.CLS: []}


@pytest.mark.parametrize("asking", [Group.STATE, Group.LATENT, Group.CLS])
def test_states_and_pictures_read_each_other_and_past_actions_but_no_text(asking):
    assert reads(asking) == {Group.TEXT: [], Group.STATE: [0, 1], Group.ACTION: [0], Group.LATENT: [0, 1], Group.CLS: [0, 1]}


def test_actions_read_everything_up_to_now_and_their_own_chunk_both_ways():
    assert all(units == [0, 1] for units in reads(Group.ACTION).values())


@pytest.mark.parametrize("asking", [Group.IMAGE_PREDICTION, Group.STATE_PREDICTION])
def test_predicted_observations_read_the_actions_of_their_unit_but_no_text(asking):
    assert reads(asking) == {read: [] if read is Group.TEXT else [0, 1] for read in CONTEXT_GROUPS}


def test_predicted_actions_read_the_text_but_not_the_actions_they_shall_predict():
    assert reads(Group.ACTION_PREDICTION) == {read: [0] if read is Group.ACTION else [0, 1] for read in CONTEXT_GROUPS}


@pytest.mark.parametrize("asking", [Group.IMAGE_PREDICTION, Group.STATE_PREDICTION])
def test_goal_attention_takes_the_history_from_predicted_observations(asking):
    assert reads(asking, GOAL_MASK) == {read: [] if read is Group.TEXT else [1] for read in CONTEXT_GROUPS}


def test_goal_attention_takes_the_text_from_predicted_actions():
    expected = reads(Group.ACTION_PREDICTION) | {Group.TEXT: []}
    assert reads(Group.ACTION_PREDICTION, GOAL_MASK) == expected


def test_goal_attention_leaves_the_context_as_it_was():
    for asking in CONTEXT_GROUPS:
        assert reads(asking, GOAL_MASK) == reads(asking)


@pytest.mark.parametrize(("preset", "cells", "length"), [("calvin", 4_941, 132), ("libero", 2_022, 80)])
def test_published_presets_allow_as_many_cells_as_the_reference(preset, cells, length):
    mask = build_mask(Layout.of(find_preset(preset)))
    assert mask.shape == (length, length)
    assert mask.sum() == cells


@pytest.mark.parametrize("goal_attention", [False, True])
def test_every_token_reads_something(goal_attention):
    assert build_mask(LAYOUT, goal_attention).any(axis=1).all()


def test_the_mask_of_fewer_units_is_a_corner_of_the_mask_of_more():
    short = Layout.of(replace(CONFIG, units=2))
    assert (build_mask(short) == MASK[: short.length, : short.length]).all()
