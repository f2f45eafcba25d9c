"""What a message type looks like, in the form that bags hold: its definition as text, those of all it contains, and its hash.

Read from the share folders of the installed packages: `share/<package>/msg/<Name>.msg`, and `.json` for the hash, which
distributions before Iron do not have.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from worldagen.bags.types import Topic
from worldagen.errors import BagError

SEPARATOR = "=" * 80
PRIMITIVES = {"bool", "byte", "char", "string", "wstring", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
FIELD_TYPE = re.compile(r"^([A-Za-z][\w/]*)")  # without bounds and brackets


@cache
def schema_of(kind: str) -> str:
    """ "sensor_msgs/msg/Image" -> its ros2msg text with all dependencies, each once.

    Raises BagError when a package is not installed or its type has no .msg file.
    """
    text = _text_of(kind)
    parts, waiting, seen = [text], list(_held_by(kind, text)), {kind}
    while waiting:
        held = waiting.pop(0)
        if held in seen:
            continue
        seen.add(held)
        text = _text_of(held)
        package, _, name = held.split("/")
        parts.append(f"{SEPARATOR}\nMSG: {package}/{name}\n{text}")
        waiting += _held_by(held, text)
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


@cache
def type_hash_of(kind: str) -> str:
    """ "sensor_msgs/msg/Image" -> "RIHS01_..."; empty where the distribution has none."""
    try:
        hashes = json.loads(_file_of(kind, ".json").read_text("utf-8"))["type_hashes"]
        return next(item["hash_string"] for item in hashes if item["type_name"] == kind)
    except (OSError, ValueError, KeyError, StopIteration):
        return ""


def topic_of(name: str, kind: str, qos: tuple = ()) -> Topic:
    """A topic as a bag announces it. name: resolved. Raises BagError when the type has no definition here."""
    return Topic(name, kind, schema_of(kind), type_hash_of(kind), qos)


def kind_of(message_type: type) -> str:
    """A message class -> "sensor_msgs/msg/Image"."""
    package, part, *_ = message_type.__module__.split(".")
    return f"{package}/{part}/{message_type.__name__}"


def _held_by(kind: str, text: str) -> Iterator[str]:
    """The types of the fields of a definition, primitives left out."""
    package = kind.split("/")[0]
    for line in text.splitlines():
        found = FIELD_TYPE.match(line.partition("#")[0].strip())
        if found and found[1] not in PRIMITIVES:
            held = found[1].split("/")
            yield f"{held[0]}/msg/{held[-1]}" if len(held) > 1 else f"{package}/msg/{held[0]}"


def _text_of(kind: str) -> str:
    try:
        return _file_of(kind, ".msg").read_text("utf-8")
    except OSError:
        raise BagError(
            f"{kind}: {_file_of(kind, '.msg')} cannot be read; a bag needs the definition of what it holds"
        ) from None


def _file_of(kind: str, suffix: str) -> Path:
    parts = kind.split("/")
    if len(parts) != 3:
        raise BagError(f"{kind!r} is no message type; expected package/msg/Name")
    try:
        return Path(get_package_share_directory(parts[0])) / parts[1] / f"{parts[2]}{suffix}"
    except PackageNotFoundError:
        raise BagError(f"{kind}: package {parts[0]} is not installed; a bag needs the definition of what it holds") from None
