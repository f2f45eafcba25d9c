"""Monitor node: compares what the world model expected with what came, and says when the difference is more than usual.

It proposes an adaptation in its diagnostics and never starts one. Where it is configured to, it asks the command node to slow
down or to hold until the policy follows another instruction or drives with another adapter. It imports no torch.
"""

from functools import partial
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float64

from worldagen.checkpoint_files import find_checkpoint, read_conventions
from worldagen.errors import BadObservation
from worldagen.expectations import Expectations, Pair
from worldagen.policy_conventions import find_preset_conventions
from worldagen.surprise import Reading, SurpriseMonitor, find_calibration, picture_error
from worldagen.surprise_picture import draw_surprise
from worldagen_msgs.msg import PolicyStatus, Surprise
from worldagen_ros import images, messages, prediction_outputs, qos, topics
from worldagen_ros.diagnostics import OK, WARN
from worldagen_ros.managed import ManagedNode
from worldagen_ros.runtime import run_node

CAMERAS = {"static": topics.STATIC_IMAGE, "wrist": topics.WRIST_IMAGE}
NOT_CALIBRATED = "no calibration, so errors are told but not whether they are usual; `worldagen calibrate` makes one"


class MonitorNode(ManagedNode):
    """Pairs, compares, tells."""

    sections = ("timing", "robot", "cameras", "policy", "monitor")

    def __init__(self) -> None:
        super().__init__("monitor")

    def configure(self) -> None:
        _, self.robot, self.cameras, policy, self.config = self.read()
        checkpoint = find_checkpoint(policy.checkpoint) if policy.checkpoint else None
        conventions = read_conventions(checkpoint) if checkpoint else find_preset_conventions(policy.preset)
        self.scaling = conventions.image
        asked = Path(self.config.calibration).expanduser() if self.config.calibration else None
        self.calibration = find_calibration(asked, checkpoint)

    def activate(self) -> None:
        self.monitor = SurpriseMonitor(self.calibration, self.config.surprise)
        self.expectations = Expectations(tuple(CAMERAS), self.cameras.max_skew_s)
        self.status: PolicyStatus | None = None
        self.scale: float | None = None  # what this node asked the command node for
        self.surprise = self.create_publisher(Surprise, topics.SURPRISE, qos.CHUNKS)
        self.picture = self.create_publisher(Image, topics.SURPRISE_IMAGE, qos.images_out(None))
        self.speed = self.create_publisher(Float64, topics.SPEED_SCALE, qos.LATCHED) if self.reacts else None
        for view, topic in prediction_outputs.TOPICS.items():
            receive = partial(self.on_picture, topic, images.decode_image, partial(self.expectations.expect, view))
            self.create_subscription(Image, topic, receive, qos.CHUNKS)
        for view, topic in CAMERAS.items():
            self.look(view, topic)
        self.create_subscription(PolicyStatus, topics.POLICY_STATUS, self.on_status, qos.LATCHED)
        self.report(None)
        self.get_logger().info(f"ready: {'calibrated' if self.monitor.calibration else 'not calibrated'}")

    @property
    def reacts(self) -> bool:
        """Whether a sustained surprise slows the arm."""
        return self.config.reaction != "none"

    @property
    def adapter(self) -> str:
        """The active adapter; empty for none."""
        return self.status.adapter_id if self.status else ""

    def look(self, view: str, topic: str) -> None:
        """Subscribe to a camera."""
        kind, decode = Image, images.decode_image
        if self.cameras.transport == "compressed":
            topic, kind, decode = f"{topic}/compressed", CompressedImage, images.decode_compressed
        receive = partial(self.on_picture, topic, decode, partial(self.expectations.see, view))
        self.create_subscription(kind, topic, receive, qos.images_in(), qos_overriding_options=qos.OVERRIDABLE)

    def on_picture(self, topic: str, decode: Any, take: Any, msg: Any) -> None:
        try:
            picture = decode(msg)
        except BadObservation as error:
            self.drop(topic, error)
            return
        take(messages.stamp_to_ns(msg.header.stamp), picture)
        for pair in self.expectations.pairs():
            self.compare(pair)

    def on_status(self, msg: PolicyStatus) -> None:
        """Another run of the policy has nothing to do with what was expected before."""
        before, self.status = self.status, msg
        # With the first, this node has begun in the middle of something: an arm that was slowed before stays slow.
        if before is None or msg.state == PolicyStatus.IDLE:
            return
        same = (msg.instruction, msg.adapter_id) == (before.instruction, before.adapter_id)
        if not same or msg.decisions < before.decisions:
            self.expectations.clear()
            self.monitor.reset()
            self.ask(1.0)

    def compare(self, pair: Pair) -> None:
        try:
            errors = {view: picture_error(self.scaling, pair.expected[view], pair.seen[view]) for view in pair.expected}
            reading = self.monitor.update(pair.stamp_ns, errors)
        except BadObservation as error:
            self.drop("a pair", error)
            return
        self.surprise.publish(messages.encode_surprise(reading, self.adapter, self.robot.frame_id))
        if reading.sustained and self.reacts:
            self.ask(0.0 if self.config.reaction == "hold" else self.config.slow_scale)
        self.report(reading)
        if self.picture.get_subscription_count():
            header = messages.header(reading.stamp_ns, self.robot.frame_id)
            self.picture.publish(images.encode_image(draw_surprise(self.scaling, pair, reading), Image(header=header)))

    def ask(self, scale: float) -> None:
        """Tell the command node a speed, when it is another than this node told it last."""
        if self.speed is not None and scale != self.scale:
            self.get_logger().info(f"asks for a speed scale of {scale:g}")
            self.speed.publish(Float64(data=scale))
            self.scale = scale

    def report(self, reading: Reading | None) -> None:
        if reading is None:
            level, text, values = OK, "nothing was expected yet", {}
        else:
            errors = {f"error_{view}": f"{error:.4f}" for view, error in reading.errors.items()}
            values = {"level": f"{reading.level:.2f}", **errors, "compared": reading.compared}
            values |= {"adapter": self.adapter or "none"}
            values |= {} if self.scale is None else {"speed_scale_asked": self.scale}
            level, text = self._told(reading)
        if self.monitor.calibration is None:
            level, text = WARN, NOT_CALIBRATED
        self.diagnostics.set("surprise", level, text, values)

    def _told(self, reading: Reading) -> tuple[bytes, str]:
        if reading.sustained:
            since = f"for {reading.since_s:.1f} s" if reading.since_s else "until a moment ago"
            return WARN, f"proposes adaptation: other than expected {since}, level {reading.level:.1f} where below 1 is usual"
        if self.scale is not None and self.scale < 1.0:
            return WARN, "the arm is slowed after a surprise, until another instruction or adapter"
        return OK, "surprised for a moment" if reading.level > 1 else "as expected"

    def drop(self, what: str, error: BadObservation) -> None:
        self.get_logger().warning(f"dropped {what}: {error}", throttle_duration_sec=2.0)


def main() -> None:
    run_node(MonitorNode)
