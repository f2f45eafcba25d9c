"""What may differ from scene to scene and from episode to episode, as numbers; the model is generated from them.

Lengths in metres, angles in degrees where a name says so, colours red, green, blue in 0..1. World frame: CALVIN's, z up,
robot base at (-0.34, -0.46, 0.24) facing +x, table top at z = 0.46, drawer opening towards -y.

A scene is a middle; `SceneParameters.varied` draws an episode around it, every number continuously, from the episode's seed.
Train on A, B and C; D is the new place: its camera, cabinet, drawer, switch and button stand outside the range that A, B and
C cover, its colours and textures are its own.
"""

from dataclasses import dataclass, replace
from math import cos, radians, sin

import numpy as np

from worldagen.errors import SimulatorError
from worldagen_sim.playtable.draws import Draws
from worldagen_sim.playtable.textures import Texture

Colour = tuple[float, float, float]
Point = tuple[float, float, float]
Place = tuple[float, float]  # x, y on the table, m

# Half widths of what an episode draws around its scene's middle. Wide enough that neighbouring scenes overlap in part.
AZIMUTH_SPREAD_DEG = 2.0
ELEVATION_SPREAD_DEG = 1.5
LOOK_AT_SPREAD_M = 0.010
DISTANCE_SPREAD_M = 0.04
LIGHT_DIRECTION_SPREAD = 0.12
LIGHT_SPREAD = 0.12  # share of each strength
COLOUR_SPREAD = 0.05
BLOCK_COLOUR_SPREAD = 0.03
TEXTURE_SCALE_SPREAD = 0.1  # share
TEXTURE_ANGLE_SPREAD_DEG = 4.0
DRAWER_SPREAD_M = 0.016
CABINET_SPREAD_M = 0.016
CONSOLE_SPREAD_M = 0.014
BLOCK_EDGE_M = (0.044, 0.056)
BLOCK_MASS_KG = (0.06, 0.10)
TABLE_FRICTION = (0.5, 0.7)  # with more, a pushed block tips over


@dataclass(frozen=True)
class StaticCamera:
    """A camera that looks at a point from a direction; azimuth -90 is straight in front of the table (-y), 0 is +x."""

    look_at_m: Point = (0.0, -0.07, 0.44)
    azimuth_deg: float = -52.0
    elevation_deg: float = 47.0
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

    def varied(self, draws: Draws) -> "StaticCamera":
        """The camera of an episode."""
        return replace(
            self,
            look_at_m=_moved(self.look_at_m, draws.vector("camera look at", 3, LOOK_AT_SPREAD_M)),
            azimuth_deg=self.azimuth_deg + draws("camera azimuth", AZIMUTH_SPREAD_DEG),
            elevation_deg=self.elevation_deg + draws("camera elevation", ELEVATION_SPREAD_DEG),
            distance_m=self.distance_m + draws("camera distance", DISTANCE_SPREAD_M),
        )


@dataclass(frozen=True)
class Lighting:
    """One lamp far away that throws shadows, a headlight at the camera, and ambient light; each a share of full white."""

    direction: Point = (-0.35, 0.30, -0.90)
    lamp: float = 0.55
    headlight: float = 0.22
    ambient: float = 0.36

    def varied(self, draws: Draws) -> "Lighting":
        """The light of an episode."""
        return Lighting(
            direction=_moved(self.direction, draws.vector("light direction", 3, LIGHT_DIRECTION_SPREAD)),
            lamp=self.lamp * (1 + draws("lamp", LIGHT_SPREAD)),
            headlight=self.headlight * (1 + draws("headlight", LIGHT_SPREAD)),
            ambient=self.ambient * (1 + draws("ambient", LIGHT_SPREAD)),
        )


