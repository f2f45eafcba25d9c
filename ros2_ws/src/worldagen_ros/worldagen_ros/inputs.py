"""The policy node's senses: subscriptions of the streams a decider needs, decoded, paired by stamp, and watched.

A message that cannot be decoded is dropped, told once in a while and shown in the diagnostics; the node lives on.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState

from worldagen.assembly import Assembler, FreezeWatch, SampleSet, StreamWatch
from worldagen.errors import BadObservation
from worldagen_msgs.msg import TaskState
from worldagen_ros import images, messages, qos, topics
from worldagen_ros.config import CamerasConfig, TimingConfig
from worldagen_ros.diagnostics import ERROR, OK, WARN, Diagnostics

PERIODS_OF_SILENCE = 1.7
LOOKS_PER_PERIOD = 4  # at most, so that the ERROR comes within two
SECONDS_BETWEEN_LINES = 10.0  # of the log, about silence

# stream -> topic, message type, decoder, quality of service
SOURCES: dict[str, tuple[str, Any, Callable[[Any], Any]]] = {
    "static_camera": (topics.STATIC_IMAGE, Image, images.decode_image),
    "wrist_camera": (topics.WRIST_IMAGE, Image, images.decode_image),
    "joint_states": (topics.JOINT_STATES, JointState, messages.decode_joints),
    "task_state": (topics.TASK_STATE, TaskState, messages.decode_task_state),
}

QUALITY = {Image: qos.images_in(), CompressedImage: qos.images_in(), JointState: qos.states(), TaskState: qos.LATCHED}


class Completed(NamedTuple):
    """When an observation was complete, by its stamp: its last message arrived, and was decoded and checked. System time."""

    stamp_ns: int
    received_ns: int
    decoded_ns: int


class Inputs:
    """Calls on_sample after every good message; `newest` never hands out a set while a stream is silent."""

    def __init__(
        self,
        node: Node,
        streams: tuple[str, ...],
        cameras: CamerasConfig,
        timing: TimingConfig,
        diagnostics: Diagnostics,
        on_sample: Callable[[], None],
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        """on_look: called after every look at what is silent or frozen; in real time these are 1.7 periods apart at most."""
        self.streams = streams
        self._node, self._diagnostics, self._on_sample, self._on_look = node, diagnostics, on_sample, on_look
        self._assembler = Assembler(streams, cameras.max_skew_s)
        live = timing.mode == "realtime"
        max_age_s = PERIODS_OF_SILENCE * cameras.period_s if live else 2 * timing.answer_timeout_s
        self._told_s, self._told = -SECONDS_BETWEEN_LINES, False
        self._newest: SampleSet | None = None
        self.completed = Completed(0, 0, 0)  # the newest observation
        self._views: dict[str, tuple[str, int, int]] = {}  # of each camera: frame_id, height and width of its first picture
        self._freezes = FreezeWatch() if live else None  # in lockstep one instant may be shown again and again
        self._frozen: set[str] = set()
        self._watch = StreamWatch(streams, max_age_s, time.monotonic(), together=not live)
        self._live, self._look_s = live, (cameras.period_s if live else max_age_s) / LOOKS_PER_PERIOD
        self._timer = node.create_timer(self._look_s, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        for stream in streams:
            topic, kind, decode = SOURCES[stream]
            if kind is Image and cameras.transport == "compressed":
                topic, kind, decode = f"{topic}/compressed", CompressedImage, images.decode_compressed
            node.create_subscription(
                kind, topic, self._receiver(stream, topic, decode), QUALITY[kind], qos_overriding_options=qos.OVERRIDABLE
            )

    @property
    def missing(self) -> str:
        """Which streams are silent or frozen, in words; empty when all speak."""
        silent = [stream for stream in self.streams if stream in self._watch.lost]
        frozen = [stream for stream in self.streams if stream in self._frozen]
        told = (f"{what}: {', '.join(which)}" for what, which in (("silent", silent), ("frozen", frozen)) if which)
        return "; ".join(told)

    def newest(self) -> SampleSet | None:
        """The newest samples that belong together, unless a stream is silent or frozen: no decision is made from old data."""
        return None if self._watch.lost or self._frozen else self._newest

    def _note_completion(self, received_ns: int) -> None:
        newest = self._newest = self._assembler.newest()
        if newest is not None and newest.stamp_ns != self.completed.stamp_ns:
            self.completed = Completed(newest.stamp_ns, received_ns, time.time_ns())

    def _look(self) -> None:
        events = self._watch.check(time.monotonic())
        for event in events:
            self._diagnostics.set(event.stream, ERROR, f"silent for {event.age_s:.2f} s: no decision until it returns")
            self._assembler.clear()
            self._newest = None
        if events:
            self._tell_silence(self.missing)
        self._on_look()
        if self._live:
            self._look_again()

    def _look_again(self) -> None:
        """When a stream can be silent, not every few milliseconds: whatever wakes the executor costs it half a millisecond."""
        wait_s = self._watch.next_s - time.monotonic()
        self._timer.timer_period_ns = round(1e9 * min(max(wait_s, self._look_s), self._watch.max_age_s))
        self._timer.reset()

    def _tell_silence(self, text: str) -> None:
        """A stream that comes and goes many times a second must not flood the log; the diagnostics have every change."""
        now_s = time.monotonic()
        if text and now_s > self._told_s + SECONDS_BETWEEN_LINES:
            self._node.get_logger().error(f"{text}: no decision until it returns")
            self._told_s, self._told = now_s, True
        elif not text and self._told:
            self._node.get_logger().info("all inputs are back")
            self._told = False

    def _require_same_view(self, stream: str, frame_id: str, picture: np.ndarray) -> None:
        """Raises BadObservation where a camera is another one than when the node was activated: swapped, or set up anew."""
        now = (frame_id, picture.shape[0], picture.shape[1])
        before = self._views.setdefault(stream, now)
        if now != before:
            raise BadObservation(
                f"frame_id {frame_id!r}, {now[2]}x{now[1]} pixels; it was {before[0]!r}, {before[2]}x{before[1]}. Are the "
                "cameras swapped? If it is meant to be so, activate the node again"
            )

    def _look_for_frost(self, stream: str, stamp_ns: int, value: Any) -> bool:
        """Whether a camera repeats one picture while the robot moves; told once, when it begins."""
        if self._freezes is None:
            return False
        if stream == "joint_states":
            self._freezes.joints(value[1])
        if stream not in topics.CAMERA_TOPICS:
            return False
        frozen_s = self._freezes.picture(stream, stamp_ns, value)
        if frozen_s and stream not in self._frozen:
            self._frozen.add(stream)
            self._diagnostics.set(stream, WARN, f"frozen: the same picture for {frozen_s:.1f} s while the robot moves")
            self._tell_silence(self.missing)
            self._on_look()
        elif not frozen_s:
            self._frozen.discard(stream)
        return frozen_s > 0.0

    def _receiver(self, stream: str, topic: str, decode: Callable[[Any], Any]) -> Callable[[Any], None]:
        def receive(msg: Any) -> None:
            received_ns = time.time_ns()
            try:
                value = decode(msg)
                if stream in topics.CAMERA_TOPICS:
                    self._require_same_view(stream, msg.header.frame_id, value)
            except BadObservation as error:
                self._node.get_logger().warning(f"dropped a message of {topic}: {error}", throttle_duration_sec=2.0)
                self._diagnostics.set(stream, WARN, f"dropped a message: {error}")
                return
            event = self._watch.heard(stream, time.monotonic())
            stamp_ns = messages.stamp_to_ns(msg.header.stamp)
            if self._look_for_frost(stream, stamp_ns, value):
                return
            self._diagnostics.set(stream, OK, "fresh")
            if event is not None and not self.missing:
                self._tell_silence("")
            self._assembler.add(stream, stamp_ns, value)
            self._note_completion(received_ns)
            self._on_sample()

        return receive
