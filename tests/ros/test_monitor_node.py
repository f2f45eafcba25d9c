"""The monitor tells what is surprising and proposes, and the arm is slowed only where that was asked for."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Float64

from worldagen.surprise import Calibration, Usual, write_calibration
from worldagen_msgs.msg import PolicyStatus, Surprise
from worldagen_ros import messages, qos, topics
from worldagen_ros.images import decode_image, encode_image
from worldagen_ros.monitor_node import MonitorNode
from worldagen_ros.prediction_outputs import TOPICS

CHUNK_NS = 166_666_667
CALIBRATION = Calibration(0.99, {"static": Usual(0.04, 0.01, 9), "wrist": Usual(0.04, 0.01, 9)})  # 0.2 of -1..1, squared


class World(Node):
    """Plays a policy with a world model on one side and the cameras on the other, chunk by chunk."""

    def __init__(self) -> None:
        super().__init__("world")
        self.stamp_ns, self.told, self.drawn, self.scales = 1_000_000_000, [], [], []
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.expects = {view: self.create_publisher(Image, topic, qos.CHUNKS) for view, topic in TOPICS.items()}
        self.shows = {
            view: self.create_publisher(Image, topic, qos.images_out(None))
            for view, topic in zip(TOPICS, topics.CAMERA_TOPICS.values(), strict=True)
        }
        self.status = self.create_publisher(PolicyStatus, topics.POLICY_STATUS, qos.LATCHED)
        self.create_subscription(Surprise, topics.SURPRISE, self.told.append, qos.CHUNKS)
        self.create_subscription(Float64, topics.SPEED_SCALE, lambda msg: self.scales.append(msg.data), qos.LATCHED)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self.on_diagnostics, qos.DIAGNOSTICS)

    def on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.statuses.update({status.name: status for status in msg.status})

    @property
    def surprise(self) -> DiagnosticStatus:
        return self.statuses.get("monitor: surprise", DiagnosticStatus(level=DiagnosticStatus.STALE))

    def follow(self, instruction: str, adapter: str = "") -> None:
        self.status.publish(PolicyStatus(state=PolicyStatus.RUNNING, instruction=instruction, adapter_id=adapter))

    def play(self, shade: int, rounding_ns: int = 0) -> None:
        """One chunk: black is expected in both views, and that shade comes in the static one."""
        self.stamp_ns += CHUNK_NS
        for view in TOPICS:
            self.send(self.expects[view], self.stamp_ns + rounding_ns, np.zeros((16, 16, 3), np.uint8))
            self.send(self.shows[view], self.stamp_ns, np.full((40, 40, 3), shade if view == "static" else 0, np.uint8))

    def send(self, publisher, stamp_ns: int, picture: np.ndarray) -> None:
        publisher.publish(encode_image(picture, Image(header=messages.header(stamp_ns, "camera"))))


@pytest.fixture
def make_scene(start_ros, tmp_path):
    def make(*parameters: str, calibrated: bool = True):
        path = tmp_path / "surprise.json"
        write_calibration(CALIBRATION, path)
        told = (f"monitor.calibration:={path}" if calibrated else "monitor.calibration:=''", *parameters)
        graph = start_ros(*(part for parameter in told for part in ("-p", parameter)))
        monitor, world = graph.add(MonitorNode()), graph.add(World())
        heard = [*world.expects.values(), *world.shows.values(), world.status]
        graph.wait(lambda: all(publisher.get_subscription_count() for publisher in heard), "the monitor's ears")
        graph.wait(lambda: monitor.surprise.get_subscription_count(), "the listener")

        def play(shade: int, chunks: int = 1, rounding_ns: int = 0) -> list[Surprise]:
            for _ in range(chunks):
                before = len(world.told)
                world.play(shade, rounding_ns)
                graph.wait(lambda before=before: len(world.told) > before, "a comparison")
            return world.told

        return graph, monitor, world, play

    return make


def test_what_comes_as_expected_is_told_with_its_level(make_scene):
    graph, _, world, play = make_scene()
    world.follow("open the drawer", adapter="kitchen")
    graph.wait(lambda: play(25)[-1].adapter_id == "kitchen", "the status")  # a tenth of 0..1: a fifth of -1..1
    told = world.told[-1]
    error = (2 * 25 / 255) ** 2
    assert list(told.views) == ["static", "wrist"] and list(told.errors) == pytest.approx([error, 0.0])
    assert list(told.levels) == pytest.approx([error / 0.04, 0.0]) and not told.sustained
    assert told.compared == len(world.told) and messages.stamp_to_ns(told.header.stamp) == world.stamp_ns
    graph.wait(lambda: world.surprise.message == "as expected", "the diagnostic")
    assert world.surprise.level == DiagnosticStatus.OK


def test_a_sustained_surprise_warns_proposes_and_is_over_when_it_is_over(make_scene):
    graph, _, world, play = make_scene()
    play(100, chunks=3)
    assert world.told[-1].level > 1 and not world.told[-1].sustained
    play(100, chunks=6)
    assert world.told[-1].sustained
    graph.wait(lambda: world.surprise.level == DiagnosticStatus.WARN, "the warning")
    assert world.surprise.message.startswith("proposes adaptation: other than expected for ")
    assert float({pair.key: pair.value for pair in world.surprise.values}["level"]) > 1
    graph.wait(lambda: not play(0)[-1].sustained, "calm")
    graph.wait(lambda: world.surprise.level == DiagnosticStatus.OK, "the end of the warning")
    assert world.scales == []


def test_another_instruction_starts_afresh(make_scene):
    graph, monitor, world, play = make_scene()
    world.follow("open the drawer")
    graph.wait(lambda: monitor.status is not None, "the status")
    play(100, chunks=9)
    assert world.told[-1].sustained
    world.follow("close the drawer")
    graph.wait(lambda: monitor.status.instruction == "close the drawer", "the status")
    assert not play(100)[-1].sustained and world.told[-1].compared == 10


def test_without_a_calibration_errors_are_told_and_no_level_is_made_up(make_scene):
    graph, _, world, play = make_scene(calibrated=False)
    play(255, chunks=9)
    assert world.told[-1].errors[0] == pytest.approx(4.0)
    assert (list(world.told[-1].levels), world.told[-1].level, world.told[-1].sustained) == ([0.0, 0.0], 0.0, False)
    graph.wait(lambda: world.surprise.level == DiagnosticStatus.WARN, "the warning")
    assert "no calibration" in world.surprise.message and "worldagen calibrate" in world.surprise.message


def test_a_listener_gets_the_picture_and_without_one_none_is_drawn(make_scene, monkeypatch):
    graph, monitor, world, play = make_scene()
    play(100)
    drawn = []
    listener = world.create_subscription(Image, topics.SURPRISE_IMAGE, drawn.append, qos.CHUNKS)
    graph.wait(lambda: monitor.picture.get_subscription_count(), "the listener")
    play(100)
    graph.wait(lambda: drawn, "the picture")
    picture = decode_image(drawn[0])
    assert picture.shape == (40 + 2 * 240, 3 * 240, 3)
    assert [int(picture[160, 120 + 240 * column].mean()) for column in range(3)] == [0, 100, 255]  # expected, seen, difference
    world.destroy_subscription(listener)
    graph.wait(lambda: not monitor.picture.get_subscription_count(), "the listener to go")
    monkeypatch.setattr("worldagen_ros.monitor_node.draw_surprise", lambda *_: pytest.fail("nobody looks"))
    play(100)


def test_stamps_of_simulated_time_may_be_rounded_and_others_do_not_pair(make_scene):
    graph, _, world, play = make_scene()
    play(0, rounding_ns=3)
    play(0, rounding_ns=-3)
    world.play(0, rounding_ns=60_000_000)  # nothing was seen then
    play(0)
    graph.spin_for(0.2)
    assert len(world.told) == 3


@pytest.mark.parametrize(("reaction", "scale"), [("slow", 0.25), ("hold", 0.0)])
def test_a_reaction_lasts_until_another_instruction(make_scene, reaction, scale):
    graph, monitor, world, play = make_scene(f"monitor.reaction:={reaction}", "monitor.slow_scale:=0.25")
    graph.wait(lambda: monitor.speed.get_subscription_count(), "the ears of the arm")
    world.follow("open the drawer")
    graph.wait(lambda: monitor.status is not None, "the status")
    play(100, chunks=9)
    graph.wait(lambda: world.scales, "the reaction")
    play(0, chunks=9)
    assert not world.told[-1].sustained and world.scales == [scale]  # what a slowed arm shows is no proof of anything
    graph.wait(lambda: "slowed" in world.surprise.message, "the diagnostic")
    world.follow("close the drawer")
    graph.wait(lambda: len(world.scales) > 1, "the release")
    assert world.scales == [scale, 1.0]


def test_a_monitor_that_begins_in_the_middle_releases_nothing(make_scene):
    graph, monitor, world, play = make_scene("monitor.reaction:=hold")
    graph.wait(lambda: monitor.speed.get_subscription_count(), "the ears of the arm")
    world.follow("open the drawer")
    graph.wait(lambda: monitor.status is not None, "the status")
    play(0, chunks=2)
    graph.spin_for(0.2)
    assert world.scales == []
    world.follow("close the drawer")
    graph.wait(lambda: world.scales == [1.0], "the release")
