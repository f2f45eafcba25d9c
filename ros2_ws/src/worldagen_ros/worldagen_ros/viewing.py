"""What the topics of a stack say, in Rerun: pictures, the scene in space, plots and logs, on the timeline of ROS stamps.

Takes messages of rclpy and of bags, which have the same fields; viewing_bag.py and viewing_live.py bring them.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64, String

from worldagen.decoding import decode_chunk, decode_gripper, decode_joints, decode_picture, decode_pose, numbers, stamp_to_ns
from worldagen.errors import WorldAgenError
from worldagen.markers import AXES as AXIS_COLOURS
from worldagen.markers import Drawing
from worldagen.scenery import Scenery
from worldagen_msgs.msg import ActionChunk, CommandStatus, GripperCommand, PolicyStatus, Routing, Surprise, TaskState
from worldagen_ros import qos, topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.robots import scenery_of

TIMELINE = "stamp"
INFO, WARN, ERROR = "INFO", "WARN", "ERROR"
SMALL = 256 * 256 * 3  # bytes; of larger ones the viewer's memory holds few, so they are compressed
JPEG_QUALITY = 90
WALL_CLOCK_NS = 10**17  # later stamps are dates; earlier ones a simulator's, counted from 0
POLICY_STATES = ("idle", "running", "waiting")
COMMAND_STATES = ("disabled", "ready", "running", "hold", "FAULT")
TASK_STATES = ("idle", "running", "succeeded", "step limit", "FAILED")
DIAGNOSTIC_LEVELS = (INFO, WARN, ERROR, WARN)  # OK, WARN, ERROR, STALE
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Shown:
    """A topic that is shown: its type, the quality of service it is heard with, and who takes it."""

    kind: type
    quality: QoSProfile
    take: Callable[["StackView", Any], None]


class StackView:
    """Takes messages, logs them. What cannot be decoded is told once a topic, in `problems`, and in the viewer's log."""

    def __init__(self, recording: rr.RecordingStream) -> None:
        self._recording = recording
        self._scenery: Scenery | None = None
        self._frame_id = ""
        self._drawn: dict[str, Drawing] = {}
        self._now_ns = 0  # newest stamp of what was measured; for messages that have none of the ROS clock
        self._early: list[tuple[str, str, str]] = []  # what was said before there was a stamp
        self._named: dict[str, tuple[str, ...]] = {}  # plot -> the names of its lines
        self._told: dict[str, object] = {}  # what was last written in the log, by its subject
        self.problems: dict[str, str] = {}
        recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        recording.log("surprise/usual", rr.SeriesLines(names="usual up to here", colors=(200, 60, 60), widths=1), static=True)

    def describe(self, config: DeploymentConfig) -> None:
        """What is known of the robot and its bounds; without it nothing stands in space. Raises ConfigError."""
        self._scenery = scenery_of(config.robot, config.command, config.explore)
        self._frame_id = config.robot.frame_id
        for bound in self._scenery.bounds:
            self._recording.log(f"world/{bound.name}", _lines(bound), static=True)
            words = rr.Points3D(bound.points[-1:], labels=bound.label, colors=bound.colours[-1:], radii=0.001)
            self._recording.log(f"world/{bound.name}/label", words, static=True)

    def take(self, topic: str, message: Any) -> None:
        """A message of a topic of TOPICS, by its relative name, or of tf2's static frames."""
        try:
            take = StackView.frames if topic == topics.TF_STATIC else TOPICS[topic].take
            take(self, message)
        except WorldAgenError as error:
            if topic not in self.problems:
                self.say("viewer", f"{topic} cannot be shown: {error}", WARN)
            self.problems.setdefault(topic, str(error))

    def say(self, subject: str, text: str, level: str = INFO) -> None:
        """A line of the log, when it is another than the last of its subject."""
        if not self._now_ns:
            self._early.append((subject, text, level))
        elif self._told.get(subject) != (text, level):
            self._told[subject] = (text, level)
            self._at(self._now_ns)
            self._recording.log(f"log/{subject}", rr.TextLog(text, level=level))

    # -- pictures ------------------------------------------------------------------------------------------------------------

    def picture(self, path: str, message: Any) -> None:
        self._at(stamp_to_ns(message.header.stamp))
        if hasattr(message, "format"):
            decode_picture(message)  # raises what is no picture
            kind = "image/png" if "png" in message.format else "image/jpeg"
            self._recording.log(path, rr.EncodedImage(contents=bytes(message.data), media_type=kind))
        else:
            picture = decode_picture(message)
            shown = rr.Image(picture)
            small = picture.size <= SMALL
            self._recording.log(path, shown if small else shown.compress(jpeg_quality=JPEG_QUALITY))

    def seen(self, camera: str, message: Any) -> None:
        """Of a camera, so that its stamp is the newest there is."""
        self.picture(f"camera/{camera}", message)
        self._measured_at(stamp_to_ns(message.header.stamp))

    def camera(self, name: str, message: Any) -> None:
        if self._scenery:
            self._scenery.camera(name, message)

    def frames(self, message: Any) -> None:
        if self._scenery:
            self._scenery.frames(message)

    # -- the arm -------------------------------------------------------------------------------------------------------------

    def joints(self, message: Any) -> None:
        names, positions = decode_joints(message)
        self._measured_at(stamp_to_ns(message.header.stamp))
        self._at(self._now_ns)
        self._plot("joints", names, positions)
        if self._scenery is None:
            return
        self._scenery.joints(message)
        tool = self._scenery.tool
        assert tool is not None
        self._plot("tool/measured", AXES, tool.position)
        self._recording.log("world/tool", rr.Points3D([tool.position], radii=0.008, colors=(250, 250, 250)))
        self._draw(self._scenery.moving())

    def target(self, message: Any) -> None:
        pose = decode_pose(message)
        if self._scenery:
            self._scenery.target(message)
        self._at(stamp_to_ns(message.header.stamp))
        self._plot("tool/commanded", tuple(f"{axis} commanded" for axis in AXES), pose.position, shade=0.6)

    def twist(self, message: Any) -> None:
        self._at(stamp_to_ns(message.header.stamp))
        self._plot("velocity/commanded", tuple(f"{axis}, m/s" for axis in AXES), np.array(numbers(message.twist.linear)))

    def chunk(self, message: Any) -> None:
        chunk = decode_chunk(message, self._frame_id or message.header.frame_id)
        if self._scenery:
            self._scenery.chunk(message)
        self._at(chunk.stamp_ns)
        self._plot("inference", ("inference, ms",), np.array([chunk.inference_s * 1e3]))
        for index, row in enumerate(chunk.rows):  # each at the instant that it is for
            self._at(chunk.stamp_ns + round(index * chunk.period_s * 1e9))
            self._plot("rows/translation", tuple(f"{axis}, mm" for axis in AXES), row[:3] * 1e3)
            self._plot("rows/rotation", tuple(f"{axis}, mrad" for axis in AXES), row[3:6] * 1e3)
            self._plot("gripper/asked", ("asked",), row[6:])
        if chunk.adapter:
            self.say("adapter", f"drives with the adapter {chunk.adapter}")

    def gripper(self, message: Any) -> None:
        opening = decode_gripper(message)
        self._at(stamp_to_ns(message.header.stamp))
        self._plot("gripper/commanded", ("commanded",), np.array([opening]))

    def speed(self, message: Any) -> None:
        self.say("speed", f"speed scale {message.data:g}")

    # -- what is surprising --------------------------------------------------------------------------------------------------

    def surprise(self, message: Any) -> None:
        self._at(stamp_to_ns(message.header.stamp))
        self._plot("surprise/level", ("level",), np.array([message.level]))
        self._plot("surprise/usual", ("usual up to here",), np.array([1.0]))
        if message.views:
            self._plot("surprise/views", tuple(message.views), np.array(message.levels))
        if message.sustained or "surprise" in self._told:
            text = "other than expected, for a while: adaptation is proposed" if message.sustained else "as expected again"
            self.say("surprise", text, WARN if message.sustained else INFO)

    def routing(self, message: Any) -> None:
        """Weights of the places by level: lines over time, and who leads in words."""
        self._at(stamp_to_ns(message.header.stamp))
        places, levels = tuple(message.places), tuple(message.levels)
        weights = np.array(message.weights).reshape(len(levels), len(places))
        for level, row in zip(levels, weights, strict=True):
            self._plot(f"routing/{level}", places, row)
        if message.abstains:
            self.say("routing", f"no known place is near ({message.best_cosine:.2f}): the base drives", WARN)
        else:
            told = ", ".join(f"{name} {share:.0%}" for name, share in zip(places, weights[-1], strict=True) if share > 0.005)
            self.say("routing", f"{told} ({message.why})")

    # -- words ---------------------------------------------------------------------------------------------------------------

    def words(self, message: Any) -> None:
        self.say("instruction", f"asked: {message.data}" if message.data else "asked to stop")

    def policy(self, message: Any) -> None:
        what = [_named(POLICY_STATES, message.state), message.instruction, message.detail]
        waits = message.state == PolicyStatus.WAITING
        self.say("policy", _joined(what), WARN if waits else INFO)

    def command(self, message: Any) -> None:
        fault = message.state == CommandStatus.FAULT
        what = [_named(COMMAND_STATES, message.state), message.reason]
        self.say("command", _joined(what), ERROR if fault else INFO)
        self._at(self._now_ns)
        self._plot("speed_scale", ("speed scale",), np.array([message.speed_scale]))

    def task(self, message: Any) -> None:
        what = [f"{message.task}, scene {message.scene}", _named(TASK_STATES, message.status), message.detail]
        self.say("simulator", _joined(what))

    def health(self, message: Any) -> None:
        """Diagnostics are stamped by the wall, which in lockstep is another clock: they are shown at what was last measured."""
        for status in message.status:
            level = int.from_bytes(status.level, "little") if isinstance(status.level, bytes) else int(status.level)
            self.say(
                f"diagnostics/{status.name.replace(': ', '/')}", f"{status.name}: {status.message}", DIAGNOSTIC_LEVELS[level]
            )

    # ------------------------------------------------------------------------------------------------------------------------

    def _measured_at(self, stamp_ns: int) -> None:
        self._now_ns = stamp_ns
        early, self._early = self._early, []
        for line in early:
            self.say(*line)

    def _at(self, stamp_ns: int) -> None:
        if stamp_ns > WALL_CLOCK_NS:
            self._recording.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))
        else:
            self._recording.set_time(TIMELINE, duration=np.timedelta64(stamp_ns, "ns"))

    def _plot(self, path: str, names: tuple[str, ...], values: np.ndarray, shade: float = 1.0) -> None:
        """Add a point to lines; three of them are x, y, z and have the colours of the axes in space."""
        if self._named.get(path) != tuple(names):
            self._named[path] = tuple(names)
            colours = np.array(AXIS_COLOURS)[:, :3] * shade if len(names) == 3 else None
            self._recording.log(path, rr.SeriesLines(names=list(names), colors=colours), static=True)
        self._recording.log(path, rr.Scalars(values))

    def _draw(self, drawings: list[Drawing]) -> None:
        """Only what changed; what is no longer so is taken away."""
        now = {drawing.name: drawing for drawing in drawings}
        for name in self._drawn.keys() - now.keys():
            self._recording.log(f"world/{name}", rr.Clear(recursive=False))
        for name, drawing in now.items():
            if self._drawn.get(name) is not drawing:
                self._recording.log(f"world/{name}", _lines(drawing))
        self._drawn = now


