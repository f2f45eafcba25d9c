"""Faults on a running stack: the judge, with made records; then a few real ones."""

import os
import random
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped

from worldagen.limits import LimitsConfig
from worldagen_ros.faults.campaign import NETWORK, PATIENT, deployment, judged, take
from worldagen_ros.faults.injecting import open_rig
from worldagen_ros.faults.judging import Command, Expected, HeardChunk, Record, Said, judge
from worldagen_ros.faults.table import TABLE, goes_on, holds
from worldagen_ros.manager_node import Failed, ManagerNode
from worldagen_ros.sim_pacing import LivePace
from worldagen_ros.specs import UDP_PROFILE
from worldagen_ros.stack import stack_environment

PERIOD_S, TICK_NS = 0.01, 10_000_000
BEGIN_NS = 1_000_000_000_000
LIMITS = LimitsConfig()
HOLDS = replace(holds(), afterwards=("HOLD",))


def moved(speeds: np.ndarray, first_number: int = 1, begin_ns: int = BEGIN_NS, x_m: float = 0.0) -> list[Command]:
    """Commands along x. speeds: (N,) m/s, of the motion to each."""
    ways = x_m + np.cumsum(speeds) * PERIOD_S
    return [
        Command(begin_ns + index * TICK_NS, first_number + index, (float(x), 0.0, 0.5), (0.0, 0.0, 0.0, 1.0))
        for index, x in enumerate(ways)
    ]


RAMP = np.concatenate([np.linspace(0, 0.1, 20), np.full(60, 0.1), np.linspace(0.1, 0, 20), np.zeros(40)])


def stopped(**changes) -> Record:
    """From rest, 0.6 s of motion, and from 0.8 s on to rest again; the fault comes at 0.7 s and HOLD is announced at 0.81 s."""
    record = Record(
        injected_ns=BEGIN_NS + 70 * TICK_NS,
        undone_ns=BEGIN_NS + 135 * TICK_NS,
        ended_ns=BEGIN_NS + 140 * TICK_NS,
        commands=moved(RAMP),
        openings=[1.0, 0.0],
        command=[Said(BEGIN_NS, "RUNNING"), Said(BEGIN_NS + 81 * TICK_NS, "HOLD", "no joint states for 0.21 s")],
        stack=[Said(0, "ACTIVE")],
    )
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def verdict_of(record: Record, expected: Expected = HOLDS):
    return judge(record, expected, LIMITS, PERIOD_S, max_chunk_age_s=0.5)


def test_the_time_to_a_safe_command_ends_where_the_pose_begins_to_slow_down_for_good():
    verdict = verdict_of(stopped())
    assert verdict.passed, verdict.problems
    assert verdict.safe_s == pytest.approx(0.10, abs=0.011)  # the last full motion leads to command 80
    assert verdict.rest_s == pytest.approx(0.29, abs=0.011)
    assert verdict.announced_s == pytest.approx(0.11)


def test_where_ready_follows_a_single_tick_at_rest_is_enough():
    ready = [*stopped().command, Said(BEGIN_NS + 102 * TICK_NS, "READY")]
    record = stopped(commands=moved(RAMP[:102]), command=ready)
    verdict = verdict_of(record, replace(HOLDS, afterwards=("READY",)))
    assert verdict.passed, verdict.problems
    assert verdict.rest_s == pytest.approx(0.29, abs=0.011)


def test_where_nothing_was_commanded_any_more_when_the_state_was_announced_the_last_command_counts():
    said = [Said(BEGIN_NS, "RUNNING"), Said(BEGIN_NS + 90 * TICK_NS, "READY")]
    again = moved(np.linspace(0, 0.1, 20), 200, BEGIN_NS + 136 * TICK_NS)  # after the fault
    record = stopped(commands=moved(RAMP[:75]) + again, command=[*said, Said(BEGIN_NS + 136 * TICK_NS, "RUNNING")])
    verdict = verdict_of(record, replace(HOLDS, afterwards=("RUNNING",)))
    assert verdict.passed, verdict.problems
    assert verdict.safe_s == pytest.approx(0.04)


def test_speeding_up_again_before_it_rests_makes_the_safe_command_a_later_one():
    bump = RAMP.copy()
    bump[92:96] = 0.05
    assert verdict_of(stopped(commands=moved(bump))).safe_s == pytest.approx(0.25, abs=0.011)


