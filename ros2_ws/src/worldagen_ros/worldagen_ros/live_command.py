"""The command node in real time: a timer at command.rate_hz asks the LiveCommander, whatever else happens or does not.

It watches the inputs by itself (joint states, chunks, the deadman's button, both clocks): nobody has to tell it that the policy
is gone.
"""

import gc
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from worldagen.conventions import CONVENTIONS
from worldagen.deadman import Deadman
from worldagen.errors import BadChunk
from worldagen.gripper import BinaryGripper
from worldagen.jitter import TickJitter
from worldagen.live_commanding import LiveCommand, LiveCommander, LiveState
from worldagen.poses import Pose
from worldagen_msgs.msg import ActionChunk, CommandStatus
from worldagen_ros import messages, qos, topics
from worldagen_ros.command_outputs import LAST_WORDS_S, CommandOutputs
from worldagen_ros.diagnostics import OK

if TYPE_CHECKING:
    from worldagen_ros.command_node import CommandNode

STATUS_PERIOD_S = 1.0
REST_S = 0.5  # so long the arm may take to come to rest when the node is deactivated


class LivePace:
    """Ticks by a timer on the steady clock."""

    def __init__(self, node: "CommandNode") -> None:
        config = node.config
        self.node, self.period_s = node, 1.0 / config.rate_hz
        self.commander = LiveCommander(
            config.limits,
            BinaryGripper(config.gripper_close_below, config.gripper_open_above, config.gripper_dwell_s),
            period_s=self.period_s,
            blend_rows=config.blend_rows,
            max_chunk_age_s=config.max_chunk_age_s,
            max_state_age_s=config.max_state_age_s,
            max_tick_gap_s=config.max_tick_gap_s,
            max_clock_jump_s=config.max_clock_jump_s,
        )
        mode = config.deadman
        if mode == "auto":
            mode = "as_needed" if node.robot.source == "hardware" else "never"
        trusted = [name.strip() for name in config.trusted_adapters.split(",") if name.strip()]
        self.deadman = Deadman(mode, config.deadman_timeout_s, trusted)
        self.jitter, self.ticks, self.missed = TickJitter(self.period_s), 0, 0
        row_s = CONVENTIONS[node.robot.convention].period_s  # after which a command must be dead
        self.outputs = CommandOutputs(node, config.interface, node.robot, self.period_s, max(row_s, self.period_s))
        self.measured: Pose | None = None
        self.joints: Any = None
        self.heard_s, self.states_bad = time.monotonic(), False
        self.different, self.different_s = np.empty(0), time.monotonic()  # joint positions that were other than before
        self.newest: LiveCommand | None = None
        self.ticked_ns = 0
        self.told_s, self.told = 0.0, (LiveState.DISABLED, "")
        node.create_subscription(Bool, topics.DEADMAN, self.on_deadman, qos.states())
        for quality in (qos.SCALES, qos.LATCHED):
            node.create_subscription(
                *(Bool, topics.DEADMAN_REQUIRED, lambda msg: self.deadman.require(msg.data), quality),
                event_callbacks=qos.NO_EVENTS,
            )
        node.create_service(Trigger, topics.CLEAR_FAULT, self.on_clear_fault)
        self.commander.enable()
        self.be_punctual()
        node.create_timer(self.period_s, self.tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def be_punctual(self) -> None:
        """Ask the system for what keeps ticks on time; whether it agrees is told, not required."""
        gc.collect()
        gc.freeze()  # what is there stays there, and need not be looked through again
        priority = self.node.config.priority
        if priority == 0:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError as error:
            self.node.get_logger().warning(
                f"no real-time priority ({error}); allow it: ulimit -r {priority}, or rtprio in limits.conf"
            )

    def on_chunk(self, msg: ActionChunk) -> None:
        node = self.node
        node.latency.arrived()
        try:
            chunk = messages.decode_chunk(msg, node.robot.frame_id)
        except BadChunk as error:
            self.commander.refuse(str(error))
            node.refused(error)
            return
        try:
            why_not = self.commander.offer(chunk, node.get_clock().now().nanoseconds)
        except BadChunk as error:
            node.refused(error)
            return
        if not why_not:
            node.latency.taken(msg)
        node.diagnostics.set("chunks", OK, why_not or f"chunk {msg.sequence} taken up")

    def on_bad_state(self) -> None:
        """Joint states that could not be decoded: they do not count as fresh, and going on they are a fault."""
        self.states_bad = True

    def on_state(self, stamp_ns: int, pose: Pose, joints: Any) -> str:
        """Returns why it is not taken up, "" when it is: a stamp is a capture time of the clock in use, or it is no use."""
        config = self.node.config
        age_s = (self.node.get_clock().now().nanoseconds - stamp_ns) * 1e-9
        if not -config.max_clock_jump_s <= age_s <= config.max_state_age_s:
            when = f"{age_s:.3f} s old" if age_s > 0 else f"{-age_s:.3f} s in the future"
            what = "it is not stamped" if stamp_ns == 0 else f"its stamp is {when}"
            return (
                f"{what}; allowed: {config.max_state_age_s:g} s, or {config.max_clock_jump_s:g} s in the future. "
                "Stamps must be capture times of the clock in use: check the driver, and that the machines' clocks agree"
            )
        if problem := self.frozen(joints[1]):
            return problem
        self.measured, self.joints, self.heard_s, self.states_bad = pose, joints, time.monotonic() - max(age_s, 0.0), False
        return ""

    def frozen(self, positions: np.ndarray) -> str:
        """Why positions are no measurement, or "": real sensors are never still, but a relay repeats its last word."""
        longest_s, now_s = self.node.config.max_frozen_s, time.monotonic()
        if not np.array_equal(positions, self.different):
            self.different, self.different_s = np.array(positions), now_s
        if self.node.robot.source != "hardware" or longest_s == 0.0 or now_s - self.different_s <= longest_s:
            return ""
        return (
            f"the positions are the same to the last bit for {now_s - self.different_s:.2f} s; allowed: {longest_s:g} s "
            "(command.max_frozen_s). Subscribe to the robot's own joint states, not to a relay that repeats them"
        )

    def on_deadman(self, msg: Bool) -> None:
        self.deadman.hear(msg.data, time.monotonic_ns())

    def on_clear_fault(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self.commander.clear_fault()
        response.success = not response.message
        response.message = response.message or "the fault is cleared; a chunk may move the arm again"
        self.tell()
        return response

    def tick(self) -> None:
        steady_ns, now_ns = time.monotonic_ns(), self.node.get_clock().now().nanoseconds
        self.jitter.tick(steady_ns)
        self.ticks += 1
        self.missed += self.ticked_ns > 0 and steady_ns - self.ticked_ns > 1.5e9 * self.period_s
        self.ticked_ns = steady_ns
        command = self.commander.tick(
            now_ns,
            steady_ns,
            self.measured,
            time.monotonic() - self.heard_s,
            may_move=self.deadman.allows(self.commander.adapter, steady_ns),
            states_bad=self.states_bad,
        )
        if command is not None:
            self.send(command, now_ns)
        if self.commander.state is not LiveState.RUNNING:
            self.node.latency.dropped()
        elif command is not None and not command.seated:
            self.node.latency.commanded()
        # Compared with what was told, not with how the tick began: a chunk that is refused changes the state between two ticks.
        state, reason = self.told
        changed = self.commander.state is not state or (self.commander.reason != reason and state is not LiveState.RUNNING)
        if changed or time.monotonic() - self.told_s > STATUS_PERIOD_S:
            self.tell()

    def send(self, command: LiveCommand, now_ns: int) -> None:
        if command.seated:
            self.outputs.forget()
        self.newest = command
        self.outputs.send(command, now_ns, self.joints)

    def tell(self) -> None:
        """A status: on every change, and once a second."""
        commander, measured = self.commander, self.jitter.report()
        steady_ns = time.monotonic_ns()
        status = CommandStatus(
            state=getattr(CommandStatus, commander.state.name),
            reason=commander.reason,
            limited_by=list(self.newest.limited_by) if self.newest and commander.state is LiveState.RUNNING else [],
            deadman_required=self.deadman.required(commander.adapter),
            deadman_held=self.deadman.held(steady_ns),
            speed_scale=commander.speed_scale,
            ticks=self.ticks,
            missed_ticks=self.missed,
        )
        if measured is not None:
            status.rate = measured.rate_hz
            status.jitter_p50, status.jitter_p99 = measured.p50_s, measured.p99_s
            status.jitter_max = measured.max_s
        self.told_s, self.told = time.monotonic(), (commander.state, commander.reason)
        self.node.tell(status, self.node.get_clock().now().nanoseconds)

    def finish(self) -> None:
        """Come to rest, then say the safe command as the last one."""
        node, deadline_s = self.node, time.monotonic() + REST_S
        self.commander.hold("the command node is deactivated")
        while not self.commander.at_rest and time.monotonic() < deadline_s:
            self.tick()
            time.sleep(self.period_s)
        now_ns = node.get_clock().now().nanoseconds
        last = self.commander.disable()
        if last is None:
            self.outputs.stand_still(now_ns)
        else:
            self.outputs.send(last, now_ns, self.joints)
        self.tell()
        self.outputs.finish()
        node.status.wait_for_all_acked(Duration(seconds=LAST_WORDS_S))  # it is about to be destroyed, too
        gc.unfreeze()  # what belongs to this pace can be freed now; frozen it would stay with every activation
