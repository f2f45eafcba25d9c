"""Whole stacks, as processes: the loop closes, runs repeat themselves, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import psutil
import pytest
import rclpy

from worldagen_msgs.msg import TaskState
from worldagen_ros.client import StackClient, StackError
from worldagen_ros.config import load_deployment
from worldagen_ros.messages import decode_chunk
from worldagen_ros.watching import Watcher
from worldagen_sim.playtable import make_playtable
from worldagen_sim.playtable.conditions import BLOCKS
from worldagen_sim.rollout import ExpertActor, play_chain

QUICK = {"sim.renderer": "raycast"}  # the same everywhere


@pytest.fixture
def connect(environment):
    """A client of a stack in a namespace; ends with the test."""
    rclpy.init(args=[])
    clients = []

    def make(namespace: str = "") -> StackClient:
        clients.append(StackClient(namespace, patience_s=60.0))
        clients[-1].wait_until_ready()
        return clients[-1]

    yield make
    for client in clients:
        client.destroy_node()
    rclpy.try_shutdown()


def chunk_bytes(watcher: Watcher, before_ns: int) -> list[bytes]:
    """Every chunk but the time it took, as bytes. Not the serialised message: CDR leaves its padding as it finds it."""
    chunks = [decode_chunk(msg, "world") for msg in watcher.chunks]
    return [
        repr((chunk.stamp_ns, chunk.sequence, chunk.period_s, chunk.convention)).encode() + chunk.rows.tobytes()
        for chunk in chunks
        if chunk.stamp_ns < before_ns
    ]


def fifty_decisions(start_stack, connect, namespace: str) -> list[bytes]:
    random_weights = {"policy.checkpoint": json.dumps("")}  # they never succeed, so that all fifty are made
    stack = start_stack(load_deployment("sim_network", QUICK | random_weights), namespace)
    client = connect(namespace)
    watcher = Watcher(client, live=False)
    client.run_episode("open_drawer", "B", seed=3, max_steps=250, patience_s=100.0)
    end = client.task_state.header.stamp
    assert client.task_state.status == TaskState.STEP_LIMIT and client.task_state.steps == 250
    client.wait(lambda: len(watcher.chunks) >= 50, "the chunks")
    stack.stop()
    return chunk_bytes(watcher, end.sec * 10**9 + end.nanosec)


@pytest.mark.timeout(300)
def test_fifty_decisions_of_the_network_are_the_same_bytes_in_two_runs(start_stack, connect):
    first = fifty_decisions(start_stack, connect, "first")
    second = fifty_decisions(start_stack, connect, "second")
    assert len(first) == 50
    assert first == second


def test_the_expert_succeeds_in_real_time_too(start_stack, connect):
    start_stack(load_deployment("sim_realtime", QUICK))
    client = connect()
    client.run_episode("lift_red_block_table", "A", seed=1, patience_s=60.0)
    assert client.task_state.status == TaskState.SUCCEEDED


def test_a_reset_in_mid_run_begins_afresh(start_stack, connect):
    start_stack(load_deployment("sim", QUICK))
    client = connect()
    execution = client.begin(client.reset_simulator("open_drawer", "A", seed=1))
    client.wait(lambda: client.task_state.steps >= 10, "ten steps")
    client.reset_simulator("open_drawer", "B", seed=2)
    client.wait(lambda: client.task_state.status != TaskState.RUNNING or execution.done, "the end", 60.0)
    assert client.task_state.scene == "B" and client.task_state.status == TaskState.SUCCEEDED
    execution.cancel()


def test_a_chain_of_tasks_is_played_in_one_world_as_without_ros(start_stack, connect):
    tasks = ("lift_red_block_table", "place_in_drawer", "close_drawer")
    table = {"slider": "left", "drawer": "open", "lightbulb": "off", "led": "on", **dict.fromkeys(BLOCKS, "table")}
    playtable = make_playtable(renderer="raycast")
    direct = play_chain(playtable, ExpertActor(rows=5), tasks, "B", 4, table, max_steps=360)
    playtable.close()
    start_stack(load_deployment("sim", QUICK))
    client, conditions = connect(), [f"{name}={value}" for name, value in table.items()]
    for number, (task, outcome) in enumerate(zip(tasks, direct, strict=True)):
        world = {"keep_world": True} if number else {"conditions": conditions}
        client.run_episode(task, "B", 4, instruction=f"please do {task}", **world)
        assert client.task_state.instruction == f"please do {task}"
        assert client.task_state.status == TaskState.SUCCEEDED and outcome.success, task
        assert client.task_state.steps == outcome.steps, task


def test_conditions_that_cannot_be_are_answered_and_the_episode_goes_on(start_stack, connect):
    start_stack(load_deployment("sim", QUICK))
    client = connect()
    episode = client.task_state.episode
    with pytest.raises(StackError, match="expected name=value, for example drawer=open"):
        client.reset_simulator("open_drawer", "A", 0, conditions=["drawer"])
    with pytest.raises(StackError, match="impossible conditions: slider is missing"):
        client.reset_simulator("open_drawer", "A", 0, conditions=["drawer=closed"])
    assert client.task_state.episode == episode


def test_an_unknown_task_or_scene_is_answered_with_the_list_and_the_episode_goes_on(start_stack, connect):
    start_stack(load_deployment("sim", QUICK))
    client = connect()
    episode = client.task_state.episode
    with pytest.raises(StackError, match="open_drawer"):
        client.reset_simulator("fly", "A", seed=0)
    with pytest.raises(StackError, match="A, B, C, D"):
        client.reset_simulator("open_drawer", "Z", seed=0)
    client.run_episode("lift_red_block_table", "A", seed=1)
    assert client.task_state.episode == episode + 1 and client.task_state.status == TaskState.SUCCEEDED


def worldagen(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    """Run the operator's command to its end."""
    program = str(Path(sys.executable).parent / "worldagen")
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=110)


