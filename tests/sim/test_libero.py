"""LIBERO itself, where its environment and a set of its assets are: its episodes, conventions and pictures, as we show them."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from libero_here import BOWL, COOKIES, POTS, STOVE, TASKS, require_libero
from scipy.spatial.transform import Rotation

from worldagen.errors import SimulatorError, UnknownName
from worldagen.kinematics import ForwardKinematics
from worldagen_sim.environment import make_environment
from worldagen_sim.libero import find_python
from worldagen_sim.libero.initial_states import read_initial_states
from worldagen_sim.remote.environment import RemoteEnvironment
from worldagen_sim.remote.process import Launch

ROOT = Path(__file__).parents[2]
DEPLOYMENT = ROOT / "ros2_ws/src/worldagen_ros/config/libero.yaml"
FULL_SCALE = np.array([0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0])
AGENTVIEW_M = np.array([0.5886131746834771, 0.0, 1.4903500240372423])  # LIBERO's static camera, from its own source
AGENTVIEW_WXYZ = (0.6380177736282349, 0.3048497438430786, 0.30484986305236816, 0.6380177736282349)

pytestmark = pytest.mark.timeout(300)  # the first start of all compiles for half a minute and more


@pytest.fixture(scope="module")
def libero():
    require_libero()
    environment = make_environment("libero")
    yield environment
    environment.close()


@pytest.fixture(scope="module")
def kinematics():
    robot = yaml.safe_load(DEPLOYMENT.read_text("utf-8"))["robot"]
    return ForwardKinematics(robot["urdf"], "panda_hand_tcp", robot["base_pose"], robot["tool_offset"])


def numbers(state):
    return np.concatenate([state.joint_positions, state.joint_velocities, state.tcp_pose, list(state.values.values())])


def row(**named):
    names = ("x", "y", "z", "rx", "ry", "rz", "opening")
    return np.array([named.get(name, 1.0 if name == "opening" else 0.0) for name in names])


def stored_states(suite, task):
    (package,) = Path(find_python()).parents[1].glob("lib/python3.*/site-packages/libero/libero")
    return read_initial_states(package / "init_files" / suite / f"{task}.pruned_init")


def test_it_offers_the_tasks_of_all_suites_and_says_what_it_is(libero):
    assert libero.scenes == ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
    assert len({task.name for task in libero.tasks}) == 130
    assert libero.tasks[30 + 2].name == STOVE and libero.tasks[30 + 8].name == POTS  # its own numbers
    assert libero.tasks[32].instruction == "turn on the stove and put the moka pot on it"
    assert "robosuite 1.4" in libero.version and "settled open 10" in libero.version
    assert libero.convention.name == "libero" and libero.cameras["static"].width == 128


@pytest.mark.parametrize(("suite", "task"), TASKS, ids=["stove", "pots", "bowl", "cookies"])
def test_an_episode_is_its_seed_and_its_hand_is_where_the_joints_say(libero, kinematics, suite, task):
    rows = np.random.default_rng(1).uniform(-1, 1, (8, 7)) * FULL_SCALE
    other = libero.reset(task, suite, 4)
    played = []
    for _ in range(2):
        states = [libero.reset(task, suite, 3), *(libero.step(one) for one in rows)]
        assert states[0].time_ns == 0 and states[-1].time_ns == 400_000_000 and not any(state.success for state in states)
        played.append(np.array([numbers(state) for state in states]))
    assert np.array_equal(*played) and np.abs(played[0][0] - numbers(other)).max() > 1e-3
    for state in states:
        pose = kinematics.tool_pose(state.joint_names, state.joint_positions)
        assert np.linalg.norm(pose[:3] - state.tcp_pose[:3]) < 1e-6
        turn = Rotation.from_euler("xyz", pose[3:]) * Rotation.from_euler("xyz", state.tcp_pose[3:]).inv()
        assert turn.magnitude() < 1e-6
    assert kinematics.gripper_opening(other.joint_names, other.joint_positions) == 1.0
    libero.reset(task, suite, 3 + 50)
    assert libero.conditions == {"initial state": "3 of 50"}


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """Another process, which settles as the published evaluation does, tells what LIBERO observes, and has no home yet."""
    require_libero()
    options = {
        "renderer": "auto",
        "suites": ["libero_spatial"],
        "size": 96,
        "settle_steps": 5,
        "settle": "still",
        "shows_before_settling": True,
    }
    home, paths = tmp_path_factory.mktemp("home"), (str(Path(__file__).parent / "workers"),)
    variables = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "drivers")}
    environment = RemoteEnvironment(Launch("libero", "libero_observed:make_observed", options, find_python(), variables, paths))
    yield environment, home
    environment.close()


def test_the_tool_pose_and_the_fingers_are_what_libero_observes(observed):
    environment, _ = observed
    states = [
        environment.reset(BOWL, "libero_spatial", 9),
        *(environment.step(row(x=0.03, ry=0.2, opening=0.0)) for _ in range(4)),
    ]
    for state in states:
        position, quaternion = ([state.values[f"robot0_eef_{of}{k}"] for k in range(n)] for of, n in (("pos", 3), ("quat", 4)))
        assert state.tcp_pose[:3].tolist() == position
        turn = Rotation.from_euler("xyz", state.tcp_pose[3:]) * Rotation.from_quat(quaternion).inv()
        assert turn.magnitude() < 1e-9
        fingers = [state.values["robot0_gripper_qpos0"], -state.values["robot0_gripper_qpos1"]]
        assert state.joint_positions[10:].tolist() == fingers


def test_a_stored_state_is_restored_the_same_in_every_process(libero, observed):
    stored, played = stored_states("libero_spatial", BOWL)[4], []
    for environment in (libero, observed[0]):
        restored = environment.restore(BOWL, "libero_spatial", stored)
        assert restored.joint_positions[3:10].tolist() == stored[1:8].tolist()
        assert environment.conditions == {"initial state": "restored"}
        moved = environment.step(row(x=0.05, rz=0.2, opening=0.0))
        played.append([*moved.joint_positions, *moved.joint_velocities, *moved.tcp_pose])
    assert played[0] == played[1]
    with pytest.raises(SimulatorError, match=r"92 finite numbers: time, positions, velocities; got \(3,\)"):
        libero.restore(BOWL, "libero_spatial", np.zeros(3))


def test_the_published_evaluation_sees_what_was_before_the_settling(observed):
    environment, _ = observed
    restored = environment.restore(BOWL, "libero_spatial", stored_states("libero_spatial", BOWL)[0])
    picture = environment.render(("static",))["static"]
    first = environment.reset(BOWL, "libero_spatial", 0)
    assert numbers(first).tolist() == numbers(restored).tolist() and first.time_ns == 0
    assert np.array_equal(environment.render(("static",))["static"], picture) and picture.shape == (96, 96, 3)
    settled = environment.step(row(z=0.05))
    assert settled.time_ns == 50_000_000 and not np.array_equal(environment.render(("static",))["static"], picture)


def test_nothing_is_written_into_the_home_folder(observed):
    environment, home = observed
    environment.reset(BOWL, "libero_spatial", 0)
    assert [path.name for path in home.iterdir() if path.name != "drivers"] == []


@pytest.mark.parametrize(("name", "axis"), [("x", 0), ("y", 1), ("z", 2)])
def test_a_row_moves_the_hand_along_its_axis_of_the_world(libero, name, axis):
    before = libero.reset(STOVE, "libero_10", 0)
    for _ in range(5):
        state = libero.step(row(**{name: 0.05}))
    way = state.tcp_pose[:3] - before.tcp_pose[:3]
    assert 0.03 < way[axis] < 0.25 and np.abs(np.delete(way, axis)).max() < 0.3 * way[axis]


def test_a_row_turns_the_hand_about_its_axis_of_the_world(libero):
    before = Rotation.from_euler("xyz", libero.reset(STOVE, "libero_10", 0).tcp_pose[3:])
    for _ in range(5):
        state = libero.step(row(rz=0.2))
    turn = (Rotation.from_euler("xyz", state.tcp_pose[3:]) * before.inv()).as_rotvec()
    assert turn[2] > 0.1 and np.abs(turn[:2]).max() < 0.3 * turn[2]


def test_the_gripper_closes_with_0_and_opens_with_1(libero):
    open_width = libero.reset(STOVE, "libero_10", 0).joint_positions[10:].sum()
    for _ in range(12):
        closed = libero.step(row(opening=0.0))
    assert closed.gripper_opening == 0.0 and closed.joint_positions[10:].sum() < 0.02 < 0.07 < open_width
    for _ in range(12):
        opened = libero.step(row(opening=1.0))
    assert opened.gripper_opening == 1.0 and opened.joint_positions[10:].sum() > 0.07


def test_beyond_full_scale_is_full_scale(libero):
    states = []
    for length in (0.05, 0.4):
        libero.reset(STOVE, "libero_10", 0)
        states.append(libero.step(row(x=length)).joint_positions.tolist())
    assert states[0] == states[1]


def seen_at(place, camera):
    """Where a point of the world is in the static picture: column and row, pixels."""
    w, x, y, z = AGENTVIEW_WXYZ
    right, up, back = Rotation.from_quat([x, y, z, w]).inv().apply(place - AGENTVIEW_M)
    return camera.width / 2 + camera.focal_length * right / -back, camera.height / 2 - camera.focal_length * up / -back


def test_pictures_are_upright_not_mirrored_and_as_large_as_the_camera_says(libero):
    """A pot is put somewhere else; where the picture changes is where the camera's numbers say that it was and is."""
    stored = stored_states("libero_10", STOVE)[0]
    pictures, expected = [], []
    for place in ((0.05, 0.1), (0.15, 0.2)):
        state = stored.copy()
        state[1 + 9 + 7 : 1 + 9 + 7 + 2] = place  # after the time, the robot's nine joints and the pan's seven numbers
        began = libero.restore(STOVE, "libero_10", state)
        pot = np.array([began.values[f"moka_pot_1_{axis}"] for axis in "xyz"])
        assert pot[:2] == pytest.approx(place)
        expected.append(seen_at(pot, libero.cameras["static"]))
        pictures.append(libero.render(("static",))["static"].astype(int))
    changed = np.abs(pictures[0] - pictures[1]).sum(axis=2) > 60
    rows, columns = np.nonzero(changed)
    assert 100 < changed.sum() < 4000
    assert np.mean(columns) == pytest.approx(np.mean([place[0] for place in expected]), abs=8)
    assert np.mean(rows) == pytest.approx(np.mean([place[1] for place in expected]), abs=8)