@dataclass(frozen=True)
class SceneParameters:
    """Everything the model generator needs to know about one episode's scene. switch_m and button_m: middles of their consoles.

    block_edges_m: of the red, blue and pink block. foreign: textures of table, back board and floor that are blended over the
    scene's own with this share.
    """

    name: str
    table: Texture
    back_board: Texture
    floor: Texture
    cabinet_colour: Colour
    drawer_colour: Colour
    door_colour: Colour
    handle_colour: Colour
    console_colour: Colour
    drawer_x_m: float
    slider_x_m: float
    switch_m: Place
    button_m: Place
    block_colours: tuple[Colour, Colour, Colour] = ((0.85, 0.13, 0.12), (0.12, 0.27, 0.85), (0.95, 0.47, 0.70))
    block_edges_m: tuple[float, float, float] = (0.05, 0.05, 0.05)
    block_mass_kg: float = 0.08
    table_friction: float = 0.6
    foreign: tuple[Texture, Texture, Texture] = (Texture(), Texture(), Texture())
    foreign_share: float = 0.0
    camera: StaticCamera = StaticCamera()
    lighting: Lighting = Lighting()

    def varied(self, draws: Draws) -> "SceneParameters":
        """The scene of an episode: every number drawn around this one's."""

        def tinted(name: str, colour: Colour) -> Colour:
            return _tinted(colour, draws.vector(f"{name} colour", 3, COLOUR_SPREAD))

        def placed(name: str, place: Place) -> Place:
            x, y = np.array(place) + draws.vector(f"{name} place", 2, CONSOLE_SPREAD_M)
            return (float(x), float(y))

        red, blue, pink = (
            _tinted(colour, draws.vector(f"block colour {index}", 3, BLOCK_COLOUR_SPREAD))
            for index, colour in enumerate(self.block_colours)
        )
        edges = draws.generator("block edges").uniform(*BLOCK_EDGE_M, 3)
        return replace(
            self,
            table=_varied_texture(self.table, "table", draws),
            back_board=_varied_texture(self.back_board, "back board", draws),
            floor=_varied_texture(self.floor, "floor", draws),
            cabinet_colour=tinted("cabinet", self.cabinet_colour),
            drawer_colour=tinted("drawer", self.drawer_colour),
            door_colour=tinted("door", self.door_colour),
            handle_colour=tinted("handle", self.handle_colour),
            console_colour=tinted("console", self.console_colour),
            drawer_x_m=self.drawer_x_m + draws("drawer", DRAWER_SPREAD_M),
            slider_x_m=self.slider_x_m + draws("slider", CABINET_SPREAD_M),
            switch_m=placed("switch", self.switch_m),
            button_m=placed("button", self.button_m),
            block_colours=(red, blue, pink),
            block_edges_m=(float(edges[0]), float(edges[1]), float(edges[2])),
            block_mass_kg=draws.between("block mass", *BLOCK_MASS_KG),
            table_friction=draws.between("table friction", *TABLE_FRICTION),
            camera=self.camera.varied(draws),
            lighting=self.lighting.varied(draws),
        )


SCENES = {
    scene.name: scene
    for scene in (
        SceneParameters(
            name="A",
            table=Texture("wood", (0.80, 0.63, 0.44), (0.64, 0.46, 0.30), scale_m=0.05),
            back_board=Texture("wood", (0.70, 0.54, 0.38), (0.58, 0.42, 0.28), scale_m=0.07, angle_deg=90.0),
            floor=Texture("tiles", (0.50, 0.53, 0.57), (0.42, 0.45, 0.49), scale_m=0.5),
            cabinet_colour=(0.60, 0.44, 0.30),
            drawer_colour=(0.86, 0.78, 0.64),
            door_colour=(0.72, 0.80, 0.76),
            handle_colour=(0.30, 0.30, 0.33),
            console_colour=(0.88, 0.86, 0.80),
            drawer_x_m=0.13,
            slider_x_m=-0.165,
            switch_m=(-0.335, -0.03),
            button_m=(0.245, -0.125),
        ),
        SceneParameters(
            name="B",
            table=Texture("speckle", (0.80, 0.81, 0.79), (0.58, 0.60, 0.62), scale_m=0.03, strength=0.8),
            back_board=Texture("stripes", (0.55, 0.65, 0.72), (0.50, 0.60, 0.68), scale_m=0.06),
            floor=Texture("wood", (0.66, 0.58, 0.48), (0.54, 0.46, 0.37), scale_m=0.12, angle_deg=60.0),
            cabinet_colour=(0.36, 0.47, 0.56),
            drawer_colour=(0.66, 0.76, 0.82),
            door_colour=(0.90, 0.88, 0.82),
            handle_colour=(0.82, 0.60, 0.20),
            console_colour=(0.30, 0.36, 0.42),
            drawer_x_m=0.10,
            slider_x_m=-0.135,
            switch_m=(0.24, -0.11),
            button_m=(-0.33, -0.05),
            camera=StaticCamera(azimuth_deg=-57.0, elevation_deg=49.0),
            lighting=Lighting(direction=(0.30, 0.35, -0.88)),
        ),
        SceneParameters(
            name="C",
            table=Texture("linen", (0.58, 0.68, 0.55), (0.48, 0.58, 0.46), scale_m=0.012),
            back_board=Texture("plain", (0.74, 0.76, 0.66)),
            floor=Texture("speckle", (0.40, 0.42, 0.44), (0.52, 0.53, 0.54), scale_m=0.08, strength=0.7),
            cabinet_colour=(0.86, 0.84, 0.78),
            drawer_colour=(0.42, 0.50, 0.40),
            door_colour=(0.62, 0.46, 0.34),
            handle_colour=(0.90, 0.88, 0.84),
            console_colour=(0.52, 0.42, 0.34),
            drawer_x_m=0.16,
            slider_x_m=-0.195,
            switch_m=(-0.325, -0.065),
            button_m=(0.235, -0.105),
            camera=StaticCamera(azimuth_deg=-47.0, elevation_deg=44.0),
            lighting=Lighting(direction=(-0.45, 0.10, -0.88), lamp=0.60, ambient=0.32),
        ),
        SceneParameters(
            name="D",
            table=Texture("checks", (0.50, 0.44, 0.52), (0.40, 0.35, 0.43), scale_m=0.09, strength=0.8),
            back_board=Texture("tiles", (0.62, 0.50, 0.46), (0.50, 0.40, 0.38), scale_m=0.08),
            floor=Texture("linen", (0.72, 0.68, 0.62), (0.62, 0.58, 0.52), scale_m=0.06),
            cabinet_colour=(0.30, 0.30, 0.34),
            drawer_colour=(0.84, 0.72, 0.32),
            door_colour=(0.34, 0.52, 0.54),
            handle_colour=(0.88, 0.88, 0.90),
            console_colour=(0.78, 0.72, 0.66),
            drawer_x_m=0.22,
            slider_x_m=-0.245,
            switch_m=(-0.325, 0.005),
            button_m=(0.25, -0.145),
            camera=StaticCamera(azimuth_deg=-41.0, elevation_deg=53.0),
            lighting=Lighting(direction=(0.15, 0.64, -0.80), lamp=0.46, headlight=0.30, ambient=0.30),
        ),
    )
}

