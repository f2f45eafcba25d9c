"""What may differ from scene to scene, as numbers; the model is generated from them.

Lengths in metres, angles in degrees where a name says so, colours red, green, blue in 0..1. World frame: CALVIN's, z up,
robot base at (-0.34, -0.46, 0.24) facing +x, table top at z = 0.46, drawer opening towards -y.
"""

from dataclasses import dataclass
from math import cos, radians, sin

from worldagen.errors import UnknownName

Colour = tuple[float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class StaticCamera:
    """A camera that looks at a point from a direction; azimuth -90 is straight in front of the table (-y), 0 is +x."""

    look_at_m: Point = (0.025, -0.10, 0.44)
    azimuth_deg: float = -54.0
    elevation_deg: float = 38.0
    distance_m: float = 2.5
    field_of_view_deg: float = 20.0

    @property
    def position_m(self) -> Point:
        level = self.distance_m * cos(radians(self.elevation_deg))
        return (
            self.look_at_m[0] + level * cos(radians(self.azimuth_deg)),
            self.look_at_m[1] + level * sin(radians(self.azimuth_deg)),
            self.look_at_m[2] + self.distance_m * sin(radians(self.elevation_deg)),
        )


@dataclass(frozen=True)
class Lighting:
    """One lamp far away that throws shadows, a headlight at the camera, and ambient light; each a share of full white."""

    direction: Point = (-0.35, 0.30, -0.90)
    lamp: float = 0.55
    headlight: float = 0.22
    ambient: float = 0.30


@dataclass(frozen=True)
class SceneParameters:
    """Everything the model generator needs to know about one scene."""

    name: str
    table_colour: Colour
    cabinet_colour: Colour
    drawer_colour: Colour
    handle_colour: Colour
    back_colour: Colour
    floor_colour: Colour
    drawer_x_m: float = 0.13
    block_edge_m: float = 0.05
    camera: StaticCamera = StaticCamera()
    lighting: Lighting = Lighting()


SCENES = {
    scene.name: scene
    for scene in (
        SceneParameters(
            name="A",
            table_colour=(0.78, 0.62, 0.44),
            cabinet_colour=(0.60, 0.44, 0.30),
            drawer_colour=(0.86, 0.78, 0.64),
            handle_colour=(0.30, 0.30, 0.33),
            back_colour=(0.68, 0.52, 0.36),
            floor_colour=(0.47, 0.50, 0.54),
        ),
        SceneParameters(
            name="B",
            table_colour=(0.80, 0.81, 0.79),
            cabinet_colour=(0.36, 0.47, 0.56),
            drawer_colour=(0.66, 0.76, 0.82),
            handle_colour=(0.82, 0.60, 0.20),
            back_colour=(0.52, 0.62, 0.70),
            floor_colour=(0.62, 0.56, 0.48),
            drawer_x_m=0.10,
            camera=StaticCamera(azimuth_deg=-58.0, elevation_deg=40.0),
            lighting=Lighting(direction=(0.30, 0.35, -0.88)),
        ),
        SceneParameters(
            name="C",
            table_colour=(0.55, 0.66, 0.52),
            cabinet_colour=(0.86, 0.84, 0.78),
            drawer_colour=(0.42, 0.50, 0.40),
            handle_colour=(0.90, 0.88, 0.84),
            back_colour=(0.74, 0.76, 0.66),
            floor_colour=(0.36, 0.38, 0.40),
            drawer_x_m=0.16,
            camera=StaticCamera(azimuth_deg=-50.0, elevation_deg=36.0),
            lighting=Lighting(direction=(-0.45, 0.10, -0.88), lamp=0.60, ambient=0.26),
        ),
        SceneParameters(
            name="D",
            table_colour=(0.42, 0.38, 0.44),
            cabinet_colour=(0.30, 0.30, 0.34),
            drawer_colour=(0.84, 0.72, 0.32),
            handle_colour=(0.88, 0.88, 0.90),
            back_colour=(0.50, 0.42, 0.52),
            floor_colour=(0.70, 0.66, 0.62),
            drawer_x_m=0.19,
            camera=StaticCamera(look_at_m=(0.035, -0.09, 0.44), azimuth_deg=-45.0, elevation_deg=43.0),
            lighting=Lighting(direction=(0.15, 0.50, -0.85), lamp=0.50, headlight=0.30, ambient=0.30),
        ),
    )
}


def find_scene(name: str) -> SceneParameters:
    """The scene of that name; raises UnknownName with the list of those that exist."""
    if name not in SCENES:
        raise UnknownName("playtable scene", name, SCENES)
    return SCENES[name]
