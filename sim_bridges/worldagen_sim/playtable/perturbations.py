"""Scenes by name, and the graded family of perturbations that lies between the trained scenes and beyond them.

    D                           a scene
    A+camera:0.5                scene A with its camera moved half as far as ever
    B+light:1+texture@3:0.25    two at once; @3 is the fourth of endlessly many directions, @0 the one meant without a number

The kinds are camera (pose), light (direction and strength), texture (what table, back board and floor look like, and the
colours of the furniture) and cabinet (places of drawer, sliding cabinet, switch and button). Strength 0 changes nothing, and
every number grows in step with it. A perturbation moves the middle of the scene; episodes vary around it as ever.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.playtable.scenes import SCENES, Colour, SceneParameters, Texture, check_scene

Perturbation = Callable[[SceneParameters, np.random.Generator, float], SceneParameters]

AZIMUTH_DEG, ELEVATION_DEG = 16.0, 9.0  # at strength 1; scene D's camera stands 8 degrees from the nearest trained one
LIGHT_TURN = 0.6  # of the direction's x and y
LIGHT_CHANGE = 0.4  # share of the strength of each light
DRAWER_M, SLIDER_M, CONSOLE_M = 0.10, 0.08, 0.04
# With room for the episodes' own spread.
DRAWER_LIMITS_M, SLIDER_LIMITS_M, CONSOLE_LIMITS_M = (-0.044, 0.262), (-0.252, -0.083), (-0.144, 0.014)
FOREIGN_KINDS = ("checks", "stripes", "tiles", "speckle", "linen")


def perturb_camera(scene: SceneParameters, random: np.random.Generator, strength: float) -> SceneParameters:
    """Move the static camera around the table."""
    angle = random.uniform(0, 2 * np.pi)
    camera = replace(
        scene.camera,
        azimuth_deg=scene.camera.azimuth_deg + strength * AZIMUTH_DEG * float(np.cos(angle)),
        elevation_deg=scene.camera.elevation_deg + strength * ELEVATION_DEG * float(np.sin(angle)),
    )
    return replace(scene, camera=camera)


def perturb_light(scene: SceneParameters, random: np.random.Generator, strength: float) -> SceneParameters:
    """Turn the lamp, and make it and the light from everywhere stronger or weaker."""
    angle, light = random.uniform(0, 2 * np.pi), scene.lighting
    lamp, ambient = 1 + strength * LIGHT_CHANGE * random.uniform(-1, 1, 2)
    x, y, z = light.direction
    turned = (x + strength * LIGHT_TURN * float(np.cos(angle)), y + strength * LIGHT_TURN * float(np.sin(angle)), z)
    lighting = replace(light, direction=turned, lamp=light.lamp * float(lamp), ambient=light.ambient * float(ambient))
    return replace(scene, lighting=lighting)


def perturb_texture(scene: SceneParameters, random: np.random.Generator, strength: float) -> SceneParameters:
    """Blend other textures over table, back board and floor, and other colours over the furniture."""

    def some_colour() -> Colour:
        red, green, blue = (float(channel) for channel in random.uniform(0.3, 0.85, 3))
        return (red, green, blue)

    def some_texture(scale_m: float) -> Texture:
        kind = str(random.choice(FOREIGN_KINDS))
        return Texture(kind, some_colour(), some_colour(), scale_m=scale_m, angle_deg=float(random.uniform(0, 90)))

    def towards(colour: Colour) -> Colour:
        red, green, blue = ((1 - strength) * own + strength * new for own, new in zip(colour, some_colour(), strict=True))
        return (red, green, blue)

    return replace(
        scene,
        foreign=(some_texture(0.06), some_texture(0.06), some_texture(0.4)),
        foreign_share=strength,
        cabinet_colour=towards(scene.cabinet_colour),
        drawer_colour=towards(scene.drawer_colour),
        door_colour=towards(scene.door_colour),
        console_colour=towards(scene.console_colour),
    )


def perturb_cabinet(scene: SceneParameters, random: np.random.Generator, strength: float) -> SceneParameters:
    """Move drawer, sliding cabinet and consoles, as far as the table and the arm allow."""
    drawer, slider, switch, button = strength * random.choice((-1.0, 1.0), 4) * random.uniform(0.6, 1.0, 4)

    def moved(place: tuple[float, float], by_m: float) -> tuple[float, float]:
        return (place[0], float(np.clip(place[1] + by_m, *CONSOLE_LIMITS_M)))

    return replace(
        scene,
        drawer_x_m=float(np.clip(scene.drawer_x_m + drawer * DRAWER_M, *DRAWER_LIMITS_M)),
        slider_x_m=float(np.clip(scene.slider_x_m + slider * SLIDER_M, *SLIDER_LIMITS_M)),
        switch_m=moved(scene.switch_m, float(switch) * CONSOLE_M),
        button_m=moved(scene.button_m, float(button) * CONSOLE_M),
    )


PERTURBATIONS: dict[str, Perturbation] = {
    "camera": perturb_camera,
    "light": perturb_light,
    "texture": perturb_texture,
    "cabinet": perturb_cabinet,
}
PART = re.compile(r"(?P<kind>[a-z]+)(@(?P<direction>\d+))?:(?P<strength>\d*\.?\d+)")


def find_scene(name: str) -> SceneParameters:
    """The middle of the scene of that name. Raises UnknownName, or SimulatorError for a perturbation that cannot be read."""
    base, *parts = name.split("+")
    if base not in SCENES:
        raise UnknownName("playtable scene", base, SCENES)
    scene = SCENES[base]
    for part in parts:
        scene = _perturbed(scene, part, name)
    scene = replace(scene, name=name)
    check_scene(scene)
    return scene


def _perturbed(scene: SceneParameters, part: str, name: str) -> SceneParameters:
    read = PART.fullmatch(part)
    if read is None:
        raise SimulatorError(f"playtable scene {name!r}: cannot read {part!r}; expected e.g. camera:0.5 or camera@3:0.5")
    kind, strength = read["kind"], float(read["strength"])
    if kind not in PERTURBATIONS:
        raise UnknownName("playtable perturbation", kind, PERTURBATIONS)
    if strength > 1.0:
        raise SimulatorError(f"playtable scene {name!r}: the strength of {kind} is {strength:g}; expected 0 to 1")
    random = np.random.default_rng([zlib.crc32(kind.encode()), int(read["direction"] or 0)])
    return PERTURBATIONS[kind](scene, random, strength)
