"""What the scripted expert does and sees, played here and now, for the errors of a world model; nothing is recorded."""

import numpy as np

from worldagen.picture_errors import Units
from worldagen_sim.environment import Environment, SimState
from worldagen_sim.experts import DEMONSTRATOR, ExpertPolicy

TAIL_STEPS = 6  # played on after success, as in demonstrations, so that the result is seen


def play_units(
    environment: Environment, task: str, scene: str, seed: int, instruction: str, rows: int, max_steps: int
) -> Units:
    """An episode of the expert as it demonstrates, in units of so many rows; only the frames between units are drawn.

    Raises UnknownName, SimulatorError, and BadEpisode for an episode shorter than a unit.
    """
    expert = ExpertPolicy(DEMONSTRATOR)
    expert.reset(task, seed)
    state = environment.reset(task, scene, seed)
    frames, states, actions = [environment.render()], [], []
    last = max_steps
    while len(actions) < last:
        action = expert.plan(state.values, rows=1)[0]
        states.append(_numbers(state))
        actions.append(action)
        state = environment.step(action)
        if state.success and last == max_steps:
            last = min(max_steps, len(actions) + TAIL_STEPS)
        if len(actions) % rows == 0:
            frames.append(environment.render())
    used = (len(frames) - 1) * rows
    return Units(
        name=f"{scene}/{task}/{seed}",
        instruction=instruction,
        static=np.stack([pictures["static"] for pictures in frames]),
        wrist=np.stack([pictures["wrist"] for pictures in frames]),
        states=np.array(states[:used]),
        actions=np.array(actions[:used]),
    )


def _numbers(state: SimState) -> np.ndarray:
    return np.append(state.tcp_pose, state.gripper_opening)
