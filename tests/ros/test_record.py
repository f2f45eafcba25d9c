"""Demonstrations: through the nodes and without them the same messages, in bags that pass their own check."""

import json
import subprocess
import sys
import time
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message

from worldagen.bags.check import check_bag
from worldagen.bags.reader import open_bag
from worldagen.cli import main
from worldagen.data.bags import BagSource
from worldagen.poses import Pose
from worldagen_msgs.msg import GripperCommand, TaskState
from worldagen_ros.messages import decode_row
from worldagen_sim.demonstrations import EPISODE, EPISODES, UNFINISHED
from worldagen_sim.environment import make_environment

COMMON = ["record", "--env", "playtable", "--scenes", "D", "--seed", "3", "--renderer", "raycast"]
TASKS = ["--tasks", "stack_block,turn_on_led", "--episodes-per-task", "1"]


def bags_in(folder: Path) -> list[Path]:
    return sorted((folder / EPISODES).glob("*/*/*"))


def numbers_of(value, name=""):
    """Every leaf of a decoded message by name; what pads the bytes between them is left out, it is nobody's."""
    if is_dataclass(value):
        for field in fields(value):
            yield from numbers_of(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from numbers_of(item, f"{name}[{index}]")
    else:
        yield name, value


def content_of(folder: Path) -> dict[str, list]:
    """topic -> (publish time, leaves) of every message. Not the log time, and not how often that simulator was reset."""
    bag, content = open_bag(folder), {}
    for message in bag.messages():
        leaves = {name: value for name, value in numbers_of(bag.decode(message)) if name != ".episode"}
        content.setdefault(message.topic, []).append((message.publish_time_ns, leaves))
    return content


@pytest.fixture(scope="module")
def direct(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("direct") / "out"
    assert main([*COMMON, *TASKS, "--direct", "--processes", "1", "--out", str(folder)]) == 0
    return folder


@pytest.mark.ros
@pytest.mark.timeout(300)
def test_through_the_nodes_and_without_them_the_bags_hold_the_same(direct, tmp_path):
    out = tmp_path / "out"
    assert main([*COMMON, *TASKS, "--out", str(out)]) == 0
    assert len(bags_in(out)) == 2
    for with_ros, without in zip(bags_in(out), bags_in(direct), strict=True):
        told, kept = content_of(with_ros), content_of(without)
        assert told.keys() == kept.keys()
        for topic in kept:
            assert [stamp for stamp, _ in told[topic]] == [stamp for stamp, _ in kept[topic]], topic
            for (stamp, one), (_, other) in zip(told[topic], kept[topic], strict=True):
                differing = [name for name in other if not np.array_equal(one[name], other[name])]
                assert not differing, f"{topic} at {stamp}: {differing}"
        assert open_bag(with_ros).metadata[EPISODE] == open_bag(without).metadata[EPISODE]


def test_a_bag_holds_what_its_contract_says_and_who_it_is(direct):
    for folder in bags_in(direct):
        assert not [finding for finding in check_bag(folder) if finding.level.name != "OK"]
        episode = open_bag(folder).metadata[EPISODE]
        assert (episode["scene"], int(episode["seed"]) % 2000, episode["success"]) == ("D", 3, "true")
        assert json.loads(episode["conditions"])["drawer"] in ("open", "closed")


def test_a_demonstration_shows_the_result_for_a_while_and_keeps_the_clean_answers(direct):
    for folder in bags_in(direct):
        bag = open_bag(folder)
        messages = [(message.topic, bag.decode(message)) for message in bag.messages()]
        states = [msg for topic, msg in messages if topic == "/sim/task_state"]
        assert [state.steps for state in states] == list(range(len(states)))
        executed, clean = (
            np.array([_motion(msg) for topic, msg in messages if topic == name])
            for name in ("/action_chunk", "/expert/action_chunk")
        )
        assert len(executed) == len(clean) == len(states)  # the last instant is answered too
        assert 0 < np.abs(executed - clean).max() < 0.05


def _motion(chunk):
    move = chunk.rows[0].translation
    return (move.x, move.y, move.z)


def test_replaying_the_commands_that_were_sent_gives_the_same_states_and_the_same_success(direct):
    environment = make_environment("playtable", renderer="raycast")
    for folder in bags_in(direct):
        bag = open_bag(folder)
        who = bag.metadata[EPISODE]
        assert who["version"] == environment.version
        messages: dict[str, list] = {"/target_pose": [], "/gripper_command": [], "/sim/task_state": []}
        for message in bag.messages(list(messages)):
            kind = {"/target_pose": PoseStamped, "/gripper_command": GripperCommand}.get(message.topic, TaskState)
            messages[message.topic].append(deserialize_message(message.data, kind))
        poses, grippers, states = messages.values()
        now = environment.reset(who["task"], who["scene"], int(who["seed"]))
        for pose, gripper, told in zip(poses, grippers, states, strict=True):
            assert dict(zip(told.names, told.values, strict=True)) == now.values
            now = environment.step(decode_row(pose, gripper, Pose.from_euler(now.target_pose), 1 / 30))
        assert states[-1].status == TaskState.SUCCEEDED and now.success
    environment.close()


def test_with_rarer_pictures_it_is_the_same_episode_with_every_so_many_th_picture(direct, tmp_path, capsys):
    asked = ["--tasks", "stack_block", "--episodes-per-task", "1", "--picture-every", "5"]
    assert main([*COMMON, *asked, "--direct", "--processes", "1", "--out", str(tmp_path / "rare")]) == 0
    (rare,), whole = bags_in(tmp_path / "rare"), next(bag for bag in bags_in(direct) if "stack_block" in str(bag))
    seen, all_of_it = (BagSource(folder).read(folder.name) for folder in (rare, whole))
    assert seen.every == 5 and len(seen) == len(all_of_it) > 10
    for name in ("states", "actions", "targets"):
        assert np.array_equal(getattr(seen, name), getattr(all_of_it, name)), name
    pictures = {instant: both for instant, *both in all_of_it.frames()}
    shown = list(seen.frames())
    assert [instant for instant, *_ in shown] == list(range(0, len(seen), 5))
    assert all(np.array_equal(one, other) for at, *both in shown for one, other in zip(both, pictures[at], strict=True))
    assert main([*COMMON, *asked, "--out", str(tmp_path / "nodes")]) != 0
    assert "are recorded without ROS only: give --direct" in capsys.readouterr().err


def test_a_second_run_finds_everything_there(direct, capsys):
    before = {file: file.stat().st_mtime_ns for file in direct.rglob("*") if file.is_file()}
    assert main([*COMMON, *TASKS, "--direct", "--out", str(direct)]) == 0
    assert "2 are there already" in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in direct.rglob("*") if file.is_file()}


def test_killed_at_any_moment_it_goes_on_to_the_same_bags_and_leaves_no_process(direct, tmp_path, environment):
    out = tmp_path / "out"
    command = [str(Path(sys.executable).parent / "worldagen"), *COMMON, *TASKS, "--direct", "--out", str(out)]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: list((out / UNFINISHED).glob("*/*/*/*.mcap")) or bags_in(out), "the first bag to be begun")
    workers = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.wait()
    wait_for(lambda: not [worker for worker in workers if _is_alive(worker)], "the workers to end")
    assert len(bags_in(out)) < 2
    assert subprocess.run(command, env=environment, capture_output=True, timeout=100).returncode == 0
    for again, straight in zip(bags_in(out), bags_in(direct), strict=True):
        told, kept = content_of(again), content_of(straight)
        assert {topic: len(messages) for topic, messages in told.items()} == {name: len(of) for name, of in kept.items()}
        assert open_bag(again).metadata[EPISODE] == open_bag(straight).metadata[EPISODE]
    assert not (out / UNFINISHED).exists() or not list((out / UNFINISHED).rglob("*.mcap"))


def wait_for(condition, what, patience_s=60.0):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(0.01)


def _is_alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tasks", "fly"], "unknown playtable task 'fly'"),
        (["--scenes", "A+camera:7"], "the strength of camera is 7"),
        (["--episodes-per-task", "0"], "0 episodes"),
        (["--set", "recorder.floor_mib=1000000000"], "MiB of disk are free; recording needs 1000000000 MiB"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(tmp_path, capsys, arguments, words):
    out = tmp_path / "out"
    assert main(["record", "--direct", "--tasks", "turn_on_led", "--out", str(out), *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not bags_in(out)
