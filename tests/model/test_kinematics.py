"""Joint states become tool poses: checked by hand, against the simulator, and for what is refused."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from worldagen.errors import BadObservation, ConfigError
from worldagen.kinematics import ROBOTS, ForwardKinematics, find_robot

ARM = tuple(f"panda_joint{number}" for number in range(1, 8))
READY = (0.0, 0.0, 0.0, -np.pi / 2, 0.0, np.pi / 2, np.pi / 4)


def test_the_ready_posture_is_where_a_ruler_says():
    pose = ForwardKinematics("panda", "panda_hand_tcp").tool_pose(ARM, READY)
    # The upper arm stands upright, the forearm level, the hand points down.
    assert pose[:3] == pytest.approx([0.0825 + 0.384 + 0.088, 0.0, 0.333 + 0.316 + 0.0825 - 0.107 - 0.1034])
    assert Rotation.from_euler("xyz", pose[3:]).as_matrix() == pytest.approx(np.diag([1.0, -1.0, -1.0]), abs=1e-9)


def test_the_order_of_names_does_not_matter_and_other_joints_are_ignored():
    kinematics = ForwardKinematics("panda", "panda_hand_tcp")
    shuffled = ["panda_finger_joint1", *reversed(ARM), "a_wheel"]
    assert kinematics.tool_pose(shuffled, [0.04, *reversed(READY), 1.0]) == pytest.approx(kinematics.tool_pose(ARM, READY))


def test_the_base_pose_moves_and_turns_the_tool():
    at_origin = ForwardKinematics("panda", "panda_hand_tcp").tool_pose(ARM, READY)
    turned = ForwardKinematics("panda", "panda_hand_tcp", (1.0, 2.0, 3.0, 0.0, 0.0, np.pi / 2)).tool_pose(ARM, READY)
    assert turned[:3] == pytest.approx([1.0 - at_origin[1], 2.0 + at_origin[0], 3.0 + at_origin[2]])
    assert np.sin(turned[5] - at_origin[5]) == pytest.approx(1.0)


def test_a_mount_is_a_base_pose_that_comes_with_the_joints():
    mounted, mount = ForwardKinematics("panda_on_mount", "panda_hand_tcp"), ("panda_mount_z", "panda_mount_x", "panda_mount_y")
    moved = mounted.tool_pose((*ARM, *mount), (*READY, 0.912, -0.66, 0.1))
    fixed = ForwardKinematics("panda", "panda_hand_tcp", (-0.66, 0.1, 0.912, 0.0, 0.0, 0.0))
    assert moved == pytest.approx(fixed.tool_pose((*ARM, *mount), (*READY, 0.912, -0.66, 0.1)))  # which ignores a mount
    assert mounted.gripper_opening(("panda_finger_joint1", "panda_mount_x"), (0.04, 0.0)) == 1.0
    with pytest.raises(BadObservation, match="lacks panda_mount_x, panda_mount_y, panda_mount_z"):
        mounted.tool_pose(ARM, READY)


def test_missing_joints_are_named():
    with pytest.raises(BadObservation, match="lacks panda_joint2, panda_joint7"):
        ForwardKinematics("panda", "panda_hand_tcp").tool_pose(
            [name for name in ARM if name[-1] not in "27"], [0.0, 0.0, -1.0, 0.0, 1.0]
        )


def test_positions_that_are_not_finite_are_named():
    with pytest.raises(BadObservation, match="not finite for panda_joint3"):
        ForwardKinematics("panda", "panda_hand_tcp").tool_pose(ARM, [0.0, 0.0, np.nan, 0.0, 0.0, 0.0, 0.0])


def test_names_without_positions_are_refused():
    with pytest.raises(BadObservation, match="7 names and 6 positions"):
        ForwardKinematics("panda", "panda_hand_tcp").tool_pose(ARM, READY[:6])


def test_an_unknown_tool_frame_is_refused_with_the_frames_that_exist():
    with pytest.raises(ConfigError, match=r"no frame 'spoon'.*panda_hand, .*panda_hand_tcp"):
        ForwardKinematics("panda", "spoon")


def test_an_unknown_robot_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match="one of: fr3, panda"):
        ForwardKinematics("spot", "hand")


def test_a_robot_can_be_given_as_a_file(tmp_path):
    copy = tmp_path / "mine.urdf"
    copy.write_text(find_robot("panda").read_text(encoding="utf-8"), encoding="utf-8")
    assert ForwardKinematics(str(copy), "panda_hand").joint_names == ARM


def test_a_file_that_is_no_urdf_is_refused(tmp_path):
    scrap = tmp_path / "scrap.urdf"
    scrap.write_text("not a robot", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read as a URDF"):
        ForwardKinematics(str(scrap), "hand")


def test_a_base_pose_of_five_numbers_is_refused():
    with pytest.raises(ConfigError, match="6 finite numbers"):
        ForwardKinematics("panda", "panda_hand_tcp", (0.0,) * 5)


def test_every_robot_that_comes_with_us_can_be_read():
    assert all(find_robot(name).is_file() for name in ROBOTS)


def test_it_agrees_with_the_simulator_over_random_motions():
    pytest.importorskip("mujoco")
    from worldagen_sim.playtable import make_playtable
    from worldagen_sim.playtable.panda import BASE_M

    kinematics = ForwardKinematics("panda", "panda_hand_tcp", (*BASE_M, 0.0, 0.0, 0.0))
    playtable, random = make_playtable(renderer="raycast"), np.random.default_rng(0)
    for seed in range(5):
        state = playtable.reset("open_drawer", "A", seed)
        for _ in range(30):
            pose = kinematics.tool_pose(state.joint_names, state.joint_positions)
            assert np.linalg.norm(pose[:3] - state.tcp_pose[:3]) < 1e-3
            turn = Rotation.from_euler("xyz", pose[3:]) * Rotation.from_euler("xyz", state.tcp_pose[3:]).inv()
            assert turn.magnitude() < 0.01
            state = playtable.step(random.uniform(-0.05, 0.05, size=7))


@pytest.mark.parametrize(
    ("fingers", "opening"),
    [((0.04, 0.04), 1.0), ((0.0395, 0.0395), 1.0), ((0.028, 0.028), 0.0), ((0.0, 0.0), 0.0), ((0.04, 0.03), 0.0)],
)
def test_a_gripper_is_open_when_its_fingers_stand_at_their_limits(fingers, opening):
    panda = ForwardKinematics("panda", "panda_hand_tcp")
    names = ("panda_finger_joint1", "panda_joint1", "panda_finger_joint2")
    assert panda.gripper_opening(names, (fingers[0], 0.3, fingers[1])) == opening


def test_without_fingers_in_the_joint_state_the_opening_is_unknown():
    assert ForwardKinematics("panda", "panda_hand_tcp").gripper_opening(("panda_joint1",), (0.0,)) is None