def _named(states: tuple[str, ...], state: int) -> str:
    return states[state] if state < len(states) else f"state {state}"


def _joined(parts: list[str]) -> str:
    return ": ".join(part for part in parts if part)


def _lines(drawing: Drawing) -> rr.LineStrips3D:
    segments, colours = drawing.segments()
    return rr.LineStrips3D(segments, colors=colours, radii=drawing.width_m / 2)


def _picture(path: str) -> Callable[[StackView, Any], None]:
    return lambda view, message: view.picture(path, message)


PREDICTIONS = (topics.STATIC_PREDICTION, topics.WRIST_PREDICTION)
TOPICS: dict[str, Shown] = {
    topics.STATIC_IMAGE: Shown(Image, qos.images_in(), lambda view, message: view.seen("static", message)),
    topics.WRIST_IMAGE: Shown(Image, qos.images_in(), lambda view, message: view.seen("wrist", message)),
    topics.STATIC_CAMERA_INFO: Shown(CameraInfo, qos.images_in(), lambda view, message: view.camera("static_camera", message)),
    topics.WRIST_CAMERA_INFO: Shown(CameraInfo, qos.images_in(), lambda view, message: view.camera("wrist_camera", message)),
    topics.STATIC_PREDICTION: Shown(Image, qos.CHUNKS, _picture("expected/static")),
    topics.WRIST_PREDICTION: Shown(Image, qos.CHUNKS, _picture("expected/wrist")),
    topics.SURPRISE_IMAGE: Shown(Image, qos.images_in(), _picture("surprise/picture")),
    topics.JOINT_STATES: Shown(JointState, qos.states(), StackView.joints),
    topics.TARGET_POSE: Shown(PoseStamped, qos.commands(None), StackView.target),
    topics.DELTA_TWIST: Shown(TwistStamped, qos.commands(None), StackView.twist),
    topics.ACTION_CHUNK: Shown(ActionChunk, qos.CHUNKS, StackView.chunk),
    topics.GRIPPER_COMMAND: Shown(GripperCommand, qos.commands(None), StackView.gripper),
    topics.SPEED_SCALE: Shown(Float64, qos.SCALES, StackView.speed),
    topics.SURPRISE: Shown(Surprise, qos.CHUNKS, StackView.surprise),
    topics.ROUTING: Shown(Routing, qos.LATCHED, StackView.routing),
    topics.INSTRUCTION: Shown(String, qos.LATCHED, StackView.words),
    topics.POLICY_STATUS: Shown(PolicyStatus, qos.LATCHED, StackView.policy),
    topics.COMMAND_STATUS: Shown(CommandStatus, qos.LATCHED, StackView.command),
    topics.TASK_STATE: Shown(TaskState, qos.LATCHED, StackView.task),
    topics.DIAGNOSTICS: Shown(DiagnosticArray, qos.DIAGNOSTICS, StackView.health),
}


