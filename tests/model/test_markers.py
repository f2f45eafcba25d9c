"""What is drawn stands where the robot, its commands and its bounds are."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from worldagen import markers
from worldagen.commanding import Commander
from worldagen.errors import BadObservation, ConfigError
from worldagen.exploring import Envelope
from worldagen.kinematics import ForwardKinematics
from worldagen.limits import LimitsConfig
from worldagen.markers import ORIGIN, Pinhole
from worldagen.poses import Pose
from worldagen.types import ActionChunk

HERE = Pose(np.array([0.1, -0.2, 0.5]), Rotation.from_euler("xyz", [3.1, 0.1, 0.4]).as_quat())


def test_the_path_of_a_chunk_is_the_way_the_command_node_goes():
    rows = np.random.default_rng(0).uniform(-0.01, 0.01, (6, 7))
    commander = Commander(LimitsConfig(), blend_rows=0, max_chunk_age_s=1.0)
    chunk = ActionChunk(0, 0, 1 / 30, "calvin", rows)
    commander.offer(chunk, 0)
    commanded = [command for index in range(6) if (command := commander.tick(index, HERE))]
    path = markers.chunk_path(HERE, chunk.rows)
    assert np.allclose([pose.position for pose in path[1:]], [command.pose.position for command in commanded])
    assert np.allclose([pose.quaternion for pose in path[1:]], [command.pose.quaternion for command in commanded])
    assert path[0] is HERE


def test_each_stretch_of_a_path_has_the_colour_of_its_rows_gripper():
    rows = np.zeros((3, 7))
    rows[:, 0], rows[:, 6] = 0.01, (1.0, 0.5, 0.0)
    segments, colours = markers.draw_chunk(HERE, rows).segments()
    assert segments.shape == (3, 2, 3) and np.allclose(segments[0, 0], HERE.position)
    assert colours[0].tolist() == list(markers.OPEN) and colours[2].tolist() == list(markers.CLOSED)
    assert np.allclose(colours[1], (np.array(markers.OPEN) + markers.CLOSED) / 2)


def test_a_path_begins_where_the_tool_was_when_its_pictures_were_taken():
    memory = markers.PoseMemory()
    poses = [Pose(np.array([0.01 * step, 0.0, 0.0]), ORIGIN.quaternion) for step in range(300)]
    for step, pose in enumerate(poses):
        memory.see(step * 33_000_000, pose)
    assert memory.at(290 * 33_000_000 + 4_000_000) is poses[290]
    assert memory.at(0) is None  # forgotten
    assert memory.at(320 * 33_000_000) is None  # nobody knows yet
    memory.see(5, HERE)  # an episode begins
    assert memory.at(290 * 33_000_000) is None and memory.at(5) is HERE


def test_of_a_fast_stream_of_poses_few_are_kept():
    memory = markers.PoseMemory()
    for step in range(3000):
        memory.see(step * 1_000_000, HERE)
    assert memory.at(1_500_000_000) is HERE and len(memory._seen) <= 601


def test_an_opening_beyond_its_ends_has_the_colour_of_the_end():
    assert markers.opening_colour(1.7).tolist() == list(markers.OPEN)
    assert markers.opening_colour(-1.0).tolist() == list(markers.CLOSED)


def test_a_box_has_twelve_edges_along_the_axes_between_its_corners():
    segments, colours = markers.draw_box("box", (-1, -2, 0), (1, 2, 3), markers.WORKSPACE, "work space").segments()
    assert segments.shape == (12, 2, 3) and colours.shape == (12, 4)
    lengths = np.abs(segments[:, 1] - segments[:, 0])
    assert sorted(lengths.sum(axis=1)) == [2] * 4 + [3] * 4 + [4] * 4 and (np.count_nonzero(lengths, axis=1) == 1).all()
    assert len(np.unique(segments.reshape(-1, 3), axis=0)) == 8
    assert segments[-1, 1].tolist() == [1, 2, 3]  # where its label stands


def test_the_envelope_is_drawn_only_where_a_place_is_explored():
    limits, envelope = LimitsConfig(), Envelope(low_m=(-0.3, -0.3, 0.1))
    assert [bound.name for bound in markers.draw_bounds(limits, None)] == ["workspace"]
    workspace, drawn = markers.draw_bounds(limits, envelope)
    assert workspace.points.min(axis=0).tolist() == list(limits.workspace_low_m)
    assert drawn.points.min(axis=0).tolist() == [-0.3, -0.3, 0.1] and drawn.label


def test_every_keep_out_box_is_drawn():
    limits = LimitsConfig(keep_out_m=(0.1, 0.1, 0.0, 0.2, 0.3, 0.4, -0.2, -0.2, 0.0, -0.1, -0.1, 0.5))
    drawn = {bound.name: bound.points.max(axis=0).tolist() for bound in markers.draw_bounds(limits, None)[1:]}
    assert drawn == {"keep_out/1": [0.2, 0.3, 0.4], "keep_out/2": [-0.1, -0.1, 0.5]}


@pytest.mark.parametrize(("low", "high"), [((0, 0), (1, 1, 1)), ((0, 0, 2), (1, 1, 1)), ((0, 0, np.nan), (1, 1, 1))])
def test_what_is_no_box_is_refused(low, high):
    with pytest.raises(ConfigError, match="expected x, y, z each, the lower first"):
        markers.box_edges(low, high)


def test_a_frustum_opens_around_the_way_the_camera_looks():
    downwards = Pose(np.array([0.0, 0.0, 1.0]), Rotation.from_euler("x", np.pi).as_quat())
    edges = markers.frustum_edges(Pinhole(200, 100, 100.0, 100.0, 100.0, 50.0), downwards, depth_m=0.5).reshape(8, 2, 3)
    assert (edges[:4, 0] == downwards.position).all()
    corners = edges[:4, 1]
    assert np.allclose(corners[:, 2], 0.5)
    assert np.allclose(sorted(corners[:, 0]), [-0.5, -0.5, 0.5, 0.5]) and np.allclose(
        sorted(corners[:, 1]), [-0.25] * 2 + [0.25] * 2
    )
    assert np.allclose(edges[4:, 0], corners) and np.allclose(edges[4:, 1], np.roll(corners, -1, axis=0))


def test_a_camera_without_a_focal_length_is_refused():
    with pytest.raises(BadObservation, match="focal lengths above 0"):
        markers.frustum_edges(Pinhole(200, 100, 0.0, 0.0, 0.0, 0.0), HERE)


def test_axes_stand_on_the_pose_and_along_its_turn():
    points = markers.draw_axes("tool", HERE).points.reshape(3, 2, 3)
    assert (points[:, 0] == HERE.position).all()
    along = (points[:, 1] - points[:, 0]) / markers.AXES_M
    assert np.allclose(along, Rotation.from_quat(HERE.quaternion).as_matrix().T)


@pytest.mark.parametrize("robot", ["panda", "panda_on_mount"])
def test_an_arm_reaches_from_its_base_to_its_tool(robot):
    base = (0.3, 0.0, 0.1, 0.0, 0.0, 1.0)
    kinematics = ForwardKinematics(robot, "panda_hand_tcp", base)
    names, positions = kinematics.joint_names, np.linspace(-0.5, 0.5, len(kinematics.joint_names))
    links = markers.Arm(robot, "panda_hand_tcp", base).poses(names, positions)
    tool = Pose.from_euler(kinematics.tool_pose(names, positions))
    assert next(iter(links)) == markers.links_to(robot, "panda_hand_tcp")[0] and list(links)[-1] == "panda_hand_tcp"
    assert np.allclose(next(iter(links.values())).position, base[:3])
    assert np.allclose(links["panda_hand_tcp"].position, tool.position)
    drawn = markers.draw_arm(links)
    assert drawn.points.shape == (len(links), 3) and drawn.connected


def test_an_unknown_frame_is_told_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"no frame 'hand'; its frames are: .*panda_hand_tcp"):
        markers.links_to("panda", "hand")


def test_what_is_no_urdf_is_told(tmp_path):
    (tmp_path / "robot.urdf").write_text("<robot><joint/></robot>", "utf-8")
    with pytest.raises(ConfigError, match="no URDF that can be read"):
        markers.links_to(str(tmp_path / "robot.urdf"), "hand")


def test_a_camera_on_the_hand_is_found_by_way_of_its_parents():
    ahead = Pose(np.array([0.0, 0.0, 0.1]), Rotation.from_euler("z", np.pi / 2).as_quat())
    parents = {"lens": ("bracket", ahead), "bracket": ("hand", ahead)}
    found = markers.find_pose("lens", parents, {"hand": HERE})
    assert found is not None
    assert np.allclose(found.position, HERE.position + Rotation.from_quat(HERE.quaternion).apply([0, 0, 0.2]))
    turned = Rotation.from_quat(HERE.quaternion).inv() * Rotation.from_quat(found.quaternion)
    assert np.isclose(turned.magnitude(), np.pi)


def test_a_frame_without_a_way_to_the_robot_or_in_a_circle_is_nowhere():
    assert markers.find_pose("lens", {"lens": ("bracket", ORIGIN)}, {"hand": HERE}) is None
    assert markers.find_pose("a", {"a": ("b", ORIGIN), "b": ("a", ORIGIN)}, {"hand": HERE}) is None
