"""A simulator in another process: the same numbers, every bit; and whatever it does to itself is told and survived."""

import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.remote import wire
from worldagen_sim.remote.environment import RemoteEnvironment
from worldagen_sim.remote.picture_pool import SLOTS
from worldagen_sim.remote.process import Launch

WORKERS = str(Path(__file__).parent / "workers")


def launch(factory="make_small", **more) -> Launch:
    return Launch("small", f"small_simulators:{factory}", paths=(WORKERS,), **more)


def action(number: float, turn: float = 0.0) -> np.ndarray:
    return np.array([number, 0, 0, turn, 0, 0, 1.0])


@pytest.fixture(scope="module")
def shared():
    environment = RemoteEnvironment(launch(options={"quality": 3}))
    yield environment
    environment.close()


@pytest.fixture
def remote(shared):
    shared.reset("turn", "here", 0)
    return shared


def test_it_says_what_the_simulator_is(remote):
    assert (remote.name, remote.version, remote.scenes, remote.convention.name) == ("small", "3", ("here",), "libero")
    assert remote.caveat == "its door is painted on"
    assert remote.tasks[0].phrasings == ("turn it", "make it turn") and remote.tasks[0].held_out == ("spin it",)
    assert (remote.cameras["static"].width, remote.cameras["static"].focal_length) == (6, 3.5)
    assert remote.pid not in (None, os.getpid())


def test_states_keep_every_bit_and_conditions_come_along(remote):
    state = remote.reset("turn", "here", 7, {"door": "shut"})
    assert remote.conditions == {"door": "shut"}
    assert state.tcp_pose.tolist() == [1 / 3, -2.5e-17, np.pi, 0.0, 0.0, 7 * 0.1] and state.tcp_pose.dtype == np.float64
    turned = remote.step(action(0, 0.3))
    assert turned.joint_positions.tolist() == [7 * 0.1 + 0.3] and turned.time_ns == 50_000_000 and not turned.success
    assert (turned.joint_names, turned.gripper_opening) == (("joint",), 1.0)
    assert remote.restore("turn", "here", np.array([0.25])).values["angle"] == 0.25


def test_errors_keep_their_kind_and_words(remote):
    with pytest.raises(UnknownName, match="unknown small scene 'there'; choose one of: here"):
        remote.reset("turn", "there", 0)
    with pytest.raises(SimulatorError, match=r"\(2,\) numbers; expected 1"):
        remote.restore("turn", "here", np.zeros(2))
    with pytest.raises(SimulatorError, match="ZeroDivisionError: physics"):
        remote.step(action(4))
    assert remote.step(action(0)).time_ns == 50_000_000  # it lives


def test_only_the_pictures_that_are_wanted_are_drawn(remote):
    before = remote.take_up("turn").values["wrist pictures"]
    pictures = remote.render(("static",))
    assert list(pictures) == ["static"] and pictures["static"].shape == (4, 6, 3)
    assert remote.take_up("turn").values["wrist pictures"] == before
    assert {name: int(picture[0, 0, 0]) for name, picture in remote.render().items()} == {"static": 0, "wrist": 100}


def test_a_picture_that_is_held_is_never_written_again_and_one_that_is_not_costs_no_memory(remote):
    held = []
    for _ in range(2 * SLOTS):
        remote.step(action(0))
        held.append(remote.render()["static"][1:].view())
    assert [int(picture[0, 0, 0]) for picture in held] == list(range(1, 2 * SLOTS + 1))
    assert sum(picture.base is not None and not picture.flags.writeable for picture in held) == SLOTS - 1  # views
    held.clear()
    addresses = set()
    for _ in range(3 * SLOTS):
        picture = remote.render()["static"]
        addresses.add(picture.__array_interface__["data"][0])
    assert len(addresses) <= SLOTS and not picture.flags.writeable


def test_what_it_prints_does_not_disturb_the_protocol(remote):
    assert remote.step(action(1)).time_ns == 50_000_000


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (2, r"small ended with status 7 during step. It printed last:\n  about to crash\n"),
        (5, "status -9.*\n.*about to be killed"),
    ],
)
def test_a_simulator_that_dies_is_told_with_its_last_words_and_started_again_by_a_reset(number, words):
    environment = RemoteEnvironment(launch())
    try:
        first = environment.reset("turn", "here", 1).values["pid"]
        with pytest.raises(SimulatorError, match=words):
            environment.step(action(number))
        with pytest.raises(SimulatorError, match="small is not running; reset starts it again"):
            environment.step(action(0))
        with pytest.raises(SimulatorError, match="is not running"):
            environment.render()
        assert environment.reset("turn", "here", 1).values["pid"] != first
    finally:
        environment.close()


