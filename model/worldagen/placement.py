"""Where a running network computes, in which type, and from pictures resized by whom: whatever is faster and passes.

A narrower type and another resizer are judged as engines are (engines/gate.py), by the very network as it was stored; what is
refused is told, and things stay as they were.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch

from worldagen.adaptation.adapter import digest_of, weights_of
from worldagen.engines.choosing import Choice, make_configured_probe
from worldagen.engines.config import EngineConfig
from worldagen.engines.encoder import TYPES, EncoderEngine, TorchEngine
from worldagen.engines.gate import Gate
from worldagen.errors import ConfigError, EngineError
from worldagen.history import HistoryMode
from worldagen.network.worldagen import Stored, WorldAgen
from worldagen.policy_conventions import PolicyConventions
from worldagen.scaling import Scaler, make_scaler
from worldagen.session import NetworkPolicy

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


def settle_session(
    network: WorldAgen,
    conventions: PolicyConventions,
    choice: Choice,
    config: EngineConfig,
    precision: str = "stored",
    resize: str = "pillow",
    history: HistoryMode = "aligned",
    say: Say = lambda _: None,
) -> NetworkPolicy:
    """The session of a network that has been moved, as it was asked for, as far as its actions stay within the limits.

    choice: what encodes the pictures. config: whose frames and limits judge. precision: "stored", or one of
    engines.encoder.TYPES; the session's network is then a copy. resize: pillow or torch. Everything together is judged by the
    network as it was stored, by torch and Pillow. say: hears the figures, or why something was refused. Raises EngineError for
    frames that cannot be read.
    """
    wanted = network.position.dtype if precision == "stored" else TYPES[precision]
    narrows, device = wanted is not network.position.dtype, network.position.device
    scaler = make_scaler("pillow", device)
    if narrows or resize != "pillow":
        gate = choice.gate or Gate(network, conventions, make_configured_probe(network, config), config.limits)
        trial = _Trial(gate, choice.encoder, say)
        if narrows and trial.passes(f"the network in {precision}", other := cast_network(network, wanted), scaler):
            network = other
        if resize != "pillow" and trial.passes(f"resizing by {resize}", network, faster := make_scaler(resize, device)):
            scaler = faster
    session = NetworkPolicy(network, conventions, history, choice.encoder)
    session.use_scaler(scaler)
    return session


@dataclass(frozen=True, eq=False)
class _Trial:
    """What may be changed is tried one after the other, with what was taken already."""

    gate: Gate
    encoder: EncoderEngine | None
    say: Say

    def passes(self, name: str, network: WorldAgen, scaler: Scaler) -> bool:
        """Whether the actions stay within the limits, told by name."""
        try:
            parity = self.gate.judge(self.encoder or TorchEngine(network), network, scaler)
        except (EngineError, torch.cuda.OutOfMemoryError) as error:
            self.say(f"refused: {name}: {error}")
            return False
        if beyond := parity.refusals(self.gate.limits):
            self.say(f"refused: {name} changes too much on {parity.probe}: {'; '.join(beyond)}")
            return False
        self.say(f"{name}: {parity.told()}")
        return True


def cast_network(network: WorldAgen, wanted: torch.dtype) -> WorldAgen:
    """A copy in another type. It still takes the adapters of the network as it was stored."""
    weights = weights_of(network)
    shapes = {name: torch.empty(weight.shape, dtype=weight.dtype, device="meta") for name, weight in weights.items()}
    stored = network.stored or Stored(digest_of(weights), shapes)
    other = copy.deepcopy(network).to(wanted)
    other.stored = stored
    return other
