"""What `worldagen doctor --live` hears of a robot, and what it says of it."""

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fakes import HOME, JOINTS, PICTURE, FakeRobot
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from worldagen.doctor.findings import Finding, Level
from worldagen_ros import doctor_listening, doctor_live, messages, qos, topics
from worldagen_ros.config import CamerasConfig, DeploymentConfig, RobotConfig, TimingConfig
from worldagen_ros.doctor_listening import Heard, Listener
from worldagen_ros.images import encode_image
from worldagen_ros.recorded import contract_of_deployment
from worldagen_ros.robots import kinematics_of

REALTIME = DeploymentConfig(timing=TimingConfig(mode="realtime"))
LOCKSTEP = DeploymentConfig()
NOW_NS = 1_800_000_000_000_000_000
PERIOD_NS = 33_333_333
CAMERA, WRIST = topics.CAMERA_TOPICS


def hear(graph, count: int = 3, config: DeploymentConfig = REALTIME) -> Listener:
    """A listener that has heard so many messages of each of the robot's streams and knows who publishes them."""
    listener = Listener(graph.add(Node("doctor")), config)
    streams = [listener.heard[role] for role in (CAMERA, WRIST, topics.JOINT_STATES)]
    graph.wait(lambda: all(len(stream.stamps_ns) >= count for stream in streams), "messages of all streams")
    graph.wait(lambda: listener.look_at_graph() and all(stream.publishers for stream in streams), "the publishers")
    return listener


def examine(listener: Listener, config: DeploymentConfig = REALTIME) -> dict[str, list]:
    """Findings by their check."""
    found: dict[str, list] = {}
    kinematics = kinematics_of(config.robot)
    graph = listener.look_at_graph()
    for one in doctor_live.examine(listener.heard, listener.contract, graph, listener.clocks(), config, kinematics):
        found.setdefault(one.check, []).append(one)
    return found


def test_a_robot_is_heard_as_it_is(start_ros):
    graph = start_ros()
    graph.add(FakeRobot())
    found = examine(hear(graph))
    (picture,), (names,) = found[f"{CAMERA} picture"], found["joint_states names"]
    assert picture.level is Level.OK and "64x48 rgb8" in picture.found and CAMERA in picture.found
    assert names.level is Level.OK and "as in the URDF" in names.found
    assert found["clock in use"][0].level is Level.OK
    assert found[f"{CAMERA}{doctor_listening.INFO}"][0].level is Level.WARN  # this robot does not tell of its cameras
    assert {f"{CAMERA} rate", f"{WRIST} rate", f"{WRIST} skew", "joint_states stamps", "clock offset"} <= found.keys()


def test_pictures_that_nobody_can_use(start_ros):
    graph = start_ros()
    robot = graph.add(FakeRobot())

    def corrupt(msg: Image) -> Image:
        msg.encoding, msg.header.stamp.sec, msg.header.stamp.nanosec = "bayer_rggb8", 0, 0
        return msg

    robot.corrupt = corrupt
    found = examine(hear(graph))
    assert "bayer_rggb8" in found[f"{CAMERA} picture"][0].found and found[f"{CAMERA} picture"][0].level is Level.FAIL
    assert found[f"{CAMERA} stamps"][0].level is Level.FAIL
    assert found[f"{WRIST} picture"][0].level is Level.OK


def test_another_robot_is_told_by_the_names_of_its_joints(start_ros):
    graph = start_ros()
    graph.add(FakeRobot())
    other = replace(REALTIME, robot=RobotConfig(urdf="panda_on_mount"))
    (names,) = examine(hear(graph), other)["joint_states names"]
    assert names.level is Level.FAIL and "panda_mount_x" in names.found and "robot.urdf" in names.remedy


def test_who_asks_for_more_than_is_offered_is_named(start_ros):
    graph = start_ros()
    graph.add(FakeRobot())
    viewer = graph.add(Node("viewer"))
    viewer.create_subscription(Image, topics.STATIC_IMAGE, print, QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE))
    listener = hear(graph)
    heard = listener.heard[CAMERA]
    graph.wait(lambda: listener.look_at_graph() and len(heard.subscriptions) > 1, "the viewer")
    (deaf,) = doctor_live.check_publishers(heard)
    assert deaf.level is Level.FAIL and "/viewer cannot hear /robot" in deaf.found


def test_two_robots_on_one_topic_are_told(start_ros):
    graph = start_ros()
    graph.add(FakeRobot())
    graph.add(FakeRobot())
    listener = hear(graph)
    heard = listener.heard[topics.JOINT_STATES]
    graph.wait(lambda: listener.look_at_graph() and len(heard.publishers) == 2, "both robots")
    assert next(iter(doctor_live.check_publishers(heard))).level is Level.WARN