def test_a_pose_that_never_rests_is_told():
    assert "did not come to rest" in " ".join(verdict_of(stopped(commands=moved(np.full(140, 0.1)))).problems)


def test_when_the_sender_is_gone_its_last_command_is_the_safe_one():
    gone = Expected(("GONE",), ("RUNNING",))
    record = stopped(commands=moved(RAMP[:75]), command=[Said(BEGIN_NS, "RUNNING")])
    verdict = verdict_of(record, gone)
    assert verdict.passed and verdict.safe_s == pytest.approx(0.04)
    record.commands = moved(np.full(140, 0.1))
    assert "commands went on" in " ".join(verdict_of(record, gone).problems)


def leap(position: tuple[float, ...]) -> Record:
    record = stopped()
    record.commands[50] = replace(record.commands[50], position=position)
    return record


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (leap((0.06, 0.0, 0.5)), "speed"),
        (leap((float("nan"), 0.0, 0.5)), "not finite"),
        (leap((0.7, 0.0, 0.5)), "work space"),
        (stopped(commands=moved(np.concatenate([np.full(100, 0.3), np.zeros(40)]))), "acceleration"),
        (stopped(openings=[1.2]), "gripper"),
        (stopped(command=[Said(BEGIN_NS, "RUNNING")]), "HOLD or READY was not reached"),
        (stopped(stack=[Said(0, "ACTIVE"), Said(1, "FAILED", "sim is silent")]), "sim is silent"),
    ],
)
def test_the_judge_finds(record, says):
    assert says in " ".join(verdict_of(record).problems)


def test_commands_that_were_lost_on_the_way_to_us_are_no_leap():
    record = stopped()
    del record.commands[40:43]
    verdict = verdict_of(record)
    assert verdict.passed and verdict.lost == 3


def test_a_pose_put_onto_the_measured_one_is_no_leap_when_ready_was_announced():
    record = stopped()
    record.commands += moved(np.zeros(5), 200, BEGIN_NS + 150 * TICK_NS, x_m=0.5)
    assert "speed" in " ".join(verdict_of(record).problems)
    record.command.append(Said(BEGIN_NS + 145 * TICK_NS, "READY"))
    assert not any("speed" in problem for problem in verdict_of(record).problems)


def test_a_fault_that_nobody_cleared_and_motion_at_rest_are_found():
    fault = Expected(("FAULT",), ("RUNNING",))
    said = [Said(BEGIN_NS, "RUNNING"), *(Said(BEGIN_NS + at * TICK_NS, state) for at, state in ((81, "FAULT"), (136, "READY")))]
    record = stopped(command=[*said, Said(BEGIN_NS + 137 * TICK_NS, "RUNNING")])
    assert "nobody cleared it" in " ".join(verdict_of(record, fault).problems)
    record.cleared_ns = BEGIN_NS + 136 * TICK_NS
    assert verdict_of(record, fault).passed
    nudged = RAMP.copy()
    nudged[115:120] = 0.001
    assert "moved again" in " ".join(verdict_of(stopped(commands=moved(nudged))).problems)


def test_a_plan_from_before_the_stop_must_not_be_played_after_it():
    again = [*stopped().command, Said(BEGIN_NS + 130 * TICK_NS, "RUNNING", "chunk 7 plays")]
    old = HeardChunk(BEGIN_NS + 129 * TICK_NS, BEGIN_NS + 60 * TICK_NS, 7)
    problems = verdict_of(stopped(command=again, chunks=[old])).problems
    assert "was played after it" in " ".join(problems) and "0.70 s old" in " ".join(problems)
    fresh = replace(old, stamp_ns=BEGIN_NS + 125 * TICK_NS)
    assert verdict_of(stopped(command=again, chunks=[fresh]), replace(HOLDS, afterwards=("RUNNING",))).passed


def test_what_counts_is_when_a_plan_last_moved_the_arm_not_when_the_stop_was_announced():
    """A process that was not let run for 0.3 s finds the joint states old at its first tick after it."""
    again = [*stopped().command, Said(BEGIN_NS + 130 * TICK_NS, "RUNNING", "chunk 7 plays")]
    record = stopped(command=again, chunks=[HeardChunk(BEGIN_NS + 129 * TICK_NS, BEGIN_NS + 70 * TICK_NS, 7)])
    late = [replace(one, sent_ns=one.sent_ns - 30 * TICK_NS) if one.number <= 81 else one for one in record.commands]
    assert any("was played after it" in problem for problem in verdict_of(record).problems)
    record.commands = late
    assert not any("was played after it" in problem for problem in verdict_of(record).problems)


