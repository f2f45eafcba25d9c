"""Record demonstrations through the ROS nodes: simulator, expert and command node in lockstep, a Recorder beside them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rclpy.serialization import serialize_message
from std_msgs.msg import String

from worldagen_msgs.msg import TaskState
from worldagen_ros import demonstrating, topics
from worldagen_ros.client import StackClient, StackError
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.messages import ns_to_stamp, stamp_to_ns
from worldagen_ros.recorded import recorded_of
from worldagen_ros.recorder import Recorder
from worldagen_ros.running import open_stack
from worldagen_sim.demonstrations import EPISODE, UNFINISHED, Attempt, Ended, Ledger, Request
from worldagen_sim.environment import Environment

PATIENCE_S = 120.0  # of one episode
PREPARED_NS = 100 * 1_000_000_000  # stamp of the episode that is thrown away
# What is said of every instant; the last one is answered too, for the nodes cannot know that the simulator stops there.
OF_EVERY_INSTANT = (
    topics.JOINT_STATES,
    topics.TASK_STATE,
    topics.STATIC_CAMERA_INFO,
    topics.STATIC_IMAGE,
    topics.WRIST_CAMERA_INFO,
    topics.WRIST_IMAGE,
    topics.ACTION_CHUNK,
    topics.EXPERT_CHUNK,
    topics.TARGET_POSE,
    topics.GRIPPER_COMMAND,
)


class StackRecorder:
    """Plays attempts on a running stack and writes their bags."""

    def __init__(self, client: StackClient, config: DeploymentConfig, request: Request, environment: Environment) -> None:
        """environment: asked for the conditions an episode begins with, which the nodes do not tell."""
        self._client, self._config, self._request, self._environment = client, config, request, environment
        self._recorder = Recorder(client, recorded_of(config), config.recorder)
        self._recorder.connect()

    def prepare(self, folder: Path) -> None:
        """Play one episode whose bag is thrown away: when its last message is there, everything that speaks is connected."""
        request = self._request
        self.record(Attempt(request.scenes[0], request.tasks[0], request.first_seed, "prepare", PREPARED_NS), folder)
        self._client.wait(lambda: self._recorder.connected, "the recorder's subscriptions", 30.0)
        shutil.rmtree(folder, ignore_errors=True)

    def record(self, attempt: Attempt, folder: Path) -> Ended:
        """Play one attempt into a new bag folder. Raises StackError; an attempt without success leaves no bag."""
        client, recorder = self._client, self._recorder
        before = demonstrating.metadata_before(self._config, self._request, attempt)
        recorder.start(folder, before)
        recorder.note(
            topics.INSTRUCTION, "std_msgs/msg/String", serialize_message(String(data=attempt.instruction)), attempt.begin_ns
        )
        begin_at = ns_to_stamp(attempt.begin_ns)
        client.reset_simulator(attempt.task, attempt.scene, attempt.seed, instruction=attempt.instruction, begin_at=begin_at)
        execution = client.begin(attempt.instruction)
        client.wait(lambda: client.task_state.status != TaskState.RUNNING, f"the end of {attempt.task}", PATIENCE_S)
        ended = client.task_state
        end_ns = stamp_to_ns(ended.header.stamp)
        client.wait(lambda: self._has_all(end_ns), "the last messages", PATIENCE_S)
        execution.cancel()
        kept = ended.status == TaskState.SUCCEEDED
        self._environment.reset(attempt.task, attempt.scene, attempt.seed)
        conditions = self._environment.conditions
        report = recorder.stop({EPISODE: demonstrating.episode_after(before[EPISODE], kept, ended.steps, conditions)})
        if report.stopped or sum(report.dropped.values()) or sum(report.lost.values()):
            raise StackError(f"{report}; this bag is not whole. It stays in {folder} until the next run")
        if not kept:
            shutil.rmtree(folder)
        return Ended(attempt, kept, ended.steps, report.size_bytes if kept else 0)

    def _has_all(self, end_ns: int) -> bool:
        return all(self._recorder.newest_ns(name) >= end_ns for name in OF_EVERY_INSTANT)


def record_all_through_ros(
    ledger: Ledger, config: DeploymentConfig, environment: Environment, domain: int | None
) -> Iterator[Ended]:
    """Record whatever the ledger misses, settle each attempt, and tell of it. Raises StackError when a node dies."""
    with open_recorder(ledger, config, environment, domain) as recorder:
        while due := list(ledger.missing()):
            for attempt in due:
                ended = recorder.record(attempt, ledger.workplace(attempt))
                ledger.settle(ended)
                yield ended


@contextmanager
def open_recorder(
    ledger: Ledger, config: DeploymentConfig, environment: Environment, domain: int | None
) -> Iterator[StackRecorder]:
    """Start the nodes, whose words go to nodes.log in the recording's folder, and a recorder beside them."""
    with open_stack(config, ledger.folder / "nodes.log", domain) as client:
        recorder = StackRecorder(client, config, ledger.request, environment)
        recorder.prepare(ledger.folder / UNFINISHED / "prepare")
        yield recorder
