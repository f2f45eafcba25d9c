"""What a stack says while something is done to it, as a Record for the judge.

Commands come a hundred times a second, and die after two periods where nobody takes them; so they are kept as bytes, and
decoded when the trial is over.
"""

import threading
import time
from collections import deque
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from worldagen_msgs.msg import ActionChunk, CommandStatus, GripperCommand, PolicyStatus, StackStatus
from worldagen_ros import qos, topics
from worldagen_ros.faults.judging import Command, HeardChunk, Record, Said
from worldagen_ros.messages import COMMAND_STATES, decode_pose, stamp_to_ns
from worldagen_ros.watching import EVERYTHING

POLICY_STATES = {getattr(PolicyStatus, name): name for name in ("IDLE", "RUNNING", "WAITING")}
STACK_STATES = {getattr(StackStatus, name): name for name in ("STARTING", "ACTIVE", "STOPPING", "FAILED")}
REMEMBERED = 12  # commands, from which the present speed is told


class Watch(Node):
    """Keeps the newest of everything, and a whole record while one is taken. `state` and its like may be read by any thread."""

    def __init__(self, chunks_topic: str) -> None:
        super().__init__("fault_watch", enable_rosout=False)
        self._lock = threading.Lock()
        self._record: Record | None = None
        self._poses: list[tuple[int, int, bytes]] = []  # of the record
        self._newest: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)
        self.command, self.policy, self.stack = Said(0, "GONE"), Said(0, "GONE"), Said(0, "GONE")
        self.measured_tick: tuple[float, float] = (0.0, 0.0)  # jitter p99 and max, s, as the command node tells it
        on_pose: Any = self._on_pose  # rclpy's types know no bytes
        self.create_subscription(PoseStamped, topics.TARGET_POSE, on_pose, EVERYTHING, raw=True)
        self.create_subscription(GripperCommand, topics.GRIPPER_COMMAND, self._on_gripper, EVERYTHING)
        # Late is no reason to miss a state: READY lasts for one tick, and tells that what comes next continues nothing.
        self.create_subscription(CommandStatus, topics.COMMAND_STATUS, self._on_command, qos.LATCHED_ALL)
        self.create_subscription(PolicyStatus, topics.POLICY_STATUS, self._on_policy, qos.LATCHED_ALL)
        self.create_subscription(StackStatus, topics.STACK_STATUS, self._on_stack, qos.LATCHED_ALL)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.DIAGNOSTICS)
        self.create_subscription(ActionChunk, chunks_topic, self._on_chunk, qos.CHUNKS)

    @property
    def state(self) -> str:
        """Of the command node."""
        return self.command.state

    @property
    def record(self) -> Record | None:
        """The one that is being taken."""
        return self._record

    def begin(self) -> Record:
        """Take a record from now on; the state of now is its first."""
        with self._lock:
            self._poses = []
            self._record = Record(command=[self.command], policy=[self.policy], stack=[self.stack])
            return self._record

    def end(self, ended_ns: int = 0) -> Record:
        """The record, complete: of what was sent until then, or until now."""
        with self._lock:
            record, self._record = self._record, None
        assert record is not None
        record.ended_ns = ended_ns or time.time_ns()
        told: list[Any]
        for told in (record.command, record.policy, record.stack, record.troubles, record.chunks):
            told[:] = [one for one in told if one.sent_ns <= record.ended_ns]
        for sent_ns, number, data in self._poses:
            if sent_ns > record.ended_ns:
                continue
            pose = deserialize_message(data, PoseStamped).pose
            position, turn = pose.position, pose.orientation
            record.commands.append(
                Command(sent_ns, number, (position.x, position.y, position.z), (turn.x, turn.y, turn.z, turn.w))
            )
        return record

    def step_m(self) -> float:
        """Mean translation of the newest commands, m per command; 0.0 where none came lately."""
        newest = list(self._newest)
        if len(newest) < 2 or time.time_ns() - newest[-1][0] > 100_000_000:
            return 0.0
        first, last = (decode_pose(deserialize_message(newest[index][1], PoseStamped)) for index in (0, -1))
        return float(abs(last.position - first.position).max()) / (len(newest) - 1)

    def _on_pose(self, data: bytes, information: Any) -> None:
        sent_ns, number = information["source_timestamp"], information["publication_sequence_number"]
        self._newest.append((sent_ns, data))
        with self._lock:
            if self._record is not None:
                self._poses.append((sent_ns, number, data))

    def _on_gripper(self, msg: GripperCommand) -> None:
        if self._record is not None:
            self._record.openings.append(msg.opening)

    def _on_command(self, msg: CommandStatus, information: Any) -> None:
        self.command = _said(information, COMMAND_STATES[msg.state], msg.reason)
        self.measured_tick = msg.jitter_p99, msg.jitter_max
        self._keep("command", self.command)

    def _on_policy(self, msg: PolicyStatus, information: Any) -> None:
        self.policy = _said(information, POLICY_STATES[msg.state], msg.detail)
        self._keep("policy", self.policy)

    def _on_stack(self, msg: StackStatus, information: Any) -> None:
        self.stack = _said(information, STACK_STATES[msg.state], msg.detail)
        self._keep("stack", self.stack)

    def _on_diagnostics(self, msg: DiagnosticArray, information: Any) -> None:
        for status in msg.status:
            if status.level != DiagnosticStatus.OK:
                self._keep("troubles", Said(information["source_timestamp"], status.name, status.message))

    def _on_chunk(self, msg: ActionChunk, information: Any) -> None:
        stamp_ns = stamp_to_ns(msg.header.stamp)
        self._keep("chunks", HeardChunk(information["source_timestamp"], stamp_ns, msg.sequence))

    def _keep(self, what: str, one: Any) -> None:
        record = self._record
        if record is not None:
            getattr(record, what).append(one)


def _said(information: Any, state: str, reason: str) -> Said:
    return Said(information["source_timestamp"], state, reason, information["publication_sequence_number"])