def test_an_announcement_that_was_not_heard_may_have_been_ready():
    record = stopped()
    record.command = [replace(said, number=number) for said, number in zip(record.command, (4, 5), strict=True)]
    record.commands += moved(np.zeros(5), 200, BEGIN_NS + 150 * TICK_NS, x_m=0.5)
    record.command.append(Said(BEGIN_NS + 145 * TICK_NS, "HOLD", number=6))
    assert any("speed" in problem for problem in verdict_of(record).problems)
    record.command[-1] = replace(record.command[-1], number=7)
    assert not any("speed" in problem for problem in verdict_of(record).problems)


def test_the_table_names_each_fault_once_and_expects_something_of_it():
    assert len({fault.name for fault in TABLE}) == len(TABLE)
    assert all(fault.expected.reaches for fault in TABLE)
    assert goes_on().reaches == ("RUNNING",)


def test_a_manager_that_was_stopped_accuses_nobody_of_silence(start_ros):
    graph = start_ros()
    manager = ManagerNode()
    graph.nodes.append(manager)  # not spun: nothing is brought up
    long_ago_s = time.monotonic() - 100.0
    manager.heard_s, manager.watched_s = {"sim": long_ago_s}, long_ago_s
    manager.watch()
    manager.heard_s = {"sim": long_ago_s}  # awake, and still nothing
    with pytest.raises(Failed, match="sim is silent"):
        manager.watch()


def test_who_hangs_is_taken_down_last_and_keeps_the_command_node_waiting_no_more(start_ros, monkeypatch):
    graph, asked = start_ros(), []
    manager = ManagerNode()
    graph.nodes.append(manager)
    manager.active = ["sim", "command", "policy", "recorder"]
    manager.heard_s = {**dict.fromkeys(manager.active, time.monotonic()), "recorder": time.monotonic() - 100.0}
    monkeypatch.setattr(manager, "dismiss", lambda name, _: asked.append(name) or iter(()))
    list(manager.take_down())
    assert asked == ["policy", "command", "sim", "recorder"] * 2


def test_in_real_time_a_simulator_does_not_obey_what_was_meant_for_the_last_episode():
    told = []
    clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=0))
    node: Any = SimpleNamespace(
        period_s=1 / 30,
        sim=SimpleNamespace(reset_pause_s=0.0),
        create_subscription=lambda *_: None,
        create_timer=lambda *_, **__: None,
        get_clock=lambda: clock,
        step=lambda motion, gripper: told.append(motion),
        show=lambda *_, **__: told.append("shown"),
    )
    pace, late, fresh = LivePace(node), PoseStamped(), PoseStamped()
    pace.begin(0)
    pace.on_motion(late)
    pace.advance()
    assert told == ["shown"]
    pace.on_motion(fresh)
    pace.advance()
    assert told[1] is fresh


REAL = (
    "joint_states: drop",
    "joint_states: NaN",
    "action_chunk: NaN",
    "static_camera: wrong frame_id",
    "static_camera: freeze",
    "policy: SIGSTOP 1 s",
    "clock: +10 s",
    "command: SIGKILL",
    "policy: SIGKILL",  # the last: it is not started again, which would take longer than all the others
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory, domain):
    """One stack for all of them, with time for a machine that has little."""
    folder = tmp_path_factory.mktemp("faults")
    changes = {"sim.renderer": "raycast", "manager.heartbeat_timeout_s": "600.0", "recorder.enabled": "false"}
    config = deployment("sim_realtime", {**NETWORK, **PATIENT, **changes}, folder)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in stack_environment({**os.environ, "ROS_LOG_DIR": str(folder)}, domain, UDP_PROFILE).items():
            patch.setenv(key, value)
        with open_rig(config, folder, domain, seed=1) as opened:
            yield opened


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", REAL)
def test_a_running_stack_reacts_as_the_table_says(rig, name):
    fault = next(fault for fault in TABLE if fault.name == name)
    if name == REAL[-1]:
        fault = replace(fault, how="for good", expected=replace(fault.expected, afterwards=("HOLD", "READY")))
    trial = judged(rig, fault, take(rig, fault, random.Random(name).uniform(0.05, 0.3)))
    assert trial.verdict.passed, (trial.verdict.problems, trial.verdict.states)
