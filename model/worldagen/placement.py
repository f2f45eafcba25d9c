"""Where a running network computes, and in which type: on a GPU where there is one, as stored or narrower where that passes.

A narrower type is judged as an engine is (engines/gate.py), by the very network as it was stored; what is refused is told, and
the stored type is kept.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import torch

from worldagen.adaptation.adapter import digest_of, weights_of
from worldagen.engines.config import EngineConfig
from worldagen.engines.encoder import TYPES, EncoderEngine, TorchEngine
from worldagen.engines.gate import Gate
from worldagen.engines.probe import make_probe
from worldagen.errors import ConfigError, EngineError
from worldagen.network.worldagen import Stored, WorldAgen
from worldagen.policy_conventions import PolicyConventions

DEVICES = ("auto", "cpu", "cuda")
Say = Callable[[str], None]


def find_device(wanted: str) -> torch.device:
    """One of DEVICES -> a device that torch has here; auto takes the GPU where there is one. Raises ConfigError."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    build = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
    raise ConfigError(
        f"the device 'cuda' is asked for, and torch {torch.__version__} finds no GPU; it {build}. Look at what "
        "`worldagen doctor` says of torch, or ask for 'auto' or 'cpu'"
    )


def move_network(network: WorldAgen, wanted: str, say: Say = lambda _: None) -> None:
    """To one of DEVICES, before anybody runs it. say: hears where it is. Raises ConfigError for a GPU that is not there.

    Where there is too little memory on the GPU, auto means the CPU, and cuda is refused.
    """
    device = find_device(wanted)
    try:
        network.to(device)
    except torch.cuda.OutOfMemoryError as error:
        network.to("cpu")
        if wanted != "auto":
            raise ConfigError(f"the network does not fit on the GPU ({str(error).splitlines()[0]}); free some memory") from None
        say("the network does not fit on the GPU")
        device = torch.device("cpu")
    say(f"the network computes on {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'the CPU'}")


def narrow_network(
    network: WorldAgen,
    conventions: PolicyConventions,
    precision: str,
    config: EngineConfig,
    encoder: EncoderEngine | None = None,
    say: Say = lambda _: None,
) -> WorldAgen:
    """The network in that type, a copy, where its actions stay within the limits; otherwise the network itself.

    precision: "stored", or one of engines.encoder.TYPES. config: whose frames and limits judge. encoder: what will encode the
    pictures, None for the network in its new type. say: hears the figures, or why it was refused. Raises EngineError for
    frames that cannot be read.
    """
    wanted = network.position.dtype if precision == "stored" else TYPES[precision]
    if wanted is network.position.dtype:
        return network
    probe = make_probe([Path(config.frames)] if config.frames else [], network.config.rows)
    try:
        gate = Gate(network, conventions, probe, config.limits)
        other = cast_network(network, wanted)
        parity = gate.admit(encoder or TorchEngine(other), other)
    except (EngineError, torch.cuda.OutOfMemoryError) as error:
        say(f"refused: the network in {precision}: {error}; it stays in the type it was stored in")
        return network
    say(f"the network in {precision}: {parity.told()}")
    return other


def cast_network(network: WorldAgen, wanted: torch.dtype) -> WorldAgen:
    """A copy in another type. It still takes the adapters of the network as it was stored."""
    weights = weights_of(network)
    shapes = {name: torch.empty(weight.shape, dtype=weight.dtype, device="meta") for name, weight in weights.items()}
    stored = network.stored or Stored(digest_of(weights), shapes)
    other = copy.deepcopy(network).to(wanted)
    other.stored = stored
    return other
