"""What `worldagen doctor --live` finds in a running stack: it listens for a while, then compares with the deployment.

Rates, gaps and skew are judged by what judges bags (worldagen.bags.check), so that live and recorded mean the same.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from rclpy.qos import QoSCompatibility, qos_check_compatible
from sensor_msgs.msg import Image

from worldagen.bags import check
from worldagen.bags.contract import Contract
from worldagen.doctor.findings import Finding, Level, fail, ok, skip, warn
from worldagen.doctor.machine import BagRate
from worldagen.errors import BadObservation
from worldagen.kinematics import ForwardKinematics
from worldagen_ros import topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.doctor_deployment import PICTURE_BYTES
from worldagen_ros.doctor_listening import COMPRESSED, INFO, Heard

FUTURE_S = 0.005  # stamps may be so much ahead of our clock
OFFSET_WARN_S, OFFSET_FAIL_S = 0.005, 0.1
ANOTHER_CLOCK_S = 3600.0  # off by more than this, a stamp is not late but of another clock
PERIODS_OLD = 2.0  # pictures older than so many periods make every answer late


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
