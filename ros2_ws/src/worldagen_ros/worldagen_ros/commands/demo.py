"""The whole loop, by itself: a learned policy does three tasks by words and pictures, through ROS.

Starts the stack in lockstep without a window, prints a table, writes an MP4 of both cameras, with what the world model expected
beside what came, and says where. --expert: the scripted expert does the tasks instead, with the simulator's own state.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from worldagen.conventions import CONVENTIONS
from worldagen.errors import WorldAgenError
from worldagen_msgs.msg import TaskState
from worldagen_ros.client import StackClient, StackError
from worldagen_ros.config import load_deployment
from worldagen_ros.messages import stamp_to_ns
from worldagen_ros.spinning import open_ros
from worldagen_ros.stack import Stack, stack_environment
from worldagen_ros.video import BAR, SIDE, STRIP, Compared, VideoWriter, draw_comparison, draw_frame, draw_poster
from worldagen_ros.view import LiveView
from worldagen_ros.watching import Watcher

HELP = "run the demonstration: a table of results and an MP4"
NAMESPACE = "demo"
SCENE = "A"
# Three tasks, each with the seed of a layout in which the shipped policy succeeds; how often it does is in its card.
TASKS = {"move_slider_left": 402_000, "lift_red_block_slider": 409_000, "open_drawer": 400_000}
POSTER_MOMENT = 0.8  # share of an episode after which its picture for the poster is taken
OUTCOMES = {TaskState.SUCCEEDED: "succeeded", TaskState.STEP_LIMIT: "step limit", TaskState.FAILED: "simulator failed"}


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds."""

    policy: str
    task: str
    instruction: str
    outcome: str
    steps: int
    decisions: int
    latencies: dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder of the MP4, the logs and the table (default: out/demo)"
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--checkpoint", default="playtable", help="the network: a shipped one's name or a folder (default: playtable)"
    )
    who.add_argument("--expert", action="store_true", help="no network: the scripted expert does the tasks")
    parser.add_argument("--view", action="store_true", help="show it live in the Rerun viewer")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain of the demo, 0 to 101")


