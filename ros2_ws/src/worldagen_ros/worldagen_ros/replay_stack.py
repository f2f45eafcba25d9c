"""Ask a policy node for the decisions of a bag: its messages, byte for byte, on the topics of the stack, and the chunks back.

The nodes are those of real hardware, without simulator and drivers: this process stands in for cameras and joints. They live in
a namespace of their own, in a domain of their own unless one is given, so that no arm hears them.

lockstep   the messages of one decision, then its chunk is waited for; sent again where no answer comes
realtime   every message of these streams, as far apart as they were recorded; chunks come as they come
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from worldagen.assembly import Assembler, SampleSet
from worldagen.bags.reader import Bag
from worldagen.bags.streams import header_stamp_ns
from worldagen.bags.types import Message, Topic
from worldagen.errors import BagError
from worldagen.replay.observations import observations
from worldagen.replay.planning import Decision, Plan
from worldagen.replay.recorded import COMPRESSED, STREAMS, RecordedRun
from worldagen_msgs.action import ExecuteInstruction
from worldagen_msgs.msg import ActionChunk
from worldagen_ros import messages, qos, topics
from worldagen_ros.acquaintance import Acquaintance
from worldagen_ros.client import Execution, StackClient, StackError
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.definitions import topic_of
from worldagen_ros.spinning import open_ros, spin_once
from worldagen_ros.stack import Stack
from worldagen_ros.watching import EVERYTHING

PATIENCE_S = 60.0  # for one answer
SEND_AGAIN_S = 1.0
LAST_ANSWER_S = 3.0  # in real time, after the last message
DEPTH = 10
LINES_TOLD = 5  # of a node that ended
RELIABLE, LATCHED = ("reliable", 1), ("transient_local", 1)  # by name, and by number in bags of older distributions


def ask_through_ros(
    bag: Bag, run: RecordedRun, plan: Plan, config: DeploymentConfig, pace: str, clock: bool, domain: int | None
) -> list[np.ndarray | None]:
    """(m, 7) rows for each decision of the plan, None where none came. domain: None for that of the environment.

    Raises StackError when a node ends or does not answer, BagError for types that are not the installed ones.
    """
    for stream in run.topics:
        _require_installed(bag, bag.topics[run.topics[stream]])
    lockstep = pace == "lockstep"
    with open_policy(bag, run, _deployment(config, run, pace), clock or lockstep, domain) as player:
        ask = player.ask_in_lockstep if lockstep else player.ask_in_real_time
        return ask(plan.decisions, config.cameras.max_skew_s)


class Player(StackClient):
    """Publishes what was recorded and hears what is answered."""

    def __init__(
        self, namespace: str, watch: Callable[[], None], bag: Bag, run: RecordedRun, frame_id: str, clock: bool
    ) -> None:
        super().__init__(namespace, watch, PATIENCE_S)
        self._bag, self._run, self._frame_id = bag, run, frame_id
        self._rows: dict[int, np.ndarray] = {}  # stamp of an observation -> the rows that answered it
        self._execution: Execution | None = None
        suffix = COMPRESSED if run.compressed else ""
        self._publishers_of: dict[str, Any] = {}
        for stream, topic in run.topics.items():
            name = STREAMS[stream] + (suffix if stream in topics.CAMERA_TOPICS else "")
            what = bag.topics[topic]
            self._publishers_of[topic] = self.create_publisher(_class_of(what.type), name, offered_again(what))
        name = f"{namespace}/clock" if namespace else topics.CLOCK  # as specs.remappings_of
        self._time = self.create_publisher(Clock, name, qos.CLOCK) if clock else None
        self.create_subscription(ActionChunk, topics.ACTION_CHUNK, self._on_chunk, EVERYTHING)
        # Made last, as in StackClient: its answer proves that the policy knows everything above.
        self._acquaintances["policy"] = Acquaintance(self, "policy")

    def wait_until_connected(self) -> None:
        """Until the policy hears everything that is published here, and is heard."""
        self.wait_until_ready(with_simulator=False)
        self.wait(lambda: self.count_publishers(self.resolve_topic_name(topics.ACTION_CHUNK)) > 0, "the policy's chunks")
        for publisher in self._publishers_of.values():
            self.wait(lambda heard=publisher: heard.get_subscription_count() > 0, f"the policy to listen to {publisher.topic}")

    def ask_in_lockstep(self, decisions: Sequence[Decision], max_skew_s: float) -> list[np.ndarray | None]:
        """One decision after another."""
        answers: list[np.ndarray | None] = []
        afresh = True
        for decision, seen in zip(decisions, observations(self._bag, self._run.topics, max_skew_s, decisions), strict=True):
            afresh = afresh or decision.afresh
            if seen is None:
                answers.append(None)
                continue
            self._rows.pop(decision.stamp_ns, None)
            self._show(seen)
            if afresh:
                self._follow(decision)
                afresh = False
            answers.append(self._answer_to(decision, seen))
        return answers

    def ask_in_real_time(self, decisions: Sequence[Decision], max_skew_s: float) -> list[np.ndarray | None]:
        """All messages at their own pace; an instruction is given with the first observation that was answered with it."""
        begins = {decision.stamp_ns: decision for decision in decisions if decision.afresh or decision is decisions[0]}
        streams = {topic: stream for stream, topic in self._run.topics.items()}
        assembler, newest_ns = Assembler(tuple(self._run.topics), max_skew_s), -1
        behind_ns: int | None = None  # wall time minus log time
        answers: dict[int, np.ndarray] = {}
        for message in self._bag.messages(list(streams)):
            behind_ns = time.monotonic_ns() - message.log_time_ns if behind_ns is None else behind_ns
            self._spin_until(message.log_time_ns + behind_ns)
            self._publish([message])
            assembler.add(streams[message.topic], header_stamp_ns(message.data), message)
            newest = assembler.newest()
            if newest is not None and newest.stamp_ns != newest_ns:
                newest_ns = newest.stamp_ns
                if newest_ns in begins:
                    begun_ns = time.monotonic_ns()
                    answers |= self._rows
                    self._follow(begins[newest_ns])
                    behind_ns += time.monotonic_ns() - begun_ns
            self._check()
        self._spin_until(time.monotonic_ns() + round(LAST_ANSWER_S * 1e9), lambda: decisions[-1].stamp_ns in self._rows)
        answers |= self._rows
        return [answers.get(decision.stamp_ns) for decision in decisions]

    def _follow(self, decision: Decision) -> None:
        """Give the policy its words, with an empty history; older observations it must not answer."""
        if self._execution is not None:
            self._execution.cancel()
        goal = ExecuteInstruction.Goal(instruction=decision.words, not_before=messages.ns_to_stamp(decision.stamp_ns))
        handle = self._finish(self._execute.send_goal_async(goal), "the policy to take up the instruction")
        if not handle.accepted:
            raise StackError(f"the policy rejected {decision.words!r}")
        self._execution = Execution(self, handle)

    def _answer_to(self, decision: Decision, seen: SampleSet) -> np.ndarray:
        begun_s = shown_s = time.monotonic()
        while decision.stamp_ns not in self._rows:
            self._check()
            now_s = time.monotonic()
            if now_s - begun_s > PATIENCE_S:
                raise StackError(f"waited {PATIENCE_S:g} s for the answer to the observation of stamp {decision.stamp_ns} ns")
            if now_s - shown_s > SEND_AGAIN_S:
                shown_s = now_s
                self._show(seen)
            spin_once(self, 0.05)
        return self._rows[decision.stamp_ns]

    def _check(self) -> None:
        """Raise StackError when a node has ended, or the policy does not follow any more."""
        self._watch()
        if self._execution is not None and self._execution.done:
            raise StackError(f"the policy stopped: {self._execution.result().message}")

    def _show(self, seen: SampleSet) -> None:
        """Joints first, as the simulator does."""
        self._publish([seen.values[stream] for stream in reversed(tuple(seen.values))])

    def _publish(self, recorded: Sequence[Message]) -> None:
        for message in recorded:
            if self._time is not None:
                self._time.publish(Clock(clock=messages.ns_to_stamp(header_stamp_ns(message.data))))
            self._publishers_of[message.topic].publish(bytes(message.data))

    def _spin_until(self, deadline_ns: int, done: Callable[[], bool] = lambda: False) -> None:
        while (left_ns := deadline_ns - time.monotonic_ns()) > 0 and not done():
            spin_once(self, min(left_ns * 1e-9, 0.05))

    def _on_chunk(self, msg: ActionChunk) -> None:
        chunk = messages.decode_chunk(msg, self._frame_id)
        self._rows.setdefault(chunk.stamp_ns, chunk.rows)


@contextmanager
def open_policy(bag: Bag, run: RecordedRun, config: DeploymentConfig, clock: bool, domain: int | None) -> Iterator[Player]:
    """Start the nodes and wait until they listen. Raises StackError, with their last words, when one ends."""
    namespace = f"replay_{os.getpid()}"
    lines: list[str] = []
    with open_ros(), Stack(config, lambda name, line: lines.append(f"[{name}] {line}"), namespace, domain) as stack:

        def watch() -> None:
            if ended := stack.ended():
                raise StackError(f"{ended}; it said last:\n  " + "\n  ".join(lines[-LINES_TOLD:]))

        player = Player(namespace, watch, bag, run, config.robot.frame_id, clock)
        try:
            player.wait_until_connected()
            yield player
        finally:
            player.destroy_node()


def offered_again(topic: Topic) -> QoSProfile:
    """What the publishers of a recorded topic offered, as far as DDS tells it: reliability and durability.

    Where the bag does not say, reliable, which serves readers of either kind.
    """
    said = list(topic.qos) or [{"reliability": "reliable"}]
    reliable = all(offer.get("reliability", "reliable") in RELIABLE for offer in said)
    latched = all(offer.get("durability") in LATCHED for offer in said)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _deployment(config: DeploymentConfig, run: RecordedRun, pace: str) -> DeploymentConfig:
    """The recorded one, with this process in place of the hardware."""
    return replace(
        config,
        timing=replace(config.timing, mode=pace),
        robot=replace(config.robot, source="hardware"),
        cameras=replace(config.cameras, transport="compressed" if run.compressed else "raw"),
        policy=replace(config.policy, instruction=""),
        recorder=replace(config.recorder, enabled=False),
    )


def _require_installed(bag: Bag, topic: Topic) -> None:
    """Bytes are published as they are, so a type must be what it was when they were recorded."""
    installed = topic_of(topic.name, topic.type).type_hash  # raises BagError where it is not installed at all
    if topic.type_hash and installed and topic.type_hash != installed:
        raise BagError(
            f"{bag.folder}: {topic.name} was recorded with another definition of {topic.type} ({topic.type_hash}) than is "
            f"installed ({installed}); replay it offline"
        )


def _class_of(kind: str) -> type:
    package, part, name = kind.split("/")
    return getattr(import_module(f"{package}.{part}"), name)