def test_it_listens_with_a_context_of_its_own_and_measures_what_bags_will_take(start_ros):
    graph = start_ros()
    graph.add(FakeRobot())
    results = []
    thread = threading.Thread(target=lambda: results.append(doctor_listening.listen(REALTIME, "", 0.3)))
    thread.start()
    graph.wait(lambda: results, "the end of listening", patience_s=40)
    thread.join()
    listener, published, clocks = results[0]
    assert listener.heard[CAMERA].last is not None and not clocks
    assert published["/static_camera/image_raw"] == ["sensor_msgs/msg/Image"]
    rate = doctor_live.measured_bag_rate(listener.heard, REALTIME)
    assert rate is not None and rate.bytes_per_s == pytest.approx(2 * PICTURE.size * 30)
    assert "64x48 rgb8" in rate.source


# From here on with messages that are made, not sent: times are exact.


def make(role: str = CAMERA, count: int = 30, age_ns: int = 10_000_000, **more) -> Heard:
    """A stream at 30 Hz; received_ns, ... can be given otherwise."""
    stamps = [NOW_NS + index * PERIOD_NS for index in range(count)]
    heard = Heard(role, f"/{role}/image_raw" if role != topics.JOINT_STATES else "/joint_states", "sensor_msgs/msg/Image")
    heard.stamps_ns, heard.ages_ns = stamps, [age_ns] * count
    heard.received_ns = [stamp + age_ns for stamp in stamps]
    heard.sent_ns = [stamp + age_ns - 300_000 for stamp in stamps]
    heard.formats, heard.frames = Counter({"64x48 rgb8": count}), Counter({f"{role}_frame": count})
    heard.publishers = [doctor_listening.Endpoint("/driver", heard.type, qos.images_in())]
    for name, value in more.items():
        setattr(heard, name, value)
    return heard


def presence(heard: Heard, published: dict[str, list[str]], config: DeploymentConfig = REALTIME) -> Finding:
    found = doctor_live.check_presence(heard, published, config)
    assert found is not None
    return found


def test_a_rate_is_judged_as_in_a_bag():
    (found,) = doctor_live.check_rate(make(), 30.0, REALTIME)
    assert found.level is Level.OK and "30.00 Hz" in found.found
    (slow,) = doctor_live.check_rate(make(), 60.0, REALTIME)
    assert slow.level is Level.FAIL and "declared are 60 Hz" in slow.found
    gap = make()
    del gap.stamps_ns[5:15], gap.received_ns[5:15]
    (lossy,) = doctor_live.check_rate(gap, 30.0, REALTIME)
    assert lossy.level is Level.FAIL and "10 messages are missing" in lossy.found


def test_in_lockstep_a_simulation_may_stand_still():
    still = make(stamps_ns=[NOW_NS] * 30)
    assert [found.level for found in doctor_live.check_rate(still, 30.0, LOCKSTEP)] == [Level.SKIP]
    silent = make(stamps_ns=[])
    assert presence(silent, {}, LOCKSTEP).level is Level.WARN
    assert presence(silent, {}, REALTIME).level is Level.FAIL


@pytest.mark.parametrize(
    ("role", "age_s", "level", "told"),
    [
        (CAMERA, 0.03, Level.OK, "30 ms old"),
        (CAMERA, 0.1, Level.WARN, "2 periods"),
        (CAMERA, 0.6, Level.FAIL, "max_chunk_age_s"),
        (topics.JOINT_STATES, 0.3, Level.FAIL, "max_state_age_s"),
        (CAMERA, -0.05, Level.FAIL, "50 ms in the future"),
        (CAMERA, 1.7e9, Level.FAIL, "54 years old"),
    ],
)
def test_the_age_of_stamps(role, age_s, level, told):
    found = doctor_live.check_stamps(make(role, age_ns=round(age_s * 1e9)), REALTIME)
    assert found.level is level and told in found.found


def test_stamps_of_a_simulated_clock_are_compared_with_it():
    assert doctor_live.check_stamps(make(age_ns=-5_000_000), LOCKSTEP).level is Level.OK
    assert doctor_live.check_stamps(make(age_ns=-(10**18)), LOCKSTEP).level is Level.FAIL
    assert doctor_live.check_stamps(make(ages_ns=[]), LOCKSTEP).level is Level.SKIP


def test_the_clock_of_the_deployment():
    assert doctor_live.check_clock([], REALTIME).level is Level.OK
    assert doctor_live.check_clock(["/player"], REALTIME).level is Level.WARN
    assert doctor_live.check_clock(["/sim"], LOCKSTEP).level is Level.OK
    assert doctor_live.check_clock([], LOCKSTEP).level is Level.FAIL
    assert doctor_live.check_clock(["/sim", "/sim"], LOCKSTEP).level is Level.FAIL


