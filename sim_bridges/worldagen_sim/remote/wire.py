"""What two processes say to each other about a simulator: JSON frames on a local socket, a version, and typed values.

A frame is its length (4 bytes, big end first) and a JSON object. Our side sends calls, {"call": NAME, ...arguments}; the
worker answers each with {"result": ...} or {"error": KIND, "message": ...}. Python's JSON keeps every bit of a double.
Pictures do not pass here: picture_pool.py. The worker speaks first: a greeting with the protocol's version.
"""

import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from worldagen import errors
from worldagen.conventions import Convention
from worldagen.errors import SimulatorError, WorldAgenError
from worldagen_sim.environment import Camera, Environment, SimState, Task

VERSION = 1
LARGEST_FRAME = 64 << 20  # bytes; a length beyond this is no length
_LENGTH = struct.Struct(">I")
_ARRAYS = ("joint_positions", "joint_velocities", "tcp_pose", "target_pose")


class ChannelClosed(Exception):
    """The other process is gone."""


class ChannelSilent(Exception):
    """The other process has not answered in time."""


class Channel:
    """Frames over a connected stream socket. Not thread-safe."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, tree: Mapping[str, Any]) -> None:
        """Raises ChannelClosed."""
        body = json.dumps(tree, separators=(",", ":")).encode()
        try:
            self._socket.sendall(_LENGTH.pack(len(body)) + body)
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    def receive(self, patience_s: float | None = None) -> dict[str, Any]:
        """The next frame. Raises ChannelClosed, ChannelSilent after patience_s, or SimulatorError for what is no frame."""
        until_s = None if patience_s is None else time.monotonic() + patience_s
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, until_s))
        if length > LARGEST_FRAME:
            raise SimulatorError(f"a frame of {length} bytes was announced; expected at most {LARGEST_FRAME}")
        body = self._read(length, until_s)
        try:
            tree = json.loads(body)
        except ValueError:
            tree = None
        if not isinstance(tree, dict):
            raise SimulatorError(f"a frame is no JSON object but {body[:60]!r}")
        return tree

    def close(self) -> None:
        """Harmless to call twice."""
        self._socket.close()

    def _read(self, count: int, until_s: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                self._socket.settimeout(None if until_s is None else max(1e-3, until_s - time.monotonic()))
                part = self._socket.recv(count - len(parts))
            except TimeoutError:
                raise ChannelSilent from None
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            if not part:
                raise ChannelClosed("end of stream")
            parts += part
        return bytes(parts)


@dataclass(frozen=True)
class Description:
    """What never changes about a simulator; picture_bytes: size of the memory for its pictures."""

    name: str
    version: str
    tasks: tuple[Task, ...]
    scenes: tuple[str, ...]
    cameras: dict[str, Camera]
    convention: Convention
    caveat: str
    picture_bytes: int


def encode_description(environment: Environment, picture_bytes: int) -> dict[str, Any]:
    """The greeting."""
    return {
        "protocol": VERSION,
        "name": environment.name,
        "version": environment.version,
        "tasks": [asdict(task) for task in environment.tasks],
        "scenes": list(environment.scenes),
        "cameras": {name: asdict(camera) for name, camera in environment.cameras.items()},
        "convention": asdict(environment.convention),
        "caveat": environment.caveat,
        "picture_bytes": picture_bytes,
    }


def decode_description(tree: Mapping[str, Any]) -> Description:
    """Raises SimulatorError for a greeting of another version of the protocol."""
    if tree.get("protocol") != VERSION:
        raise SimulatorError(
            f"the simulator's process speaks version {tree.get('protocol')!r} of the protocol; expected {VERSION}. "
            "It runs another release of worldagen: let both be the same"
        )
    return Description(
        name=tree["name"],
        version=tree["version"],
        tasks=tuple(Task(one["name"], tuple(one["phrasings"]), tuple(one["held_out"])) for one in tree["tasks"]),
        scenes=tuple(tree["scenes"]),
        cameras={name: Camera(**camera) for name, camera in tree["cameras"].items()},
        convention=Convention(**tree["convention"]),
        caveat=tree["caveat"],
        picture_bytes=tree["picture_bytes"],
    )


def encode_state(state: SimState, conditions: Mapping[str, str]) -> dict[str, Any]:
    """A state, and the conditions of its episode."""
    tree = {name: getattr(state, name) for name in ("time_ns", "joint_names", "gripper_opening", "success")}
    tree |= {name: np.asarray(getattr(state, name), np.float64).tolist() for name in _ARRAYS}
    return tree | {"success": bool(state.success), "values": dict(state.values), "conditions": dict(conditions)}


def decode_state(tree: Mapping[str, Any]) -> tuple[SimState, dict[str, str]]:
    """The inverse of encode_state."""
    state = SimState(
        time_ns=tree["time_ns"],
        joint_names=tuple(tree["joint_names"]),
        gripper_opening=tree["gripper_opening"],
        success=tree["success"],
        values=tree["values"],
        **{name: np.array(tree[name], np.float64) for name in _ARRAYS},
    )
    return state, tree["conditions"]


def encode_error(error: WorldAgenError) -> dict[str, str]:
    """An error of ours as a reply."""
    return {"error": type(error).__name__, "message": str(error)}


def decode_error(tree: Mapping[str, str]) -> WorldAgenError:
    """The error that was told, of the same kind."""
    kind = getattr(errors, tree["error"], SimulatorError)
    error = kind.__new__(kind)  # not by its constructor, which may make the message out of parts
    Exception.__init__(error, tree["message"])
    return error