def test_only_what_is_asked_for_is_drawn_and_drawing_changes_nothing(libero):
    states = []
    for views in ((), ("wrist",), ("static", "wrist")):
        libero.reset(COOKIES, "libero_spatial", 0)
        for _ in range(2):
            pictures = libero.render(views) if views else {}
            state = libero.step(row(z=-0.05))
        assert tuple(pictures) == views and all(picture.shape == (128, 128, 3) for picture in pictures.values())
        states.append(numbers(state).tolist())
    assert states[0] == states[1] == states[2]
    assert all(picture.std() > 10 for picture in pictures.values())


def test_another_light_and_another_place_of_the_camera_change_the_pictures_and_nothing_else(libero):
    plain = libero.reset(BOWL, "libero_spatial", 3)
    before = libero.render()
    other = make_environment("libero", options="suites=libero_spatial; light=0.4; camera_deg=20")
    try:
        assert other.version.endswith("light 0.4, camera 20 degrees")
        changed = other.reset(BOWL, "libero_spatial", 3)
        after = other.render()
    finally:
        other.close()
    assert numbers(changed).tolist() == numbers(plain).tolist()
    assert after["wrist"].mean() < 0.8 * before["wrist"].mean()
    assert np.abs(after["static"].astype(int) - before["static"]).mean() > 20


