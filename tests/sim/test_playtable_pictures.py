"""Both renderers show the same scene, everything worth seeing is in the picture, and the choice between them is told."""

import logging

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.playtable import make_playtable, rendering
from worldagen_sim.playtable.mjcf import build_mjcf
from worldagen_sim.playtable.readings import POSE_AXES
from worldagen_sim.playtable.scenes import SCENES

DOWN = np.array([0.0, 0.0, -0.01, 0.0, 0.0, 0.0, 1.0])
# Measured over four scenes and six seeds: pixels that differ by more than 24 of 255, all on silhouettes and shadow edges, are
# 0.5 % of a static and 0.4 % of a wrist picture in the mean, at most 1.5 % and 1.2 %; the mean difference is at most 1.4.
MOST_UNLIKE = {"static": 0.03, "wrist": 0.02}
MOST_MEAN_DIFFERENCE = {"static": 1.8, "wrist": 1.8}


@pytest.fixture(scope="module")
def gl_playtable(gl_platform):
    environment = make_playtable(renderer=gl_platform)
    yield environment
    environment.close()


def draw(environment, scene, seed=0):
    environment.reset("open_drawer", scene, seed)
    for _ in range(5):
        environment.step(DOWN)
    return environment.render()


@pytest.mark.gl
@pytest.mark.parametrize("scene", SCENES)
def test_ray_casting_and_opengl_show_the_same_scene(playtable, gl_playtable, scene):
    cast, drawn = draw(playtable, scene), draw(gl_playtable, scene)
    for camera in ("static", "wrist"):
        difference = np.abs(cast[camera].astype(int) - drawn[camera].astype(int))
        assert (difference.max(axis=-1) > 24).mean() < MOST_UNLIKE[camera]
        assert difference.mean() < MOST_MEAN_DIFFERENCE[camera]


@pytest.mark.gl
def test_an_opengl_context_left_open_says_nothing_at_exit(run_python, gl_platform):
    out, err = run_python(
        "from worldagen_sim.playtable import make_playtable\n"
        f"environment = make_playtable(renderer='{gl_platform}')\n"
        "environment.reset('open_drawer', 'A', 0)\n"
        "print(environment.render()['static'].mean() > 0)\n"
    )
    assert (out.strip(), err) == ("True", "")


@pytest.mark.gl
def test_a_thread_other_than_the_main_one_may_own_the_opengl_context(run_python, gl_platform):
    out, err = run_python(
        "import threading\n"
        "from worldagen_sim.playtable import make_playtable\n"
        f"environment = make_playtable(renderer='{gl_platform}')\n"
        "def work():\n"
        "    environment.reset('open_drawer', 'A', 0)\n"
        "    print(environment.render()['static'].mean() > 0)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start(); thread.join()\n"
    )
    assert (out.strip(), err) == ("True", "")


def test_pictures_have_calvins_sizes(playtable):
    pictures = draw(playtable, "A")
    assert {name: (picture.shape, picture.dtype) for name, picture in pictures.items()} == {
        "static": ((200, 200, 3), np.uint8),
        "wrist": ((84, 84, 3), np.uint8),
    }


@pytest.mark.parametrize("scene", SCENES)
def test_the_work_area_is_framed_and_a_block_is_ten_pixels_wide(scene):
    model = mujoco.MjModel.from_xml_string(build_mjcf(SCENES[scene]))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for x, y, z in ((-0.30, -0.13, 0.47), (0.25, -0.13, 0.47), (-0.18, 0.11, 0.47), (0.25, 0.11, 0.47), (0.16, -0.45, 0.36)):
        assert (np.abs(project(model, data, (x, y, z)) - 100) < 98).all(), (x, y, z)
    assert block_width(model, data, min(SCENES[scene].block_edges_m) / 2) > 10


def block_width(model, data, half):
    """Pixels across a block in the middle of the static picture."""
    corners = [project(model, data, (0.03 + x, y, 0.485)) for x in (-half, half) for y in (-half, half)]
    columns = [corner[0] for corner in corners]
    return max(columns) - min(columns)


def project(model, data, point_m):
    """Column and row of a point in the static picture."""
    camera = data.camera("static")
    right, up, back = (np.array(point_m) - camera.xpos) @ camera.xmat.reshape(3, 3)
    scale = 100 / np.tan(np.radians(model.camera("static").fovy[0]) / 2)
    return np.array([right, -up]) / -back * scale + 100


def test_without_opengl_the_playtable_casts_rays_and_says_why(monkeypatch, caplog):
    monkeypatch.setattr(rendering, "_fault_of_platform", lambda platform: "its library is missing")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with caplog.at_level(logging.WARNING):
        make = rendering.choose_renderer("auto")
    assert make is rendering.make_ray_caster
    assert "egl: its library is missing; osmesa: its library is missing" in caplog.text


def test_an_opengl_platform_that_is_missing_is_refused_when_asked_for_by_name(monkeypatch):
    monkeypatch.setattr(rendering, "_fault_of_platform", lambda platform: "its library is missing")
    with pytest.raises(SimulatorError, match="osmesa: its library is missing"):
        make_playtable(renderer="osmesa")


def test_opengl_that_breaks_while_starting_falls_back_to_ray_casting(monkeypatch, caplog):
    monkeypatch.setattr(rendering, "_fault_of_platform", lambda platform: None)
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setenv("PYOPENGL_PLATFORM", "")
    monkeypatch.setattr("worldagen_sim.playtable.gl_rendering.import_module", lambda name: 1 / 0)
    with caplog.at_level(logging.WARNING):
        renderer = rendering.choose_renderer("auto")()
    assert type(renderer).__name__ == "RayCaster"
    assert "ZeroDivisionError" in caplog.text


def test_opengl_can_be_switched_off_by_the_environment(monkeypatch, caplog):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    assert rendering.choose_renderer("auto") is rendering.make_ray_caster
    assert "MUJOCO_GL is 'disable'" in caplog.text


def test_an_unknown_renderer_is_refused_with_those_that_exist():
    with pytest.raises(UnknownName, match="auto, egl, osmesa, raycast"):
        make_playtable(renderer="oil")


BLOCKS = ("red_block", "blue_block", "pink_block")
DARK_BUT_FULL = {  # of each block's own colour, whatever the light: which of red, green and blue is strongest, and by how much
    "red_block": lambda red, green, blue: red > 3 * max(green, blue),
    "blue_block": lambda red, green, blue: blue > 2 * max(red, green),
    "pink_block": lambda red, green, blue: red > 1.2 * blue > 1.4 * green,
}


@pytest.mark.parametrize(("scene", "seed", "view"), [("B", 5, "static"), ("C", 7, "wrist")])  # where all three can be seen
def test_the_cameras_numbers_say_where_blocks_are_in_the_pictures(playtable, scene, seed, view):
    values = playtable.reset("open_drawer", scene, seed).values
    picture = playtable.render()[view]
    camera = np.array([values[f"{view}_camera_{axis}"] for axis in POSE_AXES])
    half = np.tan(values[f"{view}_camera_fov"] / 2)
    for block in BLOCKS:
        way = np.array([values[f"{block}_{axis}"] for axis in "xyz"]) - camera[:3]
        x, y, z = Rotation.from_euler("xyz", camera[3:]).inv().apply(way)  # to the right, down, into the picture
        right, down = (int((1 + at / z / half) / 2 * len(picture)) for at in (x, y))
        assert DARK_BUT_FULL[block](*picture[down, right].astype(int)), (block, picture[down, right])
