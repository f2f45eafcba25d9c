"""MJCF elements written from Python values: numbers and sequences in, XML attributes out. Metres, kilograms."""

from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement

# What stands on the table meets robot and blocks; the robot's own parts never meet each other.
WORLD_CONTACT = {"contype": 2, "conaffinity": 3}
Value = str | bool | int | float | Sequence[float]


def add(parent: Element, tag: str, **attributes: Any) -> Element:
    """Append a child; ``class_`` stands for ``class``, sequences become numbers parted by blanks."""
    return SubElement(parent, tag, {name.rstrip("_"): _text(value) for name, value in attributes.items()})


def add_inertial(body: Element, mass_kg: float) -> None:
    """Give a body its mass, with the centre of mass in the middle of the geoms it has by now, and a rough inertia.

    The place is not about physics: MuJoCo's mj_multiRay skips a body by a ball around its centre of mass, as large as its
    bounding box, so geoms far off the centre of mass lose their outer parts in ray-cast pictures (seen in 3.8.1).
    """
    corners = [corner for geom in body.findall("geom") for corner in _bounds(geom)]
    low, high = ([pick(axis) for axis in zip(*corners, strict=True)] for pick in (min, max))
    centre = [(start + end) / 2 for start, end in zip(low, high, strict=True)]
    radius_m = max(end - start for start, end in zip(low, high, strict=True)) / 2
    inertia = 0.4 * mass_kg * radius_m**2  # of a ball
    add(body, "inertial", pos=centre, mass=mass_kg, diaginertia=(inertia, inertia, inertia))


def add_slab(
    body: Element,
    name: str,
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    colour: tuple[float, ...],
) -> Element:
    """Append a box of the world, given by its extent along each axis of the body."""
    centre = tuple((low + high) / 2 for low, high in (x, y, z))
    half = tuple((high - low) / 2 for low, high in (x, y, z))
    return add(body, "geom", name=name, type="box", pos=centre, size=half, rgba=(*colour, 1.0), **WORLD_CONTACT)


def _bounds(geom: Element) -> tuple[list[float], list[float]]:
    """Lowest and highest corner of an unturned box, or of a capsule or cylinder given by its ends."""
    size = [float(number) for number in geom.attrib["size"].split()]
    if "fromto" in geom.attrib:
        ends = [float(number) for number in geom.attrib["fromto"].split()]
        pairs = list(zip(ends[:3], ends[3:], strict=True))
        return [min(pair) - size[0] for pair in pairs], [max(pair) + size[0] for pair in pairs]
    centre = [float(number) for number in geom.attrib["pos"].split()]
    low = [middle - half for middle, half in zip(centre, size, strict=True)]
    high = [middle + half for middle, half in zip(centre, size, strict=True)]
    return low, high


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return " ".join(repr(number) for number in value)