def test_a_simulator_that_hangs_is_ended_by_the_watchdog():
    environment = RemoteEnvironment(launch(), patience_s=0.3)
    try:
        environment.reset("turn", "here", 0)
        pid, begun_s = environment.pid, time.monotonic()
        with pytest.raises(SimulatorError, match=r"small has not answered \(step\) within 0.3 s and was ended"):
            environment.step(action(3))
        assert time.monotonic() - begun_s < 5
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        environment.reset("turn", "here", 0)
    finally:
        environment.close()


def test_a_stopped_simulator_is_ended_too():
    environment = RemoteEnvironment(launch(), patience_s=0.3)
    os.kill(environment.pid, signal.SIGSTOP)
    with pytest.raises(SimulatorError, match="has not answered"):
        environment.reset("turn", "here", 0)
    environment.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (launch("make_broken"), "the assets are missing; install them"),
        (launch("make_dying"), "small ended with status 3 during its start. It printed last:\n  libGL error: no driver"),
        (launch("make_nothing"), "AttributeError: module 'small_simulators' has no attribute 'make_nothing'"),
        (launch(python="/nowhere/python"), "small: /nowhere/python cannot be started"),
        (launch(python="/bin/false"), "small ended with status 1 during its start"),
    ],
)
def test_a_simulator_that_does_not_start_says_why(given, words):
    with pytest.raises(SimulatorError, match=words):
        RemoteEnvironment(given)


def test_a_simulator_that_asks_a_question_gets_no_answer_instead_of_waiting_for_ever():
    environment = RemoteEnvironment(launch("make_impatient"), start_patience_s=60)
    assert environment.reset("turn", "here", 0).time_ns == 0
    environment.close()


def test_pictures_of_another_shape_are_refused():
    environment = RemoteEnvironment(launch("make_wrong_pictures"))
    try:
        environment.reset("turn", "here", 0)
        with pytest.raises(SimulatorError, match=r"the static picture has shape \(4, 6, 4\)"):
            environment.render()
    finally:
        environment.close()


def test_another_version_of_the_protocol_is_refused(remote):
    with pytest.raises(SimulatorError, match="speaks version 99 of the protocol; expected 1"):
        wire.decode_description({"protocol": 99})


def test_a_frame_that_is_none_is_refused():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = wire.Channel(ours)
        theirs.sendall(b"\x00\x00\x00\x04oops")
        with pytest.raises(SimulatorError, match="a frame is no JSON object but b'oops'"):
            channel.receive(1.0)
        theirs.sendall(b"HTTP")
        with pytest.raises(SimulatorError, match="a frame of 1213486160 bytes"):
            channel.receive(1.0)
        with pytest.raises(wire.ChannelSilent):
            channel.receive(0.05)


def test_closing_ends_the_process_and_may_be_done_twice():
    environment = RemoteEnvironment(launch())
    pid = environment.pid
    environment.close()
    environment.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


FORGETFUL = """
from worldagen_sim.remote.environment import RemoteEnvironment
from worldagen_sim.remote.process import Launch
environment = RemoteEnvironment(Launch("small", "small_simulators:make_small", paths=({workers!r},)))
print(environment.pid)
"""


def test_a_program_that_closes_nothing_ends_in_peace_and_so_does_the_simulator(run_python):
    told, complaints = run_python(FORGETFUL.format(workers=WORKERS))
    assert complaints == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(told), 0)


def test_the_playtable_is_the_same_in_another_process(playtable):
    remote = RemoteEnvironment(Launch("playtable", "worldagen_sim.playtable:make_playtable", {"renderer": "raycast"}))
    try:
        for environment in (remote, playtable):
            environment.reset("open_drawer", "A", 5)
        row = np.array([0.01, -0.01, 0.004, 0.02, 0.0, -0.03, 0.0])
        for _ in range(3):
            theirs, ours = remote.step(row), playtable.step(row)
        assert theirs.values == ours.values and theirs.tcp_pose.tolist() == ours.tcp_pose.tolist()
        assert remote.conditions == playtable.conditions and remote.tasks == playtable.tasks
        pictures = remote.render()
        assert all(np.array_equal(picture, pictures[name]) for name, picture in playtable.render().items())
        alone = playtable.render(("wrist",))
        assert list(alone) == ["wrist"] and np.array_equal(alone["wrist"], pictures["wrist"])
    finally:
        remote.close()