def test_what_cannot_be_is_refused_and_the_episode_stays(libero):
    before = libero.reset(STOVE, "libero_10", 0)
    with pytest.raises(UnknownName, match="unknown LIBERO suite 'A'; choose one of: libero_10, libero_90"):
        libero.reset(STOVE, "A", 0)
    with pytest.raises(UnknownName, match=f"unknown task of libero_10 '{BOWL}'; choose one of: KITCHEN_SCENE3"):
        libero.reset(BOWL, "libero_10", 0)
    with pytest.raises(SimulatorError, match="begin from stored states; no conditions can be asked for"):
        libero.reset(STOVE, "libero_10", 0, {"stove": "on"})
    with pytest.raises(SimulatorError, match="a world of its own for every task; another task needs a reset"):
        libero.take_up(POTS)
    with pytest.raises(UnknownName, match="unknown libero task 'fly'"):
        libero.take_up("fly")
    assert libero.step(row()).time_ns == before.time_ns + 50_000_000


def test_assets_that_are_missing_are_named_and_nothing_is_fetched(libero):
    if not libero.caveat:
        pytest.skip("the assets here are complete")
    task = "pick_up_the_alphabet_soup_and_place_it_in_the_basket"
    with pytest.raises(SimulatorError, match=rf"cannot build {task}: .*No such file.*name a complete copy in WORLDAGEN_LIBERO"):
        libero.reset(task, "libero_object", 0)
    with pytest.raises(SimulatorError, match="no episode of LIBERO yet; reset first"):
        libero.step(row())
    assert not libero.reset(COOKIES, "libero_spatial", 0).success
