"""A benchmark's protocol as data: one YAML file each in protocols/, named as it is called on the command line."""

from dataclasses import dataclass, replace
from pathlib import Path

from worldagen.config import load_config, setting
from worldagen.errors import UnknownName
from worldagen.history import HISTORY_MODES
from worldagen_sim.evaluation import EvaluationRequest

FOLDER = Path(__file__).parent / "protocols"


@dataclass(frozen=True)
class Protocol:
    """What is played, and where the rules come from."""

    title: str = setting("", "what it is called in a report")
    source: str = setting("", "where its rules come from, and where it departs from them")
    deployment: str = setting("sim_network", "which nodes play it: a deployment's name")
    environment: str = setting("playtable", "simulator")
    options: str = setting("", "of the simulator, KEY=VALUE with semicolons between")
    scenes: str = setting("D", "names with commas between them")
    tasks: str = setting("", "names with commas between them; empty: all")
    episodes: int = setting(0, "of each task in each scene", low=0, high=1000)
    held_out_episodes: int = setting(0, "the same with held-out words", low=0, high=1000)
    chains: int = setting(0, "of five tasks, in each scene", low=0, high=100_000)
    seed: int = setting(500_000, "the first; where initial states are stored, their number", low=0)
    max_steps: int = setting(360, "control steps of each task", low=1)
    phrasings: str = setting("plain", "words of the tasks", choices=("training", "held-out", "plain"))
    history: str = setting("aligned", "how frames and actions are paired (worldagen/history.py)", choices=tuple(HISTORY_MODES))


def protocol_names() -> list[str]:
    """Of those that come with us."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def find_protocol(name: str) -> Protocol:
    """A protocol by its name, or by the path of a YAML file. Raises UnknownName with those that exist, ConfigError."""
    if name.endswith((".yaml", ".yml")):
        return load_config(Path(name), Protocol())
    if name not in protocol_names():
        raise UnknownName("protocol", name, protocol_names())
    return load_config(FOLDER / f"{name}.yaml", Protocol())


def request_of(name: str, protocol: Protocol, **changes: object) -> EvaluationRequest:
    """What to evaluate. changes: fields of EvaluationRequest that are asked for otherwise."""
    request = EvaluationRequest(
        environment=protocol.environment,
        scenes=_names(protocol.scenes),
        tasks=_names(protocol.tasks),
        episodes=protocol.episodes,
        seed=protocol.seed,
        phrasings=protocol.phrasings,
        held_out_episodes=protocol.held_out_episodes,
        chains=protocol.chains,
        expert_episodes=0,
        max_steps=protocol.max_steps,
        history=protocol.history,
        deployment=protocol.deployment,
        options=protocol.options,
        protocol=Path(name).stem,
    )
    return replace(request, **changes)


def departures(protocol: Protocol, name: str, request: EvaluationRequest) -> list[str]:
    """In what a request is not the protocol, in words: "episodes 2 instead of 20". How it is played is no departure."""
    asked, ruled = vars(request), vars(request_of(name, protocol))
    free = {"renderer", "via"}  # the renderer is told in every report; through ROS and without it the actions are the same
    differing = [key for key in ruled if asked[key] != ruled[key] and key not in free]
    return [f"{key.replace('_', ' ')} {_said(asked[key])} instead of {_said(ruled[key])}" for key in differing]


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) if value else "all"
    return str(value) or "none"


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