@dataclass(frozen=True)
class Plot:
    """Numbers over time: where they are logged, and the topics that bring them. legend: where names say more than colours."""

    name: str
    path: str
    topics: tuple[str, ...]
    legend: bool = False
    share: bool = False  # of 0 to 1


PLOTS = (
    Plot("tool, m (dark: asked)", "tool", (topics.JOINT_STATES, topics.TARGET_POSE)),
    Plot("commanded velocity, m/s", "velocity", (topics.DELTA_TWIST,)),
    Plot("rows of the chunks, mm", "rows/translation", (topics.ACTION_CHUNK,)),
    Plot("rows of the chunks, mrad", "rows/rotation", (topics.ACTION_CHUNK,)),
    Plot("gripper opening", "gripper", (topics.ACTION_CHUNK, topics.GRIPPER_COMMAND), legend=True, share=True),
    Plot("joint positions, rad and m", "joints", (topics.JOINT_STATES,)),
    Plot("surprise: unusual above 1", "surprise", (topics.SURPRISE,), legend=True),
    Plot("places: weight, scene level", "routing/scene", (topics.ROUTING,), legend=True, share=True),
    Plot("inference, ms", "inference", (topics.ACTION_CHUNK,)),
    Plot("speed scale", "speed_scale", (topics.COMMAND_STATUS,), share=True),
)
# Pictures by name: where they are logged, and the topic that brings them.
CAMERAS = {
    "static camera": ("camera/static", topics.STATIC_IMAGE),
    "wrist camera": ("camera/wrist", topics.WRIST_IMAGE),
}
EXPECTATIONS = {
    "expected: static": ("expected/static", topics.STATIC_PREDICTION),
    "expected: wrist": ("expected/wrist", topics.WRIST_PREDICTION),
    "expected, seen, off": ("surprise/picture", topics.SURPRISE_IMAGE),
}


