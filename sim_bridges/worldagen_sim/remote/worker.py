"""The simulator's side: python -m worldagen_sim.remote.worker SOCKET MEMORY MODULE:FACTORY OPTIONS

SOCKET, MEMORY: file descriptors that were inherited; OPTIONS: keyword arguments of the factory, a JSON object. The factory
makes an Environment, which is served in this process's main thread until the other side closes the socket. Whatever the
simulator prints goes to standard error: on standard output nobody but us may speak, and we do not.
"""

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from worldagen.errors import SimulatorError, WorldAgenError
from worldagen_sim.environment import VIEWS, Environment
from worldagen_sim.remote import wire
from worldagen_sim.remote.picture_pool import SLOTS, PicturePool, slot_bytes


def main(arguments: list[str]) -> int:
    """Serve until the other side is gone."""
    connection, memory, factory, options = arguments
    os.dup2(2, 1)
    channel = wire.Channel(socket.socket(fileno=int(connection)))
    try:
        module, name = factory.split(":")
        environment: Environment = getattr(import_module(module), name)(**json.loads(options))
    except Exception as error:
        channel.send(reply_of(error))
        return 1
    try:
        pool = PicturePool(int(memory), environment.cameras, writable=True)
        channel.send(wire.encode_description(environment, SLOTS * slot_bytes(environment.cameras)))
        serve(channel, environment, pool)
    except wire.ChannelClosed:
        pass
    finally:
        environment.close()
    return 0


def serve(channel: wire.Channel, environment: Environment, pool: PicturePool) -> None:
    """Answer calls until the other side asks to close. Raises wire.ChannelClosed when it is gone."""
    calls = calls_of(environment, pool)
    while True:
        asked = channel.receive()
        name = asked.pop("call")
        if name == "close":
            return
        try:
            answer = {"result": calls[name](**asked)}
        except Exception as error:
            answer = reply_of(error)
        channel.send(answer)


def calls_of(environment: Environment, pool: PicturePool) -> dict[str, Callable[..., Any]]:
    """Name -> what answers it, from JSON values to JSON values."""

    def told(state: Any) -> dict[str, Any]:
        return wire.encode_state(state, environment.conditions)

    def render(slot: int, views: list[str] | None = None) -> None:
        pool.write(slot, environment.render(VIEWS if views is None else views))

    return {
        "reset": lambda task, scene, seed, conditions: told(environment.reset(task, scene, seed, conditions)),
        "restore": lambda task, scene, state: told(environment.restore(task, scene, np.array(state, np.float64))),
        "take_up": lambda task: told(environment.take_up(task)),
        "step": lambda action: told(environment.step(np.array(action, np.float64))),
        "render": render,
    }


def reply_of(error: Exception) -> dict[str, str]:
    """Errors of ours as they are; others, which a simulator raises for whatever reason, by kind and words."""
    if isinstance(error, WorldAgenError):
        return wire.encode_error(error)
    traceback.print_exc()
    return wire.encode_error(SimulatorError(f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
