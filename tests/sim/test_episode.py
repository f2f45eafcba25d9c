"""Episodes begin by name, end for a reason, and survive a bad request."""

from dataclasses import replace

import numpy as np
import pytest

from worldagen.conventions import CONVENTIONS
from worldagen.errors import SimulatorError, UnknownName
from worldagen.poses import Pose
from worldagen_sim.environment import SimState, Task, make_environment
from worldagen_sim.episode import Episodes, Status

HOME = np.array([0.0, 0.0, 0.5, np.pi, 0.0, 0.0])


class Point:
    """A tool that goes exactly where it is told; the task is to get 5 cm far along x."""

    name, version, convention = "point", "1", CONVENTIONS["calvin"]
    cameras, conditions = {}, {}
    tasks, scenes = (Task("go", ("go there", "walk there")), Task("return", ("come back",))), ("A",)

    def reset(self, task: str, scene: str, seed: int, conditions=None) -> SimState:
        if scene not in self.scenes:
            raise UnknownName("scene", scene, self.scenes)
        self.state = SimState(0, ("x",), np.zeros(1), np.zeros(1), HOME, HOME, 1.0, False, {})
        return self.state

    def take_up(self, task: str) -> SimState:
        self.state = replace(self.state, success=False)
        return self.state

    def step(self, action: np.ndarray) -> SimState:
        if not np.isfinite(action).all():
            raise SimulatorError("physics diverged")
        pose = Pose.from_euler(self.state.target_pose).moved(action)
        target = np.append(pose.position, self.state.target_pose[3:])
        self.state = replace(self.state, target_pose=target, success=bool(target[0] >= 0.05))
        return self.state

    def render(self):
        return {}

    def close(self) -> None:
        pass


@pytest.fixture
def episodes() -> Episodes:
    made = Episodes(Point())
    made.begin("go", "A", seed=3, max_steps=4)
    return made


def forward(metres: float) -> np.ndarray:
    return np.array([metres, 0, 0, 0, 0, 0, 1.0])


def test_success_ends_an_episode(episodes):
    episodes.step(forward(0.03))
    assert episodes.status is Status.RUNNING
    episodes.step(forward(0.03))
    assert episodes.status is Status.SUCCEEDED and episodes.steps == 2
    episodes.step(forward(-0.06))
    assert episodes.status is Status.SUCCEEDED and episodes.steps == 2


def test_the_step_limit_ends_an_episode(episodes):
    for _ in range(4):
        episodes.step(forward(0.0))
    assert episodes.status is Status.STEP_LIMIT


def test_a_simulator_that_cannot_go_on_fails_the_episode_with_its_words(episodes):
    episodes.step(forward(np.nan))
    assert episodes.status is Status.FAILED and episodes.detail == "physics diverged"


@pytest.mark.parametrize(("task", "scene", "says"), [("fly", "A", "choose one of: go"), ("go", "Z", "choose one of: A")])
def test_an_unknown_task_or_scene_is_refused_and_the_episode_goes_on(episodes, task, scene, says):
    episodes.step(forward(0.01))
    with pytest.raises(UnknownName, match=says):
        episodes.begin(task, scene, seed=0, max_steps=10)
    assert episodes.count == 1 and episodes.steps == 1 and episodes.status is Status.RUNNING
    assert episodes.assignment.task == "go"


def test_a_step_before_the_first_reset_is_refused():
    with pytest.raises(SimulatorError, match="reset first"):
        Episodes(Point()).step(forward(0.0))


def test_an_unknown_environment_is_refused_with_the_list():
    with pytest.raises(UnknownName, match="playtable"):
        make_environment("kitchen")


def test_the_words_can_be_chosen(episodes):
    assert episodes.assignment.instruction == "go there"
    episodes.begin("go", "A", seed=3, max_steps=4, instruction="walk there")
    assert episodes.assignment.instruction == "walk there"


def test_the_next_task_begins_in_the_world_as_it_stands(episodes):
    episodes.step(forward(0.05))
    reached = episodes.state.target_pose
    episodes.take_up("return", max_steps=2)
    assert episodes.status is Status.RUNNING and (episodes.count, episodes.steps) == (2, 0)
    assert episodes.assignment.task == "return" and episodes.assignment.instruction == "come back"
    assert np.array_equal(episodes.state.target_pose, reached)
    for _ in range(2):
        episodes.step(forward(-0.01))
    assert episodes.status is Status.STEP_LIMIT


def test_a_tail_is_played_on_after_success_and_ends_the_episode():
    episodes = Episodes(Point(), tail_steps=2)
    episodes.begin("go", "A", seed=3, max_steps=2)
    episodes.step(forward(0.03))
    episodes.step(forward(0.03))  # success at the last step allowed
    assert episodes.status is Status.RUNNING
    for _ in range(2):
        episodes.step(forward(-0.03))
    assert episodes.status is Status.SUCCEEDED and episodes.steps == 4
