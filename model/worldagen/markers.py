"""What a robot is about to do and may not leave, as lines in space: RViz, Foxglove and Rerun are shown the same.

Pure geometry, no ROS. Everything is in the deployment's base frame, in metres.

Shapes: M rows of a chunk, P points, S segments. Colours are red, green, blue, opacity, 0 to 1.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.errors import BadObservation, ConfigError
from worldagen.exploring import Envelope
from worldagen.kinematics import ForwardKinematics, find_robot
from worldagen.limits import LimitsConfig, keep_out_boxes
from worldagen.poses import Pose

Colour = tuple[float, float, float, float]

# Told apart by people who see red and green alike too.
CLOSED: Colour = (0.90, 0.45, 0.0, 1.0)  # of the gripper
OPEN: Colour = (0.25, 0.65, 0.95, 1.0)
WORKSPACE: Colour = (0.25, 0.75, 0.55, 0.9)
ENVELOPE: Colour = (0.85, 0.65, 0.0, 0.9)
KEEP_OUT: Colour = (0.85, 0.15, 0.15, 1.0)
ARM: Colour = (0.60, 0.60, 0.65, 1.0)
CAMERA: Colour = (0.75, 0.55, 0.85, 0.9)
AXES: tuple[Colour, ...] = ((0.9, 0.2, 0.2, 1.0), (0.2, 0.8, 0.3, 1.0), (0.3, 0.45, 1.0, 1.0))  # x, y, z

FRUSTUM_M = 0.15  # from the camera to the picture that is drawn before it
AXES_M = 0.08
REMEMBERED_NS = 3_000_000_000  # a chunk answers no older observation
APART_NS = 5_000_000  # closer poses are the same one for a picture
NEAR_NS = 250_000_000
LONGEST_CHAIN = 100  # frames; a longer one goes in circles
ORIGIN = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))  # of the base frame


@dataclass(frozen=True, eq=False)
class Drawing:
    """One thing to draw.

    points: (P, 3). colours: (P, 4). connected: one line through all points; else every two points are a segment.
    label: words beside the last point, empty for none.
    """

    name: str
    points: np.ndarray
    colours: np.ndarray
    connected: bool = False
    width_m: float = 0.004
    label: str = ""

    def segments(self) -> tuple[np.ndarray, np.ndarray]:
        """(S, 2, 3) its segments and (S, 4) their colours: that of the point at the end of each."""
        if self.connected:
            return np.stack([self.points[:-1], self.points[1:]], axis=1), self.colours[1:]
        return self.points.reshape(-1, 2, 3), self.colours[1::2]


class Pinhole(NamedTuple):
    """A camera without distortion: size of its pictures, focal lengths and principal point, pixels."""

    width: float
    height: float
    fx: float
    fy: float
    cx: float
    cy: float


def opening_colour(opening: float) -> np.ndarray:
    """(4,) between CLOSED at 0 and OPEN at 1; what lies outside is taken as the nearer end."""
    share = float(np.clip(opening, 0.0, 1.0))
    return (1 - share) * np.array(CLOSED) + share * np.array(OPEN)


def chunk_path(measured: Pose, rows: np.ndarray) -> tuple[Pose, ...]:
    """Where rows (M, 7) ask the tool to go, one after the other: M + 1 poses, the first is the measured one.

    As the policy asks it, before the command node's limits and blending.
    """
    path = [measured]
    for row in np.array(rows):  # a copy: scipy takes no read-only rows, and those of a chunk are
        path.append(path[-1].moved(row))
    return tuple(path)


class PoseMemory:
    """Where the tool was in the last seconds, because a chunk begins where its observation was taken, not where it arrives."""

    def __init__(self) -> None:
        self._seen: dict[int, Pose] = {}  # by stamp, the oldest first

    def see(self, stamp_ns: int, pose: Pose) -> None:
        """A measured pose. One with an earlier stamp than the last begins anew: the robot was put elsewhere."""
        last_ns = next(reversed(self._seen), stamp_ns)
        if stamp_ns < last_ns:
            self._seen.clear()
        elif 0 < stamp_ns - last_ns < APART_NS:
            return
        self._seen[stamp_ns] = pose
        while stamp_ns - next(iter(self._seen)) > REMEMBERED_NS:
            self._seen.pop(next(iter(self._seen)))

    def at(self, stamp_ns: int) -> Pose | None:
        """The pose nearest to an instant; None where none is near."""
        nearest_ns = min(self._seen, key=lambda seen_ns: abs(seen_ns - stamp_ns), default=None)
        return None if nearest_ns is None or abs(nearest_ns - stamp_ns) > NEAR_NS else self._seen[nearest_ns]


def draw_chunk(measured: Pose, rows: np.ndarray) -> Drawing:
    """The path of a chunk; each stretch has the colour of the gripper's opening in its row."""
    points = np.array([pose.position for pose in chunk_path(measured, rows)])
    colours = np.array([opening_colour(row[6]) for row in rows])
    return Drawing("chunk", points, np.concatenate([colours[:1], colours]), connected=True, width_m=0.014)


