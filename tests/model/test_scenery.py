"""A stack's messages become what is so now, and no longer."""

from types import SimpleNamespace as Message

import numpy as np
import pytest
from demonstration_making import ARM, CHUNKS, HOME, JOINTS, KINEMATICS, STORE, TARGET_POSE, chunk, joints, pose_message

from worldagen.errors import BadChunk, BadCommand, BadObservation
from worldagen.exploring import Envelope
from worldagen.limits import LimitsConfig
from worldagen.markers import Arm, draw_bounds
from worldagen.poses import Pose
from worldagen.scenery import Scenery

SECOND_NS = 1_000_000_000
TOOL = Pose.from_euler(KINEMATICS.tool_pose(ARM, HOME))
ROWS = np.tile([0.0, 0.0, -0.01, 0.0, 0.0, 0.0, 1.0], (3, 1))
MOVING = Arm("panda", "panda_hand_tcp", (0.0,) * 6)


@pytest.fixture
def scenery():
    return Scenery(KINEMATICS, MOVING, draw_bounds(LimitsConfig(), Envelope()), "world")


def at(seconds: float, positions=HOME):
    return STORE.deserialize_cdr(joints(round(seconds * SECOND_NS), ARM, positions), JOINTS.type)


def asked(seconds: float, rows=ROWS, period_s: float = 0.1):
    return STORE.deserialize_cdr(chunk(round(seconds * SECOND_NS), rows, period_s), CHUNKS.type)


def told(seconds: float, pose=TOOL):
    return STORE.deserialize_cdr(pose_message(round(seconds * SECOND_NS), pose), TARGET_POSE.type)


def names(scenery: Scenery) -> list[str]:
    return [drawing.name for drawing in scenery.drawings()]


def test_bounds_stand_before_anything_is_heard(scenery):
    assert names(scenery) == ["workspace", "envelope"]


def test_a_plan_stands_from_the_tool_until_it_was_played_out(scenery):
    scenery.joints(at(10.0))
    scenery.chunk(asked(10.0))
    plan = scenery.moving()[1]
    assert plan.name == "chunk" and np.allclose(plan.points, TOOL.position + np.outer(range(4), ROWS[0, :3]))
    scenery.joints(at(10.3))
    assert scenery.moving()[1] is plan
    scenery.joints(at(10.31))
    assert names(scenery)[2:] == ["arm"]


def test_a_command_stands_a_second_long(scenery):
    scenery.joints(at(10.0))
    scenery.target(told(10.0))
    assert np.allclose(scenery.moving()[1].points[0], TOOL.position)
    scenery.joints(at(11.0))
    assert names(scenery)[2:] == ["arm"]


def test_a_robot_that_was_put_elsewhere_has_neither_plan_nor_command(scenery):
    scenery.joints(at(10.0))
    scenery.chunk(asked(10.0, period_s=0.9))
    scenery.target(told(10.0))
    assert names(scenery)[2:] == ["arm", "chunk", "commanded"]
    scenery.joints(at(9.5))
    assert names(scenery)[2:] == ["arm"]


def test_a_plan_that_nobody_knows_the_begin_of_is_not_drawn(scenery):
    scenery.joints(at(10.0))
    scenery.chunk(asked(12.0))
    assert names(scenery)[2:] == ["arm"]


def test_what_is_no_state_plan_or_command_is_refused_and_changes_nothing(scenery):
    scenery.joints(at(10.0))
    scenery.chunk(asked(10.0))
    before = scenery.moving()[1]
    with pytest.raises(BadObservation, match="not finite"):
        scenery.joints(at(10.1, np.full(7, np.nan)))
    with pytest.raises(BadChunk, match="holds nan"):
        scenery.chunk(asked(10.1, np.full((3, 7), np.nan)))
    with pytest.raises(BadCommand, match="quaternion"):
        scenery.target(told(10.1, Pose(TOOL.position, 2 * TOOL.quaternion)))
    assert scenery.stamp_ns == 10 * SECOND_NS and scenery.moving()[1] is before


def camera(frame: str, focal_length: float = 60.0):
    matrix = [focal_length, 0.0, 32.0, 0.0, focal_length, 24.0, 0.0, 0.0, 1.0]
    return Message(header=Message(frame_id=frame), width=64, height=48, k=matrix)


def frame(child: str, parent: str, z: float, w: float = 1.0):
    transform = Message(translation=Message(x=0.0, y=0.0, z=z), rotation=Message(x=0.0, y=0.0, z=0.0, w=w))
    return Message(child_frame_id=child, header=Message(frame_id=parent), transform=transform)


def test_cameras_are_drawn_where_static_frames_put_them(scenery):
    scenery.joints(at(10.0))
    scenery.camera("static_camera", camera("static_lens"))
    scenery.camera("wrist_camera", camera("wrist_lens"))
    assert names(scenery)[2:] == ["arm"]  # nobody knows where they are
    scenery.frames(Message(transforms=[frame("static_lens", "world", 1.5), frame("bracket", "panda_hand", 0.02)]))
    scenery.frames(Message(transforms=[frame("wrist_lens", "/bracket", 0.03)]))
    drawn = {drawing.name: drawing.points for drawing in scenery.moving()}
    assert drawn["static_camera"].shape == (16, 3) and drawn["static_camera"][0].tolist() == [0.0, 0.0, 1.5]
    assert np.isclose(np.linalg.norm(drawn["wrist_camera"][0] - TOOL.position), 0.1034 - 0.05)  # above the finger tips


def test_a_frame_that_is_no_pose_is_told_and_the_others_are_kept(scenery):
    scenery.joints(at(10.0))
    scenery.camera("static_camera", camera("lens"))
    with pytest.raises(BadObservation, match=r"broken at .* length 3"):
        scenery.frames(Message(transforms=[frame("broken", "world", 0.0, w=3.0), frame("lens", "world", 1.0)]))
    assert "static_camera" in names(scenery)


def test_a_camera_without_a_focal_length_is_refused(scenery):
    with pytest.raises(BadObservation, match="focal lengths above 0"):
        scenery.camera("static_camera", camera("lens", focal_length=0.0))