def test_an_operator_can_execute_an_instruction(start_stack, environment):
    start_stack(load_deployment("sim", QUICK))
    done = worldagen(environment, "execute", "open the drawer", "--task", "open_drawer", "--scene", "C", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert "following 'open the drawer'" in done.stdout and "cancelled" in done.stdout
    refused = worldagen(environment, "execute", "dance", "--time-limit", "5")
    assert refused.returncode == 1
    assert "fault: unknown instruction for the expert in task open_drawer 'dance'" in refused.stdout


@pytest.mark.parametrize(("options", "policy"), [((), "network"), (("--expert",), "expert")])
def test_the_demo_shows_all_it_promises(environment, tmp_path, options, policy):
    done = worldagen(environment, "demo", "--out", str(tmp_path / "demo"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads((tmp_path / "demo/table.json").read_text())
    assert [(row["policy"], row["outcome"]) for row in table] == [(policy, "succeeded")] * 3
    for row in table:
        assert 0 < row["latencies"]["chunk_p50_ms"] <= row["latencies"]["command_p50_ms"]
        assert row["task"] in done.stdout
    with av.open(str(tmp_path / "demo/demo.mp4")) as video:
        frames = sum(1 for _ in video.decode(video=0))
    assert frames >= sum(row["steps"] for row in table)


class Up:
    """`worldagen up` as a process of its own, as an operator has it."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        program = str(Path(sys.executable).parent / "worldagen")
        command = [program, "up", *arguments, "--set", "sim.renderer=raycast"]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []

    def read_until(self, *words: str) -> None:
        """Read its output until all words have been seen."""
        missing = set(words)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            missing = {word for word in missing if word not in line}
            if not missing:
                return
        pytest.fail(f"it ended without saying {missing}: {''.join(self.lines)}")

    def nodes(self) -> dict[str, psutil.Process]:
        """Its children, by node name."""
        children = psutil.Process(self.process.pid).children()
        return {
            name: child
            for child in children
            for name in ("sim", "command", "policy")
            if f"{name}_node" in " ".join(child.cmdline())
        }


READY = ("[sim] INFO: episode 1", "[command] INFO: ready", "[policy] INFO: ready")


@pytest.fixture
def up(environment):
    """Start `worldagen up` with arguments, wait until its nodes are ready; checks afterwards that nothing is left behind."""
    before = set(os.listdir("/dev/shm"))
    started: list[tuple[Up, list[psutil.Process]]] = []

    def start(*arguments: str) -> Up:
        made = Up(environment, *arguments)
        nodes: list[psutil.Process] = []
        started.append((made, nodes))
        made.read_until(*READY)
        nodes += made.nodes().values()
        assert len(nodes) == 3
        return made

    yield start
    for made, nodes in started:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait(timeout=10)
        _, alive = psutil.wait_procs(nodes, timeout=10)
        assert not alive, f"still running: {alive}"
    left = {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("fastrtps")}
    assert not left or _vanishes(left), f"shared memory left behind: {left}"


def _vanishes(names: set[str]) -> bool:
    """Other test runs on this machine have segments of their own, which come and go."""
    deadline = time.monotonic() + 5.0
    while names & set(os.listdir("/dev/shm")):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_ends_cleanly_when_it_is_asked_to(up, number):
    made = up("sim")
    for name, node in made.nodes().items():  # it would wait for whoever is killed while it holds a lock of it
        assert not any("/dev/shm/fast" in mapped.path for mapped in node.memory_maps()), f"{name} uses shared memory"
    made.process.send_signal(number)
    assert made.process.wait(timeout=15) == 0
    assert "[up] stopped" in made.process.stdout.read()


def test_when_a_node_is_killed_up_stops_the_others_and_returns_its_code(up):
    made = up("sim")
    made.nodes()["policy"].kill()
    assert made.process.wait(timeout=15) == 128 + signal.SIGKILL
    assert "policy was killed by SIGKILL; stopping the others" in made.process.stdout.read()


def test_when_up_itself_is_killed_its_nodes_end_too(up):
    made = up("sim")
    nodes = list(made.nodes().values())
    made.process.kill()
    _, alive = psutil.wait_procs(nodes, timeout=10)
    assert not alive


def test_when_a_node_cannot_start_up_shows_why_and_returns_its_code(environment):
    made = Up(environment, "sim", "--set", "sim.scene=Z")
    assert made.process.wait(timeout=60) == 1
    assert "[sim] ERROR: unknown" in made.process.stdout.read()


def test_up_refuses_a_bad_override_before_anything_starts(environment):
    made = Up(environment, "sim", "--set", "sim.seed=-4")
    assert made.process.wait(timeout=30) == 1
    assert made.process.stdout.read() == "error: override sim.seed=-4: sim.seed is -4; allowed: a whole number of at least 0\n"