def box_edges(low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """(24, 3) the twelve edges of an upright box, two points each; the last point is its highest corner.

    Raises ConfigError for bounds that are not 3 numbers each, or the wrong way round.
    """
    bounds = np.array([low, high], dtype=np.float64) if len(low) == len(high) == 3 else np.zeros((2, 0))
    if bounds.shape != (2, 3) or not (bounds[0] <= bounds[1]).all():
        raise ConfigError(f"a box from {list(low)} to {list(high)}; expected x, y, z each, the lower first")
    corners = [bounds[pick, range(3)] for pick in product((0, 1), repeat=3)]
    pairs = ((a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1)
    return np.array([corners[index] for pair in pairs for index in pair])


def draw_box(name: str, low: Sequence[float], high: Sequence[float], colour: Colour, label: str = "") -> Drawing:
    """The edges of an upright box. Raises ConfigError as `box_edges`."""
    edges = box_edges(low, high)
    return Drawing(name, edges, np.tile(colour, (len(edges), 1)), label=label)


def draw_bounds(limits: LimitsConfig, envelope: Envelope | None) -> tuple[Drawing, ...]:
    """What the tool may not leave or enter: the command node's work space and keep-out boxes, the envelope of exploring."""
    bounds = [draw_box("workspace", limits.workspace_low_m, limits.workspace_high_m, WORKSPACE, "work space")]
    for number, (low, high) in enumerate(keep_out_boxes(limits.keep_out_m), 1):
        bounds.append(draw_box(f"keep_out/{number}", low, high, KEEP_OUT, "keep out"))
    if envelope is not None:
        drawn = draw_box("envelope", envelope.low_m, envelope.high_m, ENVELOPE, "exploration envelope")
        # From its other end, so that its label is at its lowest corner, away from that of the work space.
        bounds.append(replace(drawn, points=drawn.points[::-1]))
    return tuple(bounds)


def frustum_edges(camera: Pinhole, pose: Pose, depth_m: float = FRUSTUM_M) -> np.ndarray:
    """(16, 3) four edges from the camera to the corners of its picture at a depth, then the four sides of the picture.

    pose: of the optical frame: x to the right of the picture, y down, z into it. Raises BadObservation without a focal length.
    """
    if not (camera.fx > 0 and camera.fy > 0 and camera.width > 0 and camera.height > 0):
        raise BadObservation(f"a camera with {camera._asdict()}; expected a size and focal lengths above 0")
    pixels = [(0, 0), (camera.width, 0), (camera.width, camera.height), (0, camera.height)]
    rays = np.array([((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, 1.0) for u, v in pixels]) * depth_m
    corners = Rotation.from_quat(pose.quaternion).apply(rays) + pose.position
    edges = [(pose.position, corner) for corner in corners]
    edges += [(corners[index], corners[(index + 1) % 4]) for index in range(4)]
    return np.array(edges).reshape(-1, 3)


def draw_frustum(name: str, camera: Pinhole, pose: Pose) -> Drawing:
    """What a camera looks at. Raises BadObservation as `frustum_edges`."""
    edges = frustum_edges(camera, pose)
    return Drawing(name, edges, np.tile(CAMERA, (len(edges), 1)), width_m=0.003)


def draw_axes(name: str, pose: Pose, length_m: float = AXES_M) -> Drawing:
    """x red, y green, z blue, from the pose's position."""
    ends = pose.position + length_m * Rotation.from_quat(pose.quaternion).as_matrix().T  # (3 axes, 3)
    points = np.stack([np.tile(pose.position, (3, 1)), ends], axis=1).reshape(-1, 3)
    return Drawing(name, points, np.repeat(AXES, 2, axis=0), width_m=0.005)


class Arm:
    """Where the links of a robot are, from its base to its tool. Not thread-safe."""

    def __init__(self, robot: str, tool_frame: str, base_pose: Sequence[float]) -> None:
        """As ForwardKinematics, and raises what that raises."""
        links = links_to(robot, tool_frame)
        self._links = {link: ForwardKinematics(robot, link, base_pose) for link in links}

    def poses(self, names: Sequence[str], positions: np.ndarray) -> dict[str, Pose]:
        """link -> its pose, the base first. Raises BadObservation for joints that are missing or not finite."""
        return {link: Pose.from_euler(way.tool_pose(names, positions)) for link, way in self._links.items()}


def links_to(robot: str, tool_frame: str) -> tuple[str, ...]:
    """The links of a URDF from its root to a frame. Raises ConfigError for a robot or frame that is not there."""
    path = find_robot(robot)
    try:
        joints = ET.parse(path).getroot().findall("joint")
        parents = {joint.find("child").get("link", ""): joint.find("parent").get("link", "") for joint in joints}  # type: ignore[union-attr]
    except (ET.ParseError, OSError, AttributeError) as error:
        raise ConfigError(f"{path}: no URDF that can be read ({error})") from None
    if tool_frame not in {*parents, *parents.values()}:
        raise ConfigError(
            f"{path}: has no frame {tool_frame!r}; its frames are: {', '.join(sorted({*parents, *parents.values()}))}"
        )
    chain = [tool_frame]
    while chain[-1] in parents and len(chain) < LONGEST_CHAIN:
        chain.append(parents[chain[-1]])
    return tuple(reversed(chain))


def draw_arm(links: Mapping[str, Pose]) -> Drawing:
    """A line through the origins of the links."""
    points = np.array([pose.position for pose in links.values()])
    return Drawing("arm", points, np.tile(ARM, (len(points), 1)), connected=True, width_m=0.015)


def find_pose(frame: str, parents: Mapping[str, tuple[str, Pose]], known: Mapping[str, Pose]) -> Pose | None:
    """Where a frame is, by way of its parents up to one whose pose is known; None where no way leads there.

    parents: frame -> its parent and its pose in that.
    """
    within = ORIGIN
    for _ in range(LONGEST_CHAIN):
        if frame in known:
            return placed(known[frame], within)
        if frame not in parents:
            return None
        frame, pose = parents[frame]
        within = placed(pose, within)
    return None


def placed(outer: Pose, inner: Pose) -> Pose:
    """A pose that is given in another, in the frame of that other."""
    turn = Rotation.from_quat(outer.quaternion)
    return Pose(outer.position + turn.apply(inner.position), (turn * Rotation.from_quat(inner.quaternion)).as_quat())
