"""Scenes vary from episode to episode without a jump, D lies outside the rest, and perturbations grow with their strength."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.playtable.draws import Draws
from worldagen_sim.playtable.perturbations import PERTURBATIONS, find_scene
from worldagen_sim.playtable.scenes import SCENES, check_scene

SEEDS = range(60)


def numbers_of(scene):
    """Every number of a scene by name."""
    flat = {}

    def walk(name, value):
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{name}.{key}", item)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                walk(f"{name}[{index}]", item)
        elif isinstance(value, int | float):
            flat[name] = float(value)

    walk("", asdict(scene))
    return flat


def spread_of(name, pick):
    return [pick(SCENES[name].varied(Draws(seed))) for seed in SEEDS]


# What stays as it is: the lens, the pattern's contrast, and the perturbation's own numbers.
FIXED = ("field_of_view", "strength", "foreign")


@pytest.mark.parametrize("name", ["A", "B", "C", "D"])
def test_every_number_of_a_scene_is_drawn_anew_in_every_episode(name):
    episodes = [numbers_of(SCENES[name].varied(Draws(seed))) for seed in range(5)]
    still = {key for key in episodes[0] if len({episode[key] for episode in episodes}) < 5}
    assert {key for key in still if not any(word in key for word in FIXED)} == set()


@pytest.mark.parametrize(
    "pick",
    [
        lambda scene: scene.drawer_x_m,
        lambda scene: scene.slider_x_m,
        lambda scene: scene.camera.azimuth_deg,
        lambda scene: scene.camera.elevation_deg,
        lambda scene: scene.lighting.direction[1],
    ],
)
def test_d_lies_outside_what_a_to_c_show(pick):
    trained = [number for name in "ABC" for number in spread_of(name, pick)]
    new = spread_of("D", pick)
    assert min(new) > max(trained) or max(new) < min(trained)


def test_neighbouring_scenes_overlap_in_part():
    drawers = {name: spread_of(name, lambda scene: scene.drawer_x_m) for name in "ABC"}
    assert min(drawers["A"]) < max(drawers["B"]) and min(drawers["C"]) < max(drawers["A"])


@pytest.mark.parametrize("base", SCENES)
def test_every_episode_of_every_scene_can_be_built(base):
    for seed in SEEDS:
        check_scene(SCENES[base].varied(Draws(seed)))


@pytest.mark.parametrize("kind", PERTURBATIONS)
@pytest.mark.parametrize("base", SCENES)
def test_every_perturbation_at_full_strength_can_be_built(base, kind):
    for direction in range(12):
        scene = find_scene(f"{base}+{kind}@{direction}:1")
        for seed in range(5):
            check_scene(scene.varied(Draws(seed)))


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_strength_nought_changes_nothing_and_half_changes_half(kind):
    plain, half, full = (numbers_of(find_scene(f"A+{kind}:{strength}")) for strength in (0, 0.5, 1))
    own = numbers_of(SCENES["A"])
    assert {key: plain[key] for key in own if "foreign[" not in key} == {k: v for k, v in own.items() if "foreign[" not in k}
    changed = [key for key in own if "foreign[" not in key and full[key] != own[key]]
    assert changed
    for key in changed:
        assert half[key] - own[key] == pytest.approx((full[key] - own[key]) / 2, abs=0.012)  # places end at their limits


def test_perturbations_add_up_and_have_directions():
    both = find_scene("B+light@2:0.5+camera:1")
    assert both.camera == find_scene("B+camera:1").camera
    assert both.lighting == find_scene("B+light@2:0.5").lighting
    assert both.lighting != find_scene("B+light:0.5").lighting
    assert both.name == "B+light@2:0.5+camera:1"


def test_a_texture_perturbation_shows_in_the_picture_in_step_with_its_strength(playtable):
    pictures = []
    for strength in (0, 0.3, 1):
        playtable.reset("open_drawer", f"A+texture:{strength}", 0)
        pictures.append(playtable.render()["static"].astype(float))
    little, much = (np.abs(picture - pictures[0]).mean() for picture in pictures[1:])
    assert 0.5 < little < 0.6 * much


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Z", "unknown playtable scene 'Z'; choose one of: A, B, C, D"),
        ("A+fog:1", "unknown playtable perturbation 'fog'; choose one of: cabinet, camera, light, texture"),
        ("A+camera", "cannot read 'camera'; expected e.g. camera:0.5"),
        ("A+camera:1.5", "the strength of camera is 1.5; expected 0 to 1"),
        ("A+camera:nan", "cannot read"),
    ],
)
def test_scene_names_that_mean_nothing_are_refused(name, words):
    with pytest.raises((UnknownName, SimulatorError)) as refused:
        find_scene(name)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drawer_x_m": 0.5}, "drawer_x_m is 0.5; expected -0.06 to 0.28"),
        ({"block_mass_kg": float("nan")}, "block_mass_kg is nan"),
        ({"block_edges_m": (0.05, 0.09, 0.05)}, r"block_edges_m\[1\] is 0.09; expected 0.04 to 0.06"),
        ({"button_m": (-0.2, 0.0)}, "one on each side of the blocks"),
        ({"switch_m": (-0.33, 0.2)}, r"switch_m\[1\] is 0.2"),
    ],
)
def test_impossible_scene_parameters_are_refused_by_name(change, words):
    with pytest.raises(SimulatorError, match=words):
        check_scene(replace(SCENES["A"], **change))
