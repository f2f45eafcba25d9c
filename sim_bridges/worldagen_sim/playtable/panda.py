"""The Franka Panda out of primitives: exact joint frames and limits, the arm's look from capsules and cylinders.

Frames are Franka's modified Denavit-Hartenberg parameters (Franka Control Interface documentation, "Robot and interface
specifications"), written as in franka_ros: x, y, z and a turn about x. Joint limits are those of the Panda data sheet. Masses
are the published identification, rounded; centres of mass and inertias are rough, which gravity compensation and stiff
position servos forgive. Lengths in metres, angles in radians.
"""

from dataclasses import dataclass
from math import pi
from xml.etree.ElementTree import Element

from worldagen_sim.playtable.elements import add, add_inertial


@dataclass(frozen=True)
class ArmJoint:
    """One revolute joint: its frame in the parent link, its limits, the mass it carries, and its servo."""

    offset_m: tuple[float, float, float]
    roll_rad: float
    lower_rad: float
    upper_rad: float
    speed_rad_s: float
    torque_nm: float
    mass_kg: float
    servo_gain: float  # Nm per rad


ARM_JOINTS = (
    ArmJoint((0.0, 0.0, 0.333), 0.0, -2.8973, 2.8973, 2.175, 87.0, 4.97, 4500.0),
    ArmJoint((0.0, 0.0, 0.0), -pi / 2, -1.7628, 1.7628, 2.175, 87.0, 0.65, 4500.0),
    ArmJoint((0.0, -0.316, 0.0), pi / 2, -2.8973, 2.8973, 2.175, 87.0, 3.23, 3500.0),
    ArmJoint((0.0825, 0.0, 0.0), pi / 2, -3.0718, -0.0698, 2.175, 87.0, 3.59, 3500.0),
    ArmJoint((-0.0825, 0.384, 0.0), -pi / 2, -2.8973, 2.8973, 2.61, 12.0, 1.23, 2000.0),
    ArmJoint((0.0, 0.0, 0.0), pi / 2, -0.0175, 3.7525, 2.61, 12.0, 1.67, 2000.0),
    ArmJoint((0.088, 0.0, 0.0), pi / 2, -2.8973, 2.8973, 2.61, 12.0, 0.74, 2000.0),
)
ARM_JOINT_NAMES = tuple(f"panda_joint{number}" for number in range(1, 8))
FINGER_JOINT_NAMES = ("panda_finger_joint1", "panda_finger_joint2")
JOINT_NAMES = ARM_JOINT_NAMES + FINGER_JOINT_NAMES

BASE_M = (-0.34, -0.46, 0.24)  # in the world, unturned: CALVIN's
FLANGE_OFFSET_M = 0.107
HAND_YAW_RAD = -pi / 4
FINGER_OFFSET_M = 0.0584
WRIST_FIELD_OF_VIEW_DEG = 75.0  # CALVIN's
TCP_OFFSET_M = 0.1034
FINGER_TRAVEL_M = 0.04
# An elbow-up posture with the hand straight down and its fingers closing along the base's x axis; the null space of the
# inverse kinematics is pulled towards it.
HOME_RAD = (0.66, 0.0, 0.0, -2.2, 0.0, 2.2, -0.125)

# A servo damped with a tenth of its gain lags three control steps behind, with a twentieth it tracks; a weak finger (600
# N/m) lets a thin handle slip.
DAMPING_SHARE = 0.05
FINGER_GAIN = 1500.0
FINGER_FORCE_N = 70.0
# Robot geoms meet the world, never each other.
ROBOT_CONTACT = {"contype": 1, "conaffinity": 2}

WHITE = (0.92, 0.93, 0.94, 1.0)
GREY = (0.62, 0.64, 0.67, 1.0)
DARK = (0.20, 0.21, 0.24, 1.0)
RUBBER = (0.30, 0.31, 0.33, 1.0)

Shape = tuple[str, tuple[float, ...], float, tuple[float, ...]]  # type, from and to, radius, colour
LINK_SHAPES: tuple[tuple[Shape, ...], ...] = (
    (
        ("capsule", (-0.11, 0, 0.055, -0.02, 0, 0.055), 0.055, WHITE),
        ("cylinder", (0, 0, 0, 0, 0, 0.135), 0.068, WHITE),
        ("cylinder", (0, 0, 0.135, 0, 0, 0.142), 0.062, DARK),
    ),
    (
        ("cylinder", (0, 0, -0.191, 0, 0, -0.06), 0.060, WHITE),
        ("capsule", (0, -0.022, 0, 0, 0.022, 0), 0.066, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.088, 0, 0, 0.088), 0.056, WHITE),
        ("cylinder", (0, 0, -0.092, 0, 0, 0.092), 0.044, DARK),
        ("capsule", (0, -0.04, 0, 0, -0.135, 0), 0.058, WHITE),
        ("cylinder", (0, -0.187, 0, 0, -0.195, 0), 0.054, DARK),
    ),
    (
        ("cylinder", (0, 0, -0.121, 0, 0, -0.075), 0.058, WHITE),
        ("capsule", (0.01, 0, -0.07, 0.068, 0, -0.012), 0.056, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.078, 0, 0, 0.078), 0.056, WHITE),
        ("cylinder", (0, 0, -0.082, 0, 0, 0.082), 0.044, DARK),
        ("capsule", (-0.014, 0.018, 0, -0.072, 0.07, 0), 0.055, WHITE),
        ("cylinder", (-0.0825, 0.118, 0, -0.0825, 0.126, 0), 0.054, DARK),
    ),
    (
        ("capsule", (0, 0, -0.235, 0, 0.012, -0.19), 0.054, WHITE),
        ("capsule", (0, 0.045, -0.17, 0, 0.068, -0.02), 0.036, WHITE),
        ("cylinder", (0, 0.10, 0, 0, 0.02, 0), 0.046, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.060, 0, 0, 0.064), 0.050, WHITE),
        ("cylinder", (0, 0, -0.064, 0, 0, 0.068), 0.038, DARK),
        ("capsule", (0.02, 0, 0.004, 0.085, 0, 0.004), 0.046, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.02, 0, 0, 0.072), 0.044, WHITE),
        ("cylinder", (0, 0, 0.072, 0, 0, 0.107), 0.039, DARK),
    ),
)
BASE_MASS_KG = 2.9
HAND_MASS_KG = 0.73
FINGER_MASS_KG = 0.03


