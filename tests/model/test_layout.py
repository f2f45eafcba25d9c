"""Tokens stand where the specification puts them."""

from dataclasses import replace

import numpy as np
import pytest

from worldagen.errors import ConfigError, UnknownName
from worldagen.network.config import NetworkConfig, find_preset
from worldagen.network.layout import CONTEXT_GROUPS, Group, Layout


def test_a_calvin_unit_has_the_published_index_ranges():
    layout = Layout.of(find_preset("calvin"))
    ranges = {group: (layout.span(group).start, layout.span(group).stop - 1) for group in Group if layout.count(group)}
    assert ranges == {
        Group.TEXT: (0, 0),
        Group.STATE: (1, 1),
        Group.ACTION: (2, 6),
        Group.LATENT: (7, 18),
        Group.CLS: (19, 20),
        Group.IMAGE_PREDICTION: (21, 38),
        Group.ACTION_PREDICTION: (39, 43),
    }


def test_a_libero_unit_has_forty_tokens():
    layout = Layout.of(find_preset("libero"))
    assert (layout.unit_length, layout.length) == (40, 80)
    assert sum(layout.count(group) for group in CONTEXT_GROUPS) == 19


def test_more_frames_and_state_prediction_make_room_for_their_tokens():
    layout = Layout.of(replace(find_preset("calvin"), frames=2, state_prediction=True, action_steps=3))
    assert layout.counts == (1, 2, 5, 24, 4, 36, 2, 15)


def test_without_image_prediction_its_tokens_are_gone():
    assert Layout.of(replace(find_preset("calvin"), image_prediction=False)).unit_length == 44 - 18


def test_indices_of_a_unit_are_window_indices():
    layout = Layout.of(find_preset("calvin"))
    assert layout.indices(2, [Group.ACTION_PREDICTION, Group.TEXT]).tolist() == [88, 127, 128, 129, 130, 131]
    np.testing.assert_array_equal(layout.unit_of()[[0, 43, 44, 131]], [0, 0, 1, 2])


def test_an_unknown_preset_is_refused_with_those_that_exist():
    with pytest.raises(UnknownName, match="calvin, libero, playtable"):
        find_preset("paper")


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"units": 0}, "units is 0"), ({"hidden": 30}, "multiple of 4"), ({"hidden": 36}, "16 image-head heads")],
)
def test_numbers_that_fit_no_network_are_refused(change, fault):
    with pytest.raises(ConfigError, match=fault):
        NetworkConfig(**change)
