"""What `worldagen doctor --live` finds in a running stack: it listens for a while, then compares with the deployment.

Rates, gaps and skew are judged by what judges bags (worldagen.bags.check), so that live and recorded mean the same.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState

from worldagen.bags import check
from worldagen.bags.contract import Contract
from worldagen.bags.streams import Stream
from worldagen.bags.types import Topic
from worldagen.doctor.findings import Finding, Level, fail, ok, skip, warn
from worldagen.doctor.machine import BagRate
from worldagen.errors import BadObservation
from worldagen.kinematics import ForwardKinematics
from worldagen_ros import images, qos, topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.doctor_deployment import PICTURE_BYTES
from worldagen_ros.messages import stamp_to_ns
from worldagen_ros.recorded import contract_of_deployment
from worldagen_ros.specs import remappings_of

DISCOVERY_S = 6.0  # so long publishers and their first messages are waited for
FUTURE_S = 0.005  # stamps may be so much ahead of our clock
OFFSET_WARN_S, OFFSET_FAIL_S = 0.005, 0.1
ANOTHER_CLOCK_S = 3600.0  # off by more than this, a stamp is not late but of another clock
INFO, COMPRESSED = " info", "/compressed"  # how a role of a CameraInfo and a compressed picture's topic end
PERIODS_OLD = 2.0  # pictures older than so many periods make every answer late


@dataclass(frozen=True)
class Endpoint:
    """A publisher or subscription of a topic, as the graph tells of it."""

    node: str
    type: str
    profile: QoSProfile


@dataclass
class Heard:
    """What came on one topic. Times are ns of the system clock; stamps and ages by the clock in use.

    sent_ns: when the publisher handed it over, by its own clock; empty where the middleware does not tell.
    ages_ns: our clock at the message less its stamp; only of messages that are stamped, while our clock runs.
    """

    role: str
    name: str
    type: str
    publishers: list[Endpoint] = field(default_factory=list)
    subscriptions: list[Endpoint] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    sent_ns: list[int] = field(default_factory=list)
    stamps_ns: list[int] = field(default_factory=list)
    ages_ns: list[int] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    last: Any = None
    problem: str = ""  # of the first message that cannot be decoded

    def forget(self) -> None:
        """Begin to measure here; what the messages look like is kept."""
        for times in (self.received_ns, self.sent_ns, self.stamps_ns, self.ages_ns):
            times.clear()

    def stream(self) -> Stream:
        """As a bag would hold it; without stamps the times of arrival stand for them."""
        stamps = self.stamps_ns if all(self.stamps_ns) else self.received_ns
        return Stream(
            Topic(self.name, self.type, ""),
            np.array(self.received_ns, np.int64),
            np.array(stamps, np.int64),
            stamped=True,
            formats=dict(self.formats),
        )


class Listener:
    """Subscribes, on a node, to the cameras, what describes them, and the joint states of a deployment."""

    def __init__(self, node: Node, config: DeploymentConfig) -> None:
        self._node = node
        self.contract = contract_of_deployment(config, node.resolve_topic_name)
        self.heard: dict[str, Heard] = {}
        compressed = config.cameras.transport == "compressed"
        for role, topic in topics.CAMERA_TOPICS.items():
            if compressed:
                self._follow(role, f"{topic}{COMPRESSED}", CompressedImage)
            else:
                self._follow(role, topic, Image)
        for role, topic in topics.CAMERA_INFO_TOPICS.items():
            self._follow(f"{role}{INFO}", topic, CameraInfo)
        self._follow(topics.JOINT_STATES, topics.JOINT_STATES, JointState)

    @property
    def met(self) -> bool:
        """Whether a message came on every topic; a camera that nobody describes is not waited for."""
        return all(
            heard.last is not None or (heard.role.endswith(INFO) and not self._node.count_publishers(heard.name))
            for heard in self.heard.values()
        )

    def look_at_graph(self) -> dict[str, list[str]]:
        """Who publishes and listens, into `heard`; returns every topic that somebody publishes, with its types."""
        for heard in self.heard.values():
            heard.publishers = [_endpoint(info) for info in self._node.get_publishers_info_by_topic(heard.name)]
            heard.subscriptions = [_endpoint(info) for info in self._node.get_subscriptions_info_by_topic(heard.name)]
        return {name: types for name, types in self._node.get_topic_names_and_types() if self._node.count_publishers(name)}

    def clocks(self) -> list[str]:
        """Nodes that publish the clock of the stack."""
        clock = self._node.resolve_topic_name(topics.CLOCK)
        return [_endpoint(info).node for info in self._node.get_publishers_info_by_topic(clock)]

    def _follow(self, role: str, topic: str, kind: Any) -> None:
        heard = Heard(role, self._node.resolve_topic_name(topic), _type_name(kind))
        self.heard[role] = heard
        quality = qos.states() if kind is JointState else qos.images_in()  # best effort: hears publishers of either kind

        def take(msg: Any, information: Mapping[str, int]) -> None:
            self._take(heard, msg, information)

        def take_alone(msg: Any) -> None:
            self._take(heard, msg, {})  # Humble tells only that a message came, not when

        callback: Any = take if hasattr(Subscription, "CallbackType") else take_alone
        self._node.create_subscription(kind, topic, callback, quality)

    def _take(self, heard: Heard, msg: Any, information: Mapping[str, int]) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        stamp_ns = stamp_to_ns(msg.header.stamp)
        heard.received_ns.append(information.get("received_timestamp") or time.time_ns())
        if sent_ns := information.get("source_timestamp"):
            heard.sent_ns.append(sent_ns)
        heard.stamps_ns.append(stamp_ns)
        if stamp_ns and now_ns:
            heard.ages_ns.append(now_ns - stamp_ns)
        heard.frames[msg.header.frame_id] += 1
        shape = _shape(msg)
        if shape and shape not in heard.formats:
            heard.problem = heard.problem or _fault(msg)
        heard.formats[shape] += 1
        heard.size_bytes = len(msg.data) if isinstance(msg, (Image, CompressedImage)) else 0
        heard.last = msg


def _endpoint(info: Any) -> Endpoint:
    return Endpoint(f"{info.node_namespace.rstrip('/')}/{info.node_name}", info.topic_type, info.qos_profile)


def _type_name(kind: Any) -> str:
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def _shape(msg: Any) -> str:
    if isinstance(msg, Image):
        return f"{msg.width}x{msg.height} {msg.encoding}"
    return msg.format if isinstance(msg, CompressedImage) else ""


def _fault(msg: Any) -> str:
    try:
        images.decode_image(msg) if isinstance(msg, Image) else images.decode_compressed(msg)
    except BadObservation as error:
        return str(error)
    return ""


def listen(config: DeploymentConfig, namespace: str, seconds: float) -> tuple[Listener, dict[str, list[str]], list[str]]:
    """Wait until what is needed is heard, DISCOVERY_S at most, then listen for so long. With a ROS context of its own.

    Returns the listener, the topics that somebody publishes with their types, and the nodes that publish a clock.
    """
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        remapped = [part for old, new in remappings_of(namespace) for part in ("-r", f"{old}:={new}")]
        node = Node(
            "doctor",
            context=context,
            namespace=namespace,
            cli_args=["--ros-args", *remapped] if remapped else None,
            enable_rosout=False,
            parameter_overrides=[Parameter("use_sim_time", value=config.timing.mode == "lockstep")],
        )
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        listener = Listener(node, config)
        _spin(executor, DISCOVERY_S, lambda: listener.met)
        for heard in listener.heard.values():
            heard.forget()
        _spin(executor, seconds)
        graph, clocks = listener.look_at_graph(), listener.clocks()
        executor.shutdown()
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    return listener, graph, clocks


def _spin(executor: SingleThreadedExecutor, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        executor.spin_once(timeout_sec=0.05)


def examine(
    heard: Mapping[str, Heard],
    contract: Contract,
    graph: Mapping[str, list[str]],
    clocks: list[str],
    config: DeploymentConfig,
    kinematics: ForwardKinematics | None,
) -> Iterator[Finding]:
    """Everything there is to say about a running stack. kinematics: None where the robot cannot be read."""
    if not any(one.publishers for one in heard.values()):
        names = ", ".join(one.name for one in heard.values())
        yield fail(
            "running stack",
            f"nobody publishes any of {names}",
            "start it (worldagen up, or the drivers) in the same ROS_DOMAIN_ID and namespace (--namespace)",
        )
        return
    yield check_clock(clocks, config)
    rates = {topic.name: topic.rate_hz for topic in contract.topics}
    for one in heard.values():
        absent = check_presence(one, graph, config)
        camera = heard[one.role.removesuffix(INFO)]
        if absent and camera is not one and not camera.stamps_ns:
            yield skip(one.role, f"no {one.name} came, as no picture of its camera did")
            continue
        if absent:
            yield absent
            continue
        yield from check_publishers(one)
        if camera is not one:
            yield check_camera_info(one, camera)
            continue
        yield from check_rate(one, rates.get(one.name, 0.0), config, contract.pause_s)
        yield check_stamps(one, config)
        if one.role in topics.CAMERA_TOPICS:
            yield check_picture(one, heard)
        else:
            yield check_joints(one, kinematics)
    yield from check_skew(heard, contract)
    yield check_offsets(heard.values())


def check_clock(clocks: list[str], config: DeploymentConfig) -> Finding:
    """Who makes the time. clocks: nodes that publish /clock."""
    name = "clock in use"
    if config.timing.mode == "lockstep":
        if len(clocks) == 1:
            return ok(name, f"simulated, by {clocks[0]}")
        who = f"{len(clocks)} nodes publish it: {', '.join(clocks)}" if clocks else "nobody publishes /clock"
        return fail(name, f"the deployment is lockstep, yet {who}", "run one simulator in this domain and namespace")
    if clocks:
        return warn(
            name,
            f"the system's (realtime), yet {', '.join(clocks)} publishes /clock, which nodes with use_sim_time follow",
            "end that simulator or bag player, or give the stacks namespaces or domains of their own",
        )
    return ok(name, "the system's")


def check_presence(heard: Heard, graph: Mapping[str, list[str]], config: DeploymentConfig) -> Finding | None:
    """Why nothing came, None where something did."""
    others = sorted({one.type for one in heard.publishers} - {heard.type})
    if others:
        return fail(
            heard.role,
            f"{heard.name} is {', '.join(others)}; expected {heard.type}",
            "see cameras.transport, or remap the driver",
        )
    if not heard.publishers:
        return _nobody(heard, graph)
    if heard.stamps_ns:
        return None
    who = ", ".join(sorted({one.node for one in heard.publishers}))
    if config.timing.mode == "lockstep":
        return warn(
            heard.role,
            f"{heard.name} was silent, as in lockstep while no instruction is followed",
            'look again during one: worldagen execute "..."',
        )
    return fail(
        heard.role,
        f"{who} publishes {heard.name}, but nothing came",
        "see whether it is stuck, and start it where the line `transport profile` is OK: small shared memory loses pictures",
    )


def _nobody(heard: Heard, graph: Mapping[str, list[str]]) -> Finding:
    """Nobody publishes a topic: what may be meant instead."""
    told = f"nobody publishes {heard.name}"
    raw = heard.name.removesuffix(COMPRESSED)
    twin, transport = (raw, "raw") if raw != heard.name else (f"{raw}{COMPRESSED}", "compressed")
    if twin in graph:
        return fail(heard.role, f"{told}, but there is {twin}", f"set cameras.transport to {transport}")
    alike = [name for name, types in graph.items() if heard.type in types]
    seen = f"; {heard.type} is published on {', '.join(alike)}" if alike else ""
    remedy = f"start the driver, or remap its topic: -r {alike[0] if alike else 'ITS_TOPIC'}:={heard.name}"
    if heard.role.endswith(INFO):
        return warn(heard.role, f"{told}{seen}; bags will lack the camera's calibration", remedy)
    return fail(heard.role, f"{told}{seen}", remedy)


def check_publishers(heard: Heard) -> Iterator[Finding]:
    """Whether there is one, and whether all who listen can hear it."""
    nodes = [one.node for one in heard.publishers]
    if len(nodes) > 1:
        yield warn(
            heard.role,
            f"{len(nodes)} publishers of {heard.name}: {', '.join(nodes)}",
            "end one; what comes is a mixture of both",
        )
    for publisher in heard.publishers:
        for listener in heard.subscriptions:
            compatibility, reason = qos_check_compatible(publisher.profile, listener.profile)
            if compatibility == QoSCompatibility.ERROR:
                yield fail(
                    heard.role,
                    f"{listener.node} cannot hear {publisher.node} on {heard.name}: {reason.strip().rstrip(';.')}",
                    "let the listener ask for less (best effort, volatile), e.g. by qos_overrides, or the driver offer more",
                )


def check_rate(heard: Heard, rate_hz: float, config: DeploymentConfig, pause_s: float = 0.0) -> Iterator[Finding]:
    """Against the declared rate (0: none), by the measure of `worldagen bag check`."""
    name, stream = f"{heard.role} rate", heard.stream()
    if config.timing.mode == "lockstep" and len(set(heard.stamps_ns)) < 2:
        yield skip(name, "the simulation stood still while this listened, as in lockstep while no instruction is followed")
        return
    if rate_hz:
        told = list(check.check_rate(stream, rate_hz, pause_s))
        worst = max(told, key=lambda finding: finding.level)
        together = check.Finding(worst.level, heard.name, "; ".join(finding.text for finding in told))
        yield _judged(
            together, name, "see the driver's settings and cameras.period_s, and whether the machine keeps up (`load`)"
        )
    else:
        yield ok(name, f"{stream.rate_hz:.2f} Hz; the deployment declares none")
    for disorder in check.check_order(stream):
        yield _judged(disorder, name, "look for a second publisher, or a clock that was set back")


def _judged(told: check.Finding, name: str, remedy: str) -> Finding:
    """A finding about a bag as one about a stack."""
    level = Level[told.level.name]
    return Finding(level, name, told.text, "" if level is Level.OK else remedy)


def check_stamps(heard: Heard, config: DeploymentConfig) -> Finding:
    """How old messages are when they come, by the clock in use."""
    name = f"{heard.role} stamps"
    unset = heard.stamps_ns.count(0)
    if unset:
        return fail(
            name, f"{unset} of {len(heard.stamps_ns)} messages have none (0)", "the driver must stamp by the capture time"
        )
    if not heard.ages_ns:
        return skip(name, "the simulated clock stood still while this listened")
    age_s, youngest_s = (float(value) * 1e-9 for value in (np.median(heard.ages_ns), np.min(heard.ages_ns)))
    if abs(age_s) > ANOTHER_CLOCK_S:
        return fail(
            name,
            f"are {_span(abs(age_s))} {'old' if age_s > 0 else 'ahead'}: of another clock than this deployment's",
            "let the driver stamp by ROS time (not by its device or since its start), and see timing.mode and use_sim_time",
        )
    told = f"{age_s * 1e3:.0f} ms old when they come"
    if config.timing.mode == "lockstep":
        return ok(name, f"{told}, by the simulated clock")
    if youngest_s < -FUTURE_S:
        return fail(
            name,
            f"up to {-youngest_s * 1e3:.0f} ms in the future",
            "synchronise the clocks of the machines (chrony or PTP); see the line `clock`",
        )
    is_camera = heard.role in topics.CAMERA_TOPICS
    limit_s = config.command.max_chunk_age_s if is_camera else config.command.max_state_age_s
    which = "max_chunk_age_s" if is_camera else "max_state_age_s"
    advice = "shorten the driver's queue and exposure, or synchronise the clocks"
    if age_s > limit_s:
        return fail(name, f"{told}, which is more than command.{which} = {limit_s:g} s: every answer is refused", advice)
    if age_s > PERIODS_OLD * config.cameras.period_s:
        return warn(name, f"{told}, more than {PERIODS_OLD:g} periods of the cameras", advice)
    return ok(name, told)


def _span(seconds: float) -> str:
    for unit, length in (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def check_picture(heard: Heard, everything: Mapping[str, Heard]) -> Finding:
    """Encoding, size and frame of a camera."""
    name = f"{heard.role} picture"
    shapes, frames = ", ".join(heard.formats), ", ".join(heard.frames)
    if heard.problem:
        return fail(name, f"cannot be decoded: {heard.problem}", "set the driver to rgb8 or bgr8")
    if len(heard.formats) > 1:
        return fail(name, f"changes between {shapes}", "look for a second publisher, or fix the driver's resolution")
    if not all(heard.frames):
        return warn(name, f"{shapes}, without a frame_id", f"let the driver set one, e.g. {heard.role}_optical_frame")
    for other in everything.values():
        if other.role in topics.CAMERA_TOPICS and other is not heard and other.frames.keys() & heard.frames.keys():
            return warn(
                name,
                f"{shapes}, in frame {frames} as {other.role}: one camera on both topics?",
                "see the remappings of the drivers",
            )
    return ok(name, f"{shapes}, frame {frames}")


def check_camera_info(heard: Heard, camera: Heard) -> Finding:
    """Whether it describes the camera beside it."""
    info, picture = heard.last, camera.last
    size = f"{info.width}x{info.height}"
    if isinstance(picture, Image) and (info.width, info.height) != (picture.width, picture.height):
        return warn(
            heard.role,
            f"is for {size}, the picture is {picture.width}x{picture.height}",
            "give the driver the calibration of this size",
        )
    if picture is not None and info.header.frame_id != picture.header.frame_id:
        return warn(
            heard.role,
            f"is of frame {info.header.frame_id!r}, the picture of {picture.header.frame_id!r}",
            "let the driver publish both with one frame_id",
        )
    if not info.k[0] > 0:
        return warn(heard.role, f"{size}, not calibrated (k is zero)", "calibrate the camera; bags keep what it says")
    return ok(heard.role, f"{size}, focal length {info.k[0]:.0f} px")


def check_joints(heard: Heard, kinematics: ForwardKinematics | None) -> Finding:
    """Whether the joints are those of the URDF, and where the tool is then."""
    name, msg = f"{heard.role} names", heard.last
    if kinematics is None:
        return skip(name, "the robot of the deployment cannot be read, so there is nothing to compare with")
    try:
        x, y, z = kinematics.tool_pose(msg.name, msg.position)[:3]
    except BadObservation as error:
        return fail(
            name, str(error), "set robot.urdf to the robot whose driver this is, or remap another robot's joint states away"
        )
    opening = kinematics.gripper_opening(msg.name, msg.position)
    hand = "no fingers among them" if opening is None else "gripper open" if opening else "gripper not fully open"
    return ok(name, f"as in the URDF; the tool stands at {x:.2f}, {y:.2f}, {z:.2f} m, {hand}")


def check_skew(heard: Mapping[str, Heard], contract: Contract) -> Iterator[Finding]:
    """How far the stamps of the streams of one decision are apart, while all of them were heard."""
    usable = [one for one in heard.values() if one.stamps_ns and all(one.stamps_ns) and not one.role.endswith(INFO)]
    begin_ns = max((min(one.stamps_ns) for one in usable), default=0)
    end_ns = min((max(one.stamps_ns) for one in usable), default=0)
    streams = {}
    for one in usable:
        stream = one.stream()
        stream.stamp_ns = stream.stamp_ns[(begin_ns <= stream.stamp_ns) & (stream.stamp_ns <= end_ns)]
        if len(stream.stamp_ns):
            streams[one.name] = stream
    roles = {one.name: one.role for one in heard.values()}
    for told in check.check_skew(streams, contract):
        yield _judged(told, f"{roles[told.where]} skew", "trigger the cameras together, or raise cameras.max_skew_s")


def check_offsets(heard: Iterable[Heard]) -> Finding:
    """How far the publishers' clocks are from ours: by the fastest message of each topic, what is left is the difference."""
    name = "clock offset"
    fastest = {
        one.name: float(np.min(np.subtract(one.received_ns, one.sent_ns))) * 1e-9
        for one in heard
        if one.sent_ns and len(one.sent_ns) == len(one.received_ns)
    }
    if not fastest:
        return skip(name, "no message came, or the middleware does not tell when it was sent (Humble)")
    topic = max(fastest, key=lambda one: abs(fastest[one]))
    worst_s = fastest[topic]
    told = (
        f"{topic} comes {abs(worst_s) * 1e3:.1f} ms {'before' if worst_s < 0 else 'after'} it was sent by its publisher's clock"
    )
    advice = "synchronise the clocks of the machines (chrony or PTP); with one machine, see the line `load`"
    if abs(worst_s) > OFFSET_FAIL_S:
        return fail(name, told, advice)
    if abs(worst_s) > OFFSET_WARN_S:
        return warn(name, told, advice)
    return ok(name, f"{told}, at best; the other topics are nearer" if len(fastest) > 1 else told)


def measured_bag_rate(heard: Mapping[str, Heard], config: DeploymentConfig) -> BagRate | None:
    """From the pictures that came or, where none did, the cameras' own description; None where there is neither."""
    sizes, sources = [], []
    for role in topics.CAMERA_TOPICS:
        info = heard[f"{role}{INFO}"].last
        if heard[role].last is not None:
            sizes.append(heard[role].size_bytes)
            sources.append(next(iter(heard[role].formats)))
        elif info is not None:
            sizes.append(info.width * info.height * 3)
            sources.append(f"{info.width}x{info.height} by camera_info")
        else:
            sizes.append(PICTURE_BYTES)
    if not sources:
        return None
    hertz = 1 / config.cameras.period_s
    return BagRate(sum(sizes) * hertz, f"live: {' and '.join(sources)} at {hertz:.3g} Hz")
