"""The world model's error against networks made by hand, whose pictures are known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_networks import TINY, build

from worldagen.conventions import CONVENTIONS, decode_actions, encode_actions
from worldagen.data.episodes import Episode
from worldagen.errors import BadEpisode, PredictionUnavailable
from worldagen.network.config import ImageHeadConfig, VisionConfig
from worldagen.network.heads import cut_patches
from worldagen.picture_errors import Units, cut_units, report_errors, sum_errors
from worldagen.policy_conventions import find_preset_conventions
from worldagen.session import NetworkPolicy
from worldagen.types import Observation
from worldagen.world_error import paint_ahead

SIDE, ROWS = 16, 5
CONVENTIONS_OF_PLAYTABLE = find_preset_conventions("playtable")
CONFIG = replace(
    TINY,
    vision=VisionConfig("convolution", width=32, static_size=SIDE, wrist_size=SIDE),
    image_head=ImageHeadConfig(tokens=9, blocks=1, heads=4, size=SIDE, patch=4),
)


def made_by_hand(paint):
    """A network whose pictures are paint(windows): (B, K, 2, 3, S, S)."""
    network = SimpleNamespace(config=CONFIG, position=torch.zeros(1), text=lambda words: torch.zeros(len(words), 4))
    return type(
        "Network",
        (),
        {**vars(network), "text": staticmethod(network.text), "__call__": lambda self, windows: painted(paint(windows))},
    )()


def painted(pictures):
    return SimpleNamespace(images=cut_patches(pictures, 4)[:, :, None])


def copying(windows):
    return torch.stack([windows.static, windows.wrist], dim=2)


def units_of_grey(levels, actions=None, rows=ROWS) -> Units:
    """Frames of one grey each, (N + 1,) from 0 to 255; the hand points down and stands still."""
    count = len(levels) - 1
    frames = np.stack([np.full((20, 20, 3), level, np.uint8) for level in levels])
    states = np.tile([0.0, 0.0, 0.3, np.pi, 0.0, 0.0, 1.0], (count * rows, 1))
    rest = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (count * rows, 1))
    return Units("grey", "wait", frames, frames, states, rest if actions is None else actions)


def errors_of(network, units):
    return report_errors(sum_errors(CONVENTIONS_OF_PLAYTABLE, units, paint_ahead(network, CONVENTIONS_OF_PLAYTABLE, units)))


def test_where_nothing_changes_a_network_that_copies_makes_no_error_at_any_horizon():
    report = errors_of(made_by_hand(copying), units_of_grey([100] * 5))
    for view in ("static", "wrist"):
        assert [report[view][horizon]["pictures"] for horizon in "123"] == [4, 3, 2]
        for numbers in report[view].values():
            assert numbers["mse"] == numbers["mse_copied"] == numbers["mse_pixels"] == 0
            assert numbers["gain"] is numbers["psnr"] is None


def test_copying_is_neither_better_nor_worse_than_copying_and_its_error_is_what_it_should_be():
    report = errors_of(made_by_hand(copying), units_of_grey([0, 51, 102, 153]))  # a fifth brighter with every unit
    for horizon in (1, 2, 3):
        numbers = report["static"][str(horizon)]
        assert numbers["gain"] == pytest.approx(0.0)
        assert numbers["mse_pixels"] == pytest.approx((0.2 * horizon) ** 2)
        assert numbers["mse"] == pytest.approx((0.4 * horizon) ** 2)  # the network's numbers run from -1 to 1
        assert numbers["psnr"] == pytest.approx(-20 * np.log10(0.2 * horizon))


def test_a_network_that_adds_the_actions_to_what_it_sees_is_right_only_if_each_unit_has_its_own():
    drawn = np.random.default_rng(0).integers(-2, 3, 6) * 5
    levels = 128 + np.concatenate([[0], np.cumsum(drawn)])
    numbers = np.zeros((len(drawn) * ROWS, 7))
    numbers[:, 0] = np.repeat(drawn / 127.5, ROWS)  # as a brightness in the network's numbers
    numbers[:, 6] = 1.0
    units = units_of_grey(levels, decode_actions(CONVENTIONS["calvin"], numbers, np.array([np.pi, 0.0, 0.0])))

    def adding(windows):
        added = windows.actions.unflatten(1, (CONFIG.units, ROWS))[:, :, 0, 0]
        return copying(windows) + added[:, :, None, None, None, None]

    report = errors_of(made_by_hand(adding), units)
    for horizon in "123":
        assert report["wrist"][horizon]["mse_pixels"] < 1e-10 < report["wrist"][horizon]["mse_pixels_copied"]
        assert report["wrist"][horizon]["gain"] > 0.999


def test_one_unit_ahead_it_is_what_the_running_policy_paints():
    network = build(TINY)
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    policy = NetworkPolicy(network, CONVENTIONS_OF_PLAYTABLE)
    policy.reset("open the drawer")
    state, states, actions, expected = np.array([0.1, 0.2, 0.3, np.pi, 0.0, 0.4, 1.0]), [], [], []
    for index in range(4):
        chunk = policy.act(Observation(index, frames[index], frames[index], state))
        expected.append(policy.predict_pixels()[0])
        # Rows are a path of the commanded pose, so each begins at the orientation where the one before ended.
        numbers = encode_actions(CONVENTIONS["calvin"], np.array(chunk.rows), state[3:6])
        turned = np.cumsum(numbers[:, 3:6], axis=0) * CONVENTIONS["calvin"].rotation_scale_rad
        path = np.tile(state, (ROWS, 1))
        path[1:, 3:6] += turned[:-1]
        states.append(path)
        actions.append(chunk.rows)
        state = np.array([*(state[:6] + 0.01), chunk.rows[-1, 6]])
    units = Units("policy", "open the drawer", frames, frames, np.concatenate(states), np.concatenate(actions))
    ahead = paint_ahead(network, CONVENTIONS_OF_PLAYTABLE, units)[0]
    assert np.abs(ahead - np.stack(expected)).max() < 1e-4


def test_a_recorded_episode_is_cut_at_every_fifth_instant_and_a_short_one_is_refused():
    def episode(length):
        pairs = [(np.full((4, 4, 3), index, np.uint8), np.full((2, 2, 3), index, np.uint8)) for index in range(length)]
        numbers = np.arange(length)[:, None] * np.ones(7)
        return Episode("e", "go", CONVENTIONS["calvin"], numbers, numbers, numbers, lambda: iter(pairs))

    units = cut_units(episode(13), ROWS)
    assert (len(units), units.static[:, 0, 0, 0].tolist(), units.actions[:, 0].tolist()) == (2, [0, 5, 10], list(range(10)))
    with pytest.raises(BadEpisode, match="5 instants; a unit of 5 rows and the frame after it need 6"):
        cut_units(episode(5), ROWS)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(PredictionUnavailable):
        paint_ahead(build(replace(TINY, image_prediction=False)), CONVENTIONS_OF_PLAYTABLE, units_of_grey([1, 2]))
    with pytest.raises(BadEpisode, match="this network has 5 rows per unit"):
        paint_ahead(build(TINY), CONVENTIONS_OF_PLAYTABLE, units_of_grey([1, 2], rows=3))
