"""What to draw of a stack now: its messages in, lines out. One for RViz, Foxglove and Rerun, live or from a bag.

    scenery = Scenery(kinematics, arm, draw_bounds(limits, None), frame_id="world")
    scenery.joints(message)
    scenery.drawings()      # the work space, the arm

Takes messages of rclpy and of bags: both have the same fields. Imports no ROS.
"""

from typing import Any

import numpy as np

from worldagen import markers
from worldagen.decoding import QUATERNION_TOLERANCE, decode_chunk, decode_joints, decode_pose, numbers, stamp_to_ns
from worldagen.errors import BadObservation
from worldagen.kinematics import ForwardKinematics
from worldagen.markers import ORIGIN, Arm, Drawing, Pinhole, PoseMemory
from worldagen.poses import Pose

COMMAND_NS = 1_000_000_000  # so long a commanded pose is shown without another


class Scenery:
    """Keeps the newest of everything. What cannot be drawn is refused with an error of ours, and changes nothing."""

    def __init__(self, kinematics: ForwardKinematics, arm: Arm, bounds: tuple[Drawing, ...], frame_id: str) -> None:
        """kinematics: of the tool. bounds: what does not move. frame_id: the base frame, of all poses and motions."""
        self._kinematics, self._arm, self.bounds, self._frame_id = kinematics, arm, bounds, frame_id
        self._memory = PoseMemory()
        self.stamp_ns = 0  # of the newest joint states
        self.tool: Pose | None = None  # measured
        self._links: dict[str, Pose] = {}
        self._commanded: tuple[int, Drawing] | None = None  # stamp, axes
        self._plan: tuple[int, Drawing] | None = None  # end of the last row, the way there
        self._cameras: dict[str, tuple[str, Pinhole]] = {}  # name -> frame, numbers
        self._frames: dict[str, tuple[str, Pose]] = {}  # frame -> its parent, its pose in that

    def joints(self, msg: Any) -> None:
        """A JointState. Raises BadObservation."""
        names, positions = decode_joints(msg)
        links = self._arm.poses(names, positions)
        self.tool = Pose.from_euler(self._kinematics.tool_pose(names, positions))
        stamp_ns = stamp_to_ns(msg.header.stamp)
        if stamp_ns < self.stamp_ns:
            self._plan = self._commanded = None  # the robot was put elsewhere
        self._links, self.stamp_ns = links, stamp_ns
        self._memory.see(stamp_ns, self.tool)

    def chunk(self, msg: Any) -> None:
        """An ActionChunk; there is no plan to draw where nobody knows where it begins. Raises BadChunk."""
        chunk = decode_chunk(msg, self._frame_id)
        begin = self._memory.at(chunk.stamp_ns)
        end_ns = chunk.stamp_ns + round(len(chunk.rows) * chunk.period_s * 1e9)
        self._plan = None if begin is None else (end_ns, markers.draw_chunk(begin, chunk.rows))

    def target(self, msg: Any) -> None:
        """A commanded PoseStamped. Raises BadCommand."""
        self._commanded = stamp_to_ns(msg.header.stamp), markers.draw_axes("commanded", decode_pose(msg))

    def camera(self, name: str, msg: Any) -> None:
        """A CameraInfo; its distortion is left out."""
        matrix = msg.k
        pinhole = Pinhole(msg.width, msg.height, fx=matrix[0], fy=matrix[4], cx=matrix[2], cy=matrix[5])
        markers.frustum_edges(pinhole, ORIGIN)  # raises BadObservation, once, here
        self._cameras[name] = (msg.header.frame_id, pinhole)

    def frames(self, msg: Any) -> None:
        """Static frames, a TFMessage; good ones are kept. Raises BadObservation for the others."""
        bad = []
        for frame in msg.transforms:
            at, turned = np.array(numbers(frame.transform.translation)), frame.transform.rotation
            quaternion = np.array([turned.x, turned.y, turned.z, turned.w])
            length = float(np.linalg.norm(quaternion))
            if np.isfinite(at).all() and abs(length - 1.0) < QUATERNION_TOLERANCE:
                self._frames[frame.child_frame_id.lstrip("/")] = (frame.header.frame_id.lstrip("/"), Pose(at, quaternion))
            else:
                bad.append(f"{frame.child_frame_id} at {at.tolist()} with a quaternion of length {length:.4g}")
        if bad:
            raise BadObservation(f"{'; '.join(bad)}; expected finite numbers, length 1")

    def drawings(self) -> list[Drawing]:
        """Everything that is so now."""
        return [*self.bounds, *self.moving()]

    def moving(self) -> list[Drawing]:
        """The same without the bounds. A plan that was played out and a command that was left behind are not so any more."""
        if self.tool is None:
            return []
        found = [markers.draw_arm(self._links)]
        if self._plan is not None and self._plan[0] >= self.stamp_ns:
            found.append(self._plan[1])
        if self._commanded is not None and abs(self.stamp_ns - self._commanded[0]) < COMMAND_NS:
            found.append(self._commanded[1])
        known = {**self._links, self._frame_id: ORIGIN}
        for name, (frame, pinhole) in self._cameras.items():
            pose = markers.find_pose(frame, self._frames, known)
            if pose is not None:
                found.append(markers.draw_frustum(name, pinhole, pose))
        return found