def test_a_topic_that_is_missing_names_what_may_be_meant():
    missing = make(publishers=[], stamps_ns=[])
    elsewhere = presence(missing, {"/camera/color/image_raw": [missing.type]}, REALTIME)
    assert elsewhere.level is Level.FAIL and "-r /camera/color/image_raw:=/static_camera/image_raw" in elsewhere.remedy
    compressed = {f"{missing.name}/compressed": ["sensor_msgs/msg/CompressedImage"]}
    assert "cameras.transport to compressed" in presence(missing, compressed).remedy
    other_type = make(publishers=[doctor_listening.Endpoint("/driver", "std_msgs/msg/String", qos.images_in())])
    assert "std_msgs/msg/String" in presence(other_type, {}).found


def test_frames_and_sizes_of_a_camera():
    one, other = make(), make(WRIST)
    both = {CAMERA: one, WRIST: other}
    assert doctor_live.check_picture(one, both).level is Level.OK
    assert doctor_live.check_picture(make(frames=Counter([""])), both).level is Level.WARN
    assert "one camera on both" in doctor_live.check_picture(make(WRIST, frames=one.frames), both).found
    assert doctor_live.check_picture(make(formats=Counter(["64x48 rgb8", "32x24 rgb8"])), both).level is Level.FAIL


def test_a_camera_info_fits_its_picture():
    picture = encode_image(np.zeros((48, 64, 3), np.uint8), Image(header=messages.header(NOW_NS, "lens")))
    camera = make(last=picture)

    def told(**fields) -> Level:
        info = CameraInfo(**{"width": 64, "height": 48, "header": messages.header(NOW_NS, "lens"), **fields})
        return doctor_live.check_camera_info(make(f"{CAMERA}{doctor_listening.INFO}", last=info), camera).level

    calibrated = [60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0]
    assert told(k=calibrated) is Level.OK
    assert told() is Level.WARN
    assert told(k=calibrated, width=128) is Level.WARN
    assert told(k=calibrated, header=messages.header(NOW_NS, "body")) is Level.WARN


def test_joints_that_are_not_numbers():
    kinematics = kinematics_of(REALTIME.robot)
    broken = messages.encode_joints(JOINTS, np.where(np.arange(7) == 3, np.nan, HOME), np.zeros(7), NOW_NS)
    found = doctor_live.check_joints(make(topics.JOINT_STATES, last=broken), kinematics)
    assert found.level is Level.FAIL and "panda_joint4" in found.found
    assert doctor_live.check_joints(make(topics.JOINT_STATES, last=broken), None).level is Level.SKIP


def test_the_clocks_of_publishers():
    def offset(by_ns: int) -> Level:
        stream = make()
        stream.sent_ns = [received - by_ns for received in stream.received_ns]
        return doctor_live.check_offsets([make(WRIST), stream]).level

    assert offset(500_000) is Level.OK
    assert offset(20_000_000) is offset(-20_000_000) is Level.WARN
    assert offset(-500_000_000) is Level.FAIL
    assert doctor_live.check_offsets([make(sent_ns=[])]).level is Level.SKIP


def test_skew_is_held_against_the_deployment():
    contract = contract_of_deployment(replace(REALTIME, cameras=CamerasConfig(max_skew_s=0.01)), lambda name: f"/{name}")
    near, far = make(WRIST), make(WRIST, stamps_ns=[NOW_NS + index * PERIOD_NS + 15_000_000 for index in range(30)])
    assert [found.level for found in doctor_live.check_skew({CAMERA: make(), WRIST: near}, contract)] == [Level.OK]
    assert [found.level for found in doctor_live.check_skew({CAMERA: make(), WRIST: far}, contract)] == [Level.FAIL]


def test_what_one_stream_was_heard_before_another_is_no_skew():
    contract = contract_of_deployment(REALTIME, lambda name: f"/{name}")
    early = make(stamps_ns=[NOW_NS + index * PERIOD_NS for index in range(-3, 30)], received_ns=list(range(33)))
    assert [found.level for found in doctor_live.check_skew({CAMERA: early, WRIST: make(WRIST)}, contract)] == [Level.OK]


def test_a_stack_that_is_not_there_is_one_line():
    nobody = {role: make(role, publishers=[], stamps_ns=[]) for role in (CAMERA, WRIST)}
    contract = contract_of_deployment(REALTIME, lambda name: f"/{name}")
    (found,) = doctor_live.examine(nobody, contract, {}, [], REALTIME, None)
    assert found.level is Level.FAIL and "ROS_DOMAIN_ID" in found.remedy