def add_panda(world: Element) -> None:
    """Append the arm, hand, fingers, TCP site and wrist camera to the world body."""
    link = add(world, "body", name="panda_link0", pos=BASE_M)
    _add_shapes(link, LINK_SHAPES[0])
    add_inertial(link, BASE_MASS_KG)
    for number, (joint, shapes) in enumerate(zip(ARM_JOINTS, LINK_SHAPES[1:], strict=True), start=1):
        link = add(link, "body", name=f"panda_link{number}", pos=joint.offset_m, euler=(joint.roll_rad, 0, 0), gravcomp=1)
        add(
            link,
            "joint",
            name=ARM_JOINT_NAMES[number - 1],
            type="hinge",
            axis=(0, 0, 1),
            range=(joint.lower_rad, joint.upper_rad),
            armature=0.1,
            damping=1.0,
        )
        _add_shapes(link, shapes)
        add_inertial(link, joint.mass_kg)
    _add_hand(link)


def add_panda_servos(mjcf: Element) -> None:
    """Append the position actuators (7 arm joints, 2 fingers) and the equality that couples the fingers."""
    actuators = add(mjcf, "actuator")
    for name, joint in zip(ARM_JOINT_NAMES, ARM_JOINTS, strict=True):
        add(
            actuators,
            "position",
            name=name,
            joint=name,
            kp=joint.servo_gain,
            kv=joint.servo_gain * DAMPING_SHARE,
            forcerange=(-joint.torque_nm, joint.torque_nm),
            ctrlrange=(joint.lower_rad, joint.upper_rad),
        )
    for name in FINGER_JOINT_NAMES:
        add(
            actuators,
            "position",
            name=name,
            joint=name,
            kp=FINGER_GAIN,
            kv=FINGER_GAIN * DAMPING_SHARE,
            forcerange=(-FINGER_FORCE_N, FINGER_FORCE_N),
            ctrlrange=(0.0, FINGER_TRAVEL_M),
        )
    left, right = FINGER_JOINT_NAMES
    add(add(mjcf, "equality"), "joint", joint1=left, joint2=right, solref=(0.01, 1.0))


def _add_hand(link: Element) -> None:
    hand = add(link, "body", name="panda_hand", pos=(0, 0, FLANGE_OFFSET_M), euler=(0, 0, HAND_YAW_RAD), gravcomp=1)
    _add_box(hand, (0, 0, 0.030), (0.031, 0.100, 0.026), WHITE)
    _add_box(hand, (0, 0, 0.059), (0.016, 0.098, 0.004), DARK)
    _add_box(hand, (-0.071, 0, 0.006), (0.040, 0.020, 0.008), DARK)  # the wrist camera's bracket
    add_inertial(hand, HAND_MASS_KG)
    add(hand, "site", name="panda_hand_tcp", pos=(0, 0, TCP_OFFSET_M), size=(0.001,), rgba=(0, 0, 0, 0))
    # Mounted on the side that faces the robot, so that "up" in the picture is away from it. Looks 32 degrees inwards, below
    # the finger tips.
    axes = (0, 1, 0, 0.8480, 0, -0.5299)
    add(hand, "camera", name="wrist", pos=(-0.100, 0, 0.025), fovy=WRIST_FIELD_OF_VIEW_DEG, xyaxes=axes)
    for name, joint_name, side in (
        ("panda_leftfinger", "panda_finger_joint1", 1),
        ("panda_rightfinger", "panda_finger_joint2", -1),
    ):
        finger = add(hand, "body", name=name, pos=(0, 0, FINGER_OFFSET_M), gravcomp=1)
        add(
            finger,
            "joint",
            name=joint_name,
            type="slide",
            axis=(0, side, 0),
            range=(0, FINGER_TRAVEL_M),
            armature=0.1,
            damping=2.0,
        )
        _add_box(finger, (0, side * 0.007, 0.009), (0.0105, 0.007, 0.009), GREY)
        pad = _add_box(finger, (0, side * 0.007, 0.036), (0.0105, 0.007, 0.0175), RUBBER)
        pad.set("friction", "1.5 0.05 0.001")
        pad.set("condim", "4")
        pad.set("name", f"{name}_pad")
        add_inertial(finger, FINGER_MASS_KG)


def _add_shapes(body: Element, shapes: tuple[Shape, ...]) -> None:
    for kind, ends, radius_m, colour in shapes:
        add(body, "geom", type=kind, fromto=ends, size=(radius_m,), rgba=colour, **ROBOT_CONTACT)


def _add_box(body: Element, centre_m: tuple[float, ...], half_m: tuple[float, ...], colour: tuple[float, ...]) -> Element:
    return add(body, "geom", type="box", pos=centre_m, size=half_m, rgba=colour, **ROBOT_CONTACT)