def layout(heard: Collection[str]) -> rrb.Blueprint:
    """The scene in space on the left, pictures on the right, plots and the log below. heard: relative topics that there are."""
    rows = [_pictures(CAMERAS, heard), _pictures(EXPECTATIONS, heard)]
    pictures = rrb.Vertical(*(row for row in rows if row), row_shares=(3, 2)[: sum(map(bool, rows))])
    space = rrb.Spatial3DView(origin="world", name="arm, plan, bounds")
    plots = [_plot_view(plot) for plot in PLOTS if set(plot.topics) & set(heard)]
    log = rrb.TextLogView(origin="log", name="what is said")
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(space, pictures, column_shares=(1, 1)),
            rrb.Horizontal(rrb.Grid(*plots, grid_columns=4), log, column_shares=(2, 1)),
            row_shares=(3, 2),
        ),
        rrb.BlueprintPanel(state="hidden"),
        rrb.SelectionPanel(state="hidden"),
        rrb.TimePanel(state="collapsed", timeline=TIMELINE),
    )


def _pictures(named: Mapping[str, tuple[str, str]], heard: Collection[str]) -> rrb.Horizontal | None:
    found = [rrb.Spatial2DView(origin=path, name=name) for name, (path, topic) in named.items() if topic in heard]
    return rrb.Horizontal(*found) if found else None


def _plot_view(plot: Plot) -> rrb.TimeSeriesView:
    axis = rrb.ScalarAxis(range=(-0.05, 1.05), zoom_lock=True) if plot.share else None
    legend = rrb.PlotLegend(visible=plot.legend)
    return rrb.TimeSeriesView(origin=plot.path, name=plot.name, axis_y=axis, plot_legend=legend)
