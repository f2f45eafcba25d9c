"""The playtable in Gymnasium's terms, judged by Gymnasium's own checker."""

import numpy as np
import pytest

from worldagen.conventions import encode_actions
from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.experts import ExpertPolicy

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("worldagen_sim.gymnasium_playtable")
from gymnasium.utils.env_checker import check_env  # noqa: E402


@pytest.fixture
def environment():
    made = gymnasium.make("worldagen/Playtable-v0", renderer="raycast", render_mode="rgb_array")
    yield made
    made.close()


@pytest.mark.filterwarnings("error")
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes.*")
def test_gymnasium_finds_nothing_to_complain_about(environment):
    check_env(environment.unwrapped)


def test_an_expert_solves_it_with_actions_from_minus_one_to_one(environment):
    inner = environment.unwrapped
    _, info = environment.reset(seed=4, options={"task": "turn_on_led", "scene": "C"})
    assert info["instruction"] == "turn on the led" and info["conditions"]["led"] == "off"
    expert = ExpertPolicy()
    expert.reset("turn_on_led")
    rewards, terminated = [], False
    while not terminated:
        row = expert.plan(inner._state.values, 1)
        action = encode_actions(inner._environment.convention, row, inner._state.target_pose[3:])[0]
        observation, reward, terminated, truncated, info = environment.step(action.astype(np.float32))
        rewards.append(reward)
        assert not truncated
    assert info["success"] and sum(rewards) == 1.0
    assert observation in environment.observation_space
    assert environment.render().shape == (200, 200, 3)


def test_an_episode_that_goes_nowhere_is_truncated(environment):
    environment.reset(seed=0)
    environment.unwrapped._environment.render = lambda: {"static": BLACK[0], "wrist": BLACK[1]}  # nobody looks
    for _ in range(360):
        _, _, terminated, truncated, _ = environment.step(np.zeros(7, np.float32))
    assert truncated and not terminated


BLACK = (np.zeros((200, 200, 3), np.uint8), np.zeros((84, 84, 3), np.uint8))


def test_a_seed_gives_the_same_episode_and_without_one_the_next_differs(environment):
    first, _ = environment.reset(seed=5)
    second, told = environment.reset()
    again, _ = environment.reset(seed=5)
    assert np.array_equal(first["static_image"], again["static_image"])
    assert not np.array_equal(first["static_image"], second["static_image"])
    repeated, _ = environment.reset(seed=told["seed"])
    assert np.array_equal(second["static_image"], repeated["static_image"])


def test_what_does_not_exist_is_refused(environment):
    with pytest.raises(UnknownName, match="unknown playtable task 'fly'"):
        gymnasium.make("worldagen/Playtable-v0", task="fly")
    with pytest.raises(SimulatorError, match="unknown reset options colour"):
        environment.unwrapped.reset(options={"colour": "red"})