# What a table can hold, and what the arm reaches: name -> lowest, highest.
RANGES = {
    "drawer_x_m": (-0.06, 0.28),
    "slider_x_m": (-0.27, -0.065),
    "foreign_share": (0.0, 1.0),
    "block_mass_kg": (0.02, 0.3),
    "table_friction": (0.2, 1.0),
}
CONSOLE_X_M = (-0.37, 0.27)
CONSOLE_Y_M = (-0.16, 0.03)
EDGE_RANGE_M = (0.04, 0.06)
LEAST_CONSOLE_DISTANCE_M = 0.45  # blocks are pushed about between the two


def check_scene(scene: SceneParameters) -> None:
    """Raises SimulatorError for parameters of which no table can be made that the arm can work at."""
    found: list[tuple[str, float, tuple[float, float]]]
    found = [(name, getattr(scene, name), limits) for name, limits in RANGES.items()]
    found += [(f"block_edges_m[{index}]", edge, EDGE_RANGE_M) for index, edge in enumerate(scene.block_edges_m)]
    for console in ("switch_m", "button_m"):
        x, y = getattr(scene, console)
        found += [(f"{console}[0]", x, CONSOLE_X_M), (f"{console}[1]", y, CONSOLE_Y_M)]
    found += [
        ("camera.elevation_deg", scene.camera.elevation_deg, (15.0, 80.0)),
        ("camera.distance_m", scene.camera.distance_m, (1.0, 6.0)),
        ("camera.field_of_view_deg", scene.camera.field_of_view_deg, (5.0, 90.0)),
        ("lighting.direction[2]", scene.lighting.direction[2], (-2.0, -0.3)),
        ("lighting.lamp", scene.lighting.lamp, (0.0, 1.5)),
    ]
    for name, value, (low, high) in found:
        if not low <= value <= high:  # NaN is refused too
            raise SimulatorError(f"impossible scene {scene.name!r}: {name} is {value:.4g}; expected {low:g} to {high:g}")
    if abs(scene.switch_m[0] - scene.button_m[0]) < LEAST_CONSOLE_DISTANCE_M:
        raise SimulatorError(
            f"impossible scene {scene.name!r}: switch_m and button_m are {abs(scene.switch_m[0] - scene.button_m[0]):.3f} m "
            f"apart; expected {LEAST_CONSOLE_DISTANCE_M} m or more, one on each side of the blocks"
        )


def _varied_texture(texture: Texture, name: str, draws: Draws) -> Texture:
    tint = draws.vector(f"{name} tint", 3, COLOUR_SPREAD)
    return replace(
        texture,
        colour=_tinted(texture.colour, tint),
        second_colour=_tinted(texture.second_colour, tint),
        scale_m=texture.scale_m * (1 + draws(f"{name} scale", TEXTURE_SCALE_SPREAD)),
        angle_deg=texture.angle_deg + draws(f"{name} angle", TEXTURE_ANGLE_SPREAD_DEG),
        phase=texture.phase + draws.between(f"{name} phase", 0.0, 10.0),
    )


def _moved(point: Point, by: np.ndarray) -> Point:
    x, y, z = (float(number) for number in np.array(point) + by)
    return (x, y, z)


def _tinted(colour: Colour, by: np.ndarray) -> Colour:
    red, green, blue = (float(channel) for channel in np.clip(np.array(colour) + by, 0.02, 0.98))
    return (red, green, blue)
