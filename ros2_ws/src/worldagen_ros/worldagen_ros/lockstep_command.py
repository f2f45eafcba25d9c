"""The command node in lockstep: one command for each instant the simulator shows, a function of the state stamped with it."""

from typing import TYPE_CHECKING, Any

from worldagen.commanding import Command, Commander, CommandState, LockstepAnswers
from worldagen.conventions import CONVENTIONS
from worldagen.errors import BadChunk
from worldagen.poses import Pose
from worldagen_msgs.msg import ActionChunk, CommandStatus
from worldagen_ros import messages
from worldagen_ros.command_outputs import CommandOutputs
from worldagen_ros.diagnostics import OK
from worldagen_ros.messages import stamp_to_ns

if TYPE_CHECKING:
    from worldagen_ros.command_node import CommandNode

STATES = {
    CommandState.READY: CommandStatus.READY,
    CommandState.RUNNING: CommandStatus.RUNNING,
    CommandState.HOLD: CommandStatus.HOLD,
    CommandState.STOPPED: CommandStatus.HOLD,
}


class LockstepPace:
    """Ticks with the joint states."""

    def __init__(self, node: "CommandNode") -> None:
        config = node.config
        self.node = node
        self.commander = Commander(config.limits, config.blend_rows, config.max_chunk_age_s)
        self.outputs = CommandOutputs(node, config.interface, node.robot, CONVENTIONS[node.robot.convention].period_s, None)
        self.answers = LockstepAnswers()
        self.newest: ActionChunk | None = None  # may come before the joint states of its instant
        self.measured: Pose | None = None
        self.joints: Any = None
        self.state_ns = 0
        self.sent: Command | None = None
        self.tell("no chunk yet")

    def on_chunk(self, msg: ActionChunk) -> None:
        self.newest = msg
        self.node.latency.arrived()
        self.answers.offer(stamp_to_ns(msg.header.stamp), len(msg.rows))
        self.answer()

    def on_bad_state(self) -> None:
        """Joint states that could not be decoded are not answered."""

    def on_state(self, stamp_ns: int, pose: Pose, joints: Any) -> str:
        gap_s = (stamp_ns - self.state_ns) * 1e-9
        if self.measured is not None and not 0.0 <= gap_s <= self.node.config.max_state_age_s:
            self.release(f"the stamps of joint_states jumped by {gap_s:.2f} s")
        self.measured, self.state_ns, self.joints = pose, stamp_ns, joints
        self.answer()
        return ""

    def release(self, why: str) -> None:
        """The simulator began afresh: what was commanded and owed before no longer holds."""
        self.commander.release()
        self.answers.clear()
        self.outputs.forget()
        self.measured = self.sent = None
        self.tell(why)

    def answer(self) -> None:
        now_ns = self.state_ns
        if self.measured is None:
            return
        if self.newest is not None and self.answers.begins(now_ns):
            self.take_up(self.newest, now_ns)
        if self.answers.due(now_ns):
            self.send(self.commander.tick(now_ns, self.measured) or self.commander.hold(self.measured), now_ns)
        elif self.sent is not None and self.answers.again(now_ns):
            self.send(self.sent, now_ns)  # shown again, so the answer was lost

    def take_up(self, msg: ActionChunk, now_ns: int) -> None:
        """Offer a chunk to the Commander; a refused one makes the arm hold, and says so."""
        try:
            self.commander.offer(messages.decode_chunk(msg, self.node.robot.frame_id), now_ns)
            self.node.latency.taken(msg)
            self.node.diagnostics.set("chunks", OK, f"chunk {msg.sequence} taken up")
        except BadChunk as error:
            self.commander.refuse_plan()
            self.node.refused(error)

    def send(self, command: Command, stamp_ns: int) -> None:
        self.outputs.send(command, stamp_ns, self.joints, self.commander.period_s or None)
        self.node.latency.commanded()
        self.sent = command
        self.tell(self.commander.state.value)

    def tell(self, reason: str) -> None:
        """A status, where it changed; in lockstep there are no ticks to be punctual with."""
        limited_by = list(self.sent.limited_by) if self.sent else []
        status = CommandStatus(
            state=STATES[self.commander.state], reason=reason, limited_by=limited_by, speed_scale=self.commander.speed_scale
        )
        before = self.node.told
        if (status.state, reason, limited_by) != (before.state, before.reason, list(before.limited_by)):
            self.node.tell(status, self.state_ns)

    def finish(self) -> None:
        """In lockstep nothing moves without an answer."""
