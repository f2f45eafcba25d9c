"""Noisy cameras and late actuators, the same for the same episode."""

import numpy as np
import pytest

from worldagen.errors import ConfigError
from worldagen_sim.disturbed import Disturbed
from worldagen_sim.environment import make_environment

ROW = np.array([0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def test_noise_is_of_the_asked_strength_and_a_function_of_the_episode_and_the_instant(playtable):
    noisy = Disturbed(playtable, noise=0.1)
    noisy.reset("open_drawer", "A", 3)
    plain, seen, again = playtable.render()["static"], noisy.render()["static"], noisy.render(("static",))["static"]
    assert np.array_equal(seen, again) and seen.dtype == np.uint8
    middle = (plain > 80) & (plain < 175)  # where nothing is clipped
    assert np.std(seen[middle].astype(float) - plain[middle]) == pytest.approx(25.5, rel=0.05)
    noisy.reset("open_drawer", "A", 4)
    noisy.reset("open_drawer", "A", 3)
    assert np.array_equal(noisy.render()["static"], seen)
    noisy.step(ROW)
    assert not np.array_equal(noisy.render()["static"], seen)


def test_a_late_actuator_moves_two_steps_later_and_then_as_it_would_have(playtable):
    playtable.reset("open_drawer", "A", 3)
    prompt = [playtable.step(ROW).target_pose.tolist() for _ in range(4)]
    late = Disturbed(playtable, delay=2)
    first = late.reset("open_drawer", "A", 3)
    poses = [late.step(ROW) for _ in range(6)]
    assert [state.target_pose.tolist() for state in poses[2:]] == prompt
    assert poses[1].target_pose == pytest.approx(first.target_pose, abs=1e-12)
    assert [state.gripper_opening for state in poses] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_every_simulator_takes_these_options_and_its_version_tells_of_them():
    environment = make_environment("playtable", "raycast", "noise=0.05; delay=1")
    assert environment.version.endswith("noise 0.05 delay 1") and environment.caveat == ""
    with pytest.raises(ConfigError, match=r"noise=2\.0 and delay=0; expected 0 to 1"):
        make_environment("playtable", "raycast", "noise=2.0")
    with pytest.raises(
        ConfigError, match="'fog=1' is no option of playtable; expected KEY=VALUE, each key once, of: noise, de"
    ):
        make_environment("playtable", "raycast", "fog=1")