class Demo:
    """Runs episodes on a stack, into one video."""

    def __init__(self, out: Path, view: LiveView | None, checkpoint: str) -> None:
        """checkpoint: empty for the expert, who expects nothing."""
        out.mkdir(parents=True, exist_ok=True)
        self._out, self._view, self._checkpoint = out, view, checkpoint
        height = BAR + SIDE + (STRIP if checkpoint else 0)
        self._video = VideoWriter(out / "demo.mp4", 1 / CONVENTIONS["calvin"].period_s, height)
        self._log = (out / "nodes.log").open("w", encoding="utf-8")
        self._policy = ""  # what decides in the episode that is shown
        self._frames: list[np.ndarray] = []  # every fifth of this episode
        self._poster: list[np.ndarray] = []  # one of each episode
        self._compared: Compared | None = None  # the last expectation that can be held against what came

    @contextmanager
    def stack(self, deployment: str) -> Iterator[tuple[StackClient, Watcher]]:
        """A running stack with pictures of every control step, and an eye on it."""
        changes = {"sim.every_picture": "true", "sim.scene": SCENE}
        if self._checkpoint:
            changes["policy.checkpoint"] = json.dumps(self._checkpoint)
        config = load_deployment(deployment, changes)
        with Stack(config, lambda name, line: print(f"[{name}] {line}", file=self._log, flush=True), NAMESPACE) as stack:

            def watch() -> None:
                if ended := stack.ended():
                    raise StackError(f"{ended}; its log is in {self._log.name}")

            client = StackClient(NAMESPACE, watch)
            try:
                watcher = Watcher(
                    client,
                    live=False,
                    on_pictures=lambda *shown: self._show(client, watcher, *shown),
                    expectations=bool(self._checkpoint),
                )
                client.wait_until_ready()
                client.wait(watcher.is_connected, "the topics that are watched")
                yield client, watcher
            finally:
                self._policy = ""
                client.destroy_node()

    def episode(self, client: StackClient, watcher: Watcher, policy: str, task: str) -> Row:
        """Run one episode and tell how it went."""
        watcher.forget()
        self._policy, self._compared = policy, None
        if self._view:
            self._view.tell(f"{policy}: {task}")
        client.run_episode(task, SCENE, TASKS[task])
        state = client.task_state
        end_ns = stamp_to_ns(state.header.stamp)
        client.wait(lambda: watcher.newest_picture_ns >= end_ns, "the last pictures", 30.0)  # drawing is slower than the loop
        row = Row(
            policy=policy,
            task=task,
            instruction=state.instruction,
            outcome=OUTCOMES.get(state.status, "stopped"),
            steps=state.steps,
            decisions=watcher.decisions_before(end_ns),
            latencies=watcher.latencies().percentiles_ms(),
        )
        print(table_line(row), flush=True)
        self._poster.append(self._frames[int(len(self._frames) * POSTER_MOMENT)])
        self._frames.clear()
        return row

    def close(self) -> Path:
        """Finish the video; returns its path."""
        self._video.close()
        self._log.close()
        if self._poster:
            draw_poster(self._poster).save(self._out / "demo.png")
        return self._video.path

    def _show(self, client: StackClient, watcher: Watcher, static: np.ndarray, wrist: np.ndarray, stamp_ns: int) -> None:
        if self._policy == "":
            return  # the stack's own first episode
        seconds = (stamp_ns - client.episode_begun_ns) * 1e-9
        if seconds >= 0:
            if expected := watcher.expected_at(stamp_ns):
                self._compared = Compared(expected, {"static": static, "wrist": wrist})
            note = f"{self._policy}   {seconds:5.2f} s"
            frame = draw_frame(static, wrist, client.task_state.instruction, note)
            if self._checkpoint:
                frame = np.concatenate([frame, draw_comparison(self._compared)])
            if self._video.frames % 5 == 0:
                self._frames.append(frame)
            self._video.add(frame)
            if self._view:
                self._view.pictures(static, wrist, self._video.frames * CONVENTIONS["calvin"].period_s)


HEAD = (
    "policy   task                  outcome     steps decisions    to chunk, ms   to command, ms\n"
    "                                                                p50 /   p99      p50 /   p99"
)


def table_line(row: Row) -> str:
    """One line of the table under HEAD."""
    ms = {key: f"{value:.1f}" for key, value in row.latencies.items()}
    chunk, command = (
        f"{ms.get(f'{name}_p50_ms', '-'):>5} / {ms.get(f'{name}_p99_ms', '-'):>5}" for name in ("chunk", "command")
    )
    return f"{row.policy:<8} {row.task:<21} {row.outcome:<11} {row.steps:>5} {row.decisions:>9}   {chunk}    {command}"


def run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    os.environ.update(stack_environment(os.environ, args.domain))  # this process is a participant too
    view = LiveView() if args.view else None
    if view:
        print(view.how, flush=True)
    demo = Demo(args.out, view, "" if args.expert else args.checkpoint)
    policy, deployment = ("expert", "sim") if args.expert else ("network", "sim_network")
    print(
        f"Scene {SCENE}, seeds {', '.join(map(str, TASKS.values()))}, lockstep. "
        f"Times run from an observation to its chunk and to its first command.\n\n{HEAD}"
    )
    try:
        with open_ros(), demo.stack(deployment) as (client, watcher):
            rows = [demo.episode(client, watcher, policy, task) for task in TASKS]
    finally:
        video = demo.close()
    (args.out / "table.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", "utf-8")
    print(f"\nvideo: {video}")
    print(f"logs:  {args.out / 'nodes.log'}\ndone in {time.monotonic() - started:.0f} s")
    if view:
        view.close_when_told()
    failed = [row.task for row in rows if row.policy == "expert" and row.outcome != "succeeded"]
    if failed:
        raise WorldAgenError(f"the expert did not succeed in: {', '.join(failed)}; see {args.out / 'nodes.log'}")
    return 0
