"""Simulators for the tests of the process boundary: one that works, and ways not to. Run in a worker, found by its path."""

import os
import sys
import time

import numpy as np

from worldagen.conventions import CONVENTIONS
from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.environment import VIEWS, Camera, SimState, Task, find_task


class Small:
    """One joint that turns by what it is told; both pictures show how often it was stepped."""

    name, version = "small", "3"
    tasks = (Task("turn", ("turn it", "make it turn"), ("spin it",)), Task("rest", ("rest",)))
    scenes = ("here",)
    caveat = "its door is painted on"
    convention = CONVENTIONS["libero"]
    cameras = {"static": Camera(6, 4, 3.5), "wrist": Camera(2, 2, 1.0)}  # noqa: RUF012

    def __init__(self, **options):
        self.options, self.conditions = options, {}
        self.rendered = []

    def reset(self, task, scene, seed, conditions=None):
        if scene not in self.scenes:
            raise UnknownName("small scene", scene, self.scenes)
        self.task, self.steps, self.angle = find_task(self, task).name, 0, seed * 0.1
        self.conditions = dict(conditions or {"door": "open"})
        return self.state()

    def restore(self, task, scene, state):
        if state.shape != (1,):
            raise SimulatorError(f"{state.shape} numbers; expected 1")
        first = self.reset(task, scene, 0)
        self.angle = float(state[0])
        return self.state() if first else first

    def take_up(self, task):
        self.task = find_task(self, task).name
        return self.state()

    def step(self, action):
        if action[0] == 1.0:
            print("noise on standard output\n" * 3, flush=True)
        if action[0] == 2.0:
            print("about to crash", flush=True)
            os._exit(7)
        if action[0] == 3.0:
            time.sleep(60)
        if action[0] == 4.0:
            raise ZeroDivisionError("physics")
        if action[0] == 5.0:
            os.write(2, b"about to be killed\n")
            os.kill(os.getpid(), 9)
        self.steps += 1
        self.angle += action[3]
        return self.state()

    def render(self, views=VIEWS):
        self.rendered += views
        shapes = {name: (camera.height, camera.width, 3) for name, camera in self.cameras.items()}
        return {name: np.full(shapes[name], self.steps + 100 * (name == "wrist"), np.uint8) for name in views}

    def close(self):
        pass

    def state(self):
        values = {"angle": self.angle, "wrist pictures": float(self.rendered.count("wrist")), "pid": float(os.getpid())}
        one = np.array([self.angle])
        pose = np.array([1 / 3, -2.5e-17, np.pi, 0.0, 0.0, self.angle])
        return SimState(self.steps * 50_000_000, ("joint",), one, one * 0, pose, pose, 1.0, self.steps > 2, values)


def make_small(**options):
    return Small(**options)


def make_impatient(**options):
    answer = sys.stdin.readline()  # LIBERO's import asks a question
    return Small(answer=answer)


def make_broken(**options):
    print("looking for the assets")
    raise SimulatorError("the assets are missing; install them")


def make_dying(**options):
    print("libGL error: no driver")
    os._exit(3)


def make_wrong_pictures(**options):
    small = Small()
    small.render = lambda views=VIEWS: {name: np.zeros((4, 6, 4), np.uint8) for name in views}
    return small
