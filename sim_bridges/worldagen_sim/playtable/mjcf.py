"""The whole model: scene parameters in, MJCF text out.

Every geom has a plain colour or a picture and reflects no highlight, and the lamp is directional: so the two renderers can
agree to the last few grey levels. The pictures themselves are written into the compiled model (textures.py).
"""

from xml.etree.ElementTree import Element, tostring

from worldagen_sim.playtable.desk import add_blocks, add_desk, add_exclusions
from worldagen_sim.playtable.elements import add
from worldagen_sim.playtable.panda import BASE_M, WHITE, add_panda, add_panda_servos
from worldagen_sim.playtable.rendering import CAMERAS
from worldagen_sim.playtable.scenes import Lighting, SceneParameters, StaticCamera
from worldagen_sim.playtable.surfaces import TABLE_TOP_M, add_surfaces
from worldagen_sim.playtable.textures import add_textures

PHYSICS_STEP_S = 1 / 240
TABLE_CENTRE_M = (0.0, 0.0, TABLE_TOP_M)
BACKGROUND = (0.80, 0.83, 0.86)


def build_mjcf(scene: SceneParameters) -> str:
    """The MJCF of one episode's scene."""
    mjcf = Element("mujoco", model=f"playtable_{scene.name}")
    add(mjcf, "compiler", angle="radian", autolimits=True)
    # Pinned: success rates and recorded episodes hang on these.
    add(mjcf, "option", timestep=PHYSICS_STEP_S, integrator="implicitfast", cone="elliptic", impratio=10)
    add(mjcf, "statistic", extent=1.0, center=(0, 0, 0.4))
    # Between fingers and block the pads' own, higher, friction counts.
    add(add(mjcf, "default"), "geom", friction=(scene.table_friction, 0.02, 0.0005))
    _add_looks(mjcf, scene)
    world = add(mjcf, "worldbody")
    _add_lamp(world, scene.lighting)
    _add_static_camera(world, scene.camera)
    add(
        world,
        "geom",
        name="pedestal",
        type="box",
        pos=(*BASE_M[:2], BASE_M[2] / 2),
        size=(0.11, 0.09, BASE_M[2] / 2),
        rgba=WHITE,
    )
    add_desk(world, scene)
    add_panda(world)
    add_blocks(world, scene)
    # Drawn in this order: what the other things hide of these large pictures is then never painted.
    add_surfaces(add(world, "body", name="surfaces"))
    add_exclusions(mjcf)
    add_panda_servos(mjcf)
    return tostring(mjcf, encoding="unicode")


def _add_looks(mjcf: Element, scene: SceneParameters) -> None:
    """Quality settings measured to be four times faster than MuJoCo's own under a software renderer."""
    visual, largest = add(mjcf, "visual"), max(CAMERAS.values())
    add(visual, "global", offwidth=largest, offheight=largest)
    # One quad per flat face loses nothing: all light is directional, so a face has one brightness.
    add(visual, "quality", offsamples=0, shadowsize=256, numslices=16, numstacks=6, numquads=1)
    light = scene.lighting
    add(visual, "headlight", ambient=(light.ambient,) * 3, diffuse=(light.headlight,) * 3, specular=(0, 0, 0))
    add(visual, "map", znear=0.01, zfar=20, shadowclip=1, haze=0)
    assets = add(mjcf, "asset")
    add(assets, "texture", type="skybox", builtin="flat", rgb1=BACKGROUND, rgb2=BACKGROUND, width=8, height=48)
    add_textures(assets)


def _add_lamp(world: Element, light: Lighting) -> None:
    # The place of a directional light is where its shadow map is centred: elsewhere than above the table, surfaces speckle.
    place = [centre - 2.0 * along for centre, along in zip(TABLE_CENTRE_M, light.direction, strict=True)]
    add(
        world,
        "light",
        name="lamp",
        type="directional",
        pos=place,
        dir=light.direction,
        diffuse=(light.lamp,) * 3,
        ambient=(0, 0, 0),
        specular=(0, 0, 0),
        castshadow=True,
    )


def _add_static_camera(world: Element, camera: StaticCamera) -> None:
    position, target = camera.position_m, camera.look_at_m
    back = [here - there for here, there in zip(position, target, strict=True)]
    right = (-back[1], back[0], 0.0)
    up = (-back[2] * back[0], -back[2] * back[1], back[0] ** 2 + back[1] ** 2)
    add(world, "camera", name="static", pos=position, fovy=camera.field_of_view_deg, xyaxes=(*right, *up))
