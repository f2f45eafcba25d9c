"""What can sit inside the policy node: samples of some streams in, an ActionChunk out.

Streams are "static_camera", "wrist_camera" (pictures), "joint_states" (names and positions) and "task_state" (task,
instruction and named numbers of a simulator). A decider says which it needs; torch is imported only for the network.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from worldagen.assembly import SampleSet
from worldagen.conventions import Convention, find_convention
from worldagen.deciding import Decider, RoutedAt, Shadowed
from worldagen.disturbance import Disturbance
from worldagen.engines.config import EngineConfig
from worldagen.errors import AdaptationError, BankError, CheckpointError, ConfigError, UnknownName
from worldagen.kinematics import ForwardKinematics
from worldagen.mixture.router import REQUEST
from worldagen.mixture.routing import MODES
from worldagen.robot_state import RobotState
from worldagen.types import ActionChunk, Observation
from worldagen_ros.config import PolicyConfig, RobotConfig
from worldagen_ros.robots import kinematics_of
from worldagen_ros.topics import CAMERA_TOPICS, ROUTE

if TYPE_CHECKING:
    from worldagen.adaptation.shadowing import Shadow
    from worldagen.mixture.driving import MixtureDriver
    from worldagen.network.config import NetworkConfig
    from worldagen.policy_conventions import PolicyConventions
    from worldagen.session import NetworkPolicy

NEEDS_BANK = ("mixture", "uniform")  # nobody asks for these but for a bank


class NetworkDecider:
    """The network behind the Policy interface: pictures and joint states become an Observation."""

    name = "network"
    streams: tuple[str, ...] = ("static_camera", "wrist_camera", "joint_states")

    def __init__(
        self,
        policy: "NetworkPolicy",
        kinematics: ForwardKinematics,
        source: str,
        engine: str = "",
        config: PolicyConfig | None = None,
    ) -> None:
        """engine: what encodes the pictures, in words. config: whose bank it routes by; None for no bank."""
        self._policy, self._config = policy, config or PolicyConfig()
        self._driver: MixtureDriver | None = None
        self._mode = self._config.routing.route
        self.routed: RoutedAt | None = None
        self._state = RobotState(kinematics)
        self._shadow: Shadow | None = None
        self._answered_ns = 0  # stamp of the observation that was answered last
        self.source = source
        self.engine = engine

    @property
    def encoder_fault(self) -> str:
        """Why torch has taken over from the engine, "" while it has not. May be read from any thread."""
        return self._policy.encoder_fault

    def reset(self, instruction: str, disturbance: Disturbance | None = None) -> None:
        self._policy.reset(instruction, disturbance)
        self._state.reset()
        if self._driver is not None:
            self._driver.begin()

    def decide(self, samples: SampleSet) -> ActionChunk:
        observation = Observation(
            stamp_ns=samples.stamp_ns,
            static_image=samples.values["static_camera"],
            wrist_image=samples.values["wrist_camera"],
            state=self._state.observe(samples.values["joint_states"]),
        )
        if self._driver is not None:
            self._driver.before(observation)
        chunk = self._policy.act(observation)
        self._state.commanded(chunk.rows[-1, 6])
        self._answered_ns = samples.stamp_ns
        if self._driver is not None and self._driver.routed is not None:
            self.routed = RoutedAt(samples.stamp_ns, self._mode, self._driver.routed)
        return chunk

    def prepare(self) -> None:
        if self._driver is not None:
            self._driver.after()  # before the policy prepares: it may change the weights
        self._policy.prepare()

    def predict(self) -> dict[str, np.ndarray] | None:
        return self._policy.predict() if self._policy.can_predict else None

    def route(self, mode: str) -> str:
        if not self._config.bank:
            raise BankError("there is no bank of places to route by; set policy.bank to its folder")
        wanted = mode or self._mode
        if wanted not in MODES:
            raise BankError(f"route {wanted!r}; expected one of: {', '.join(MODES)}")
        if wanted == "off":
            self._end_routing()
            return "off: the base drives"
        from worldagen.mixture.opening import open_driver

        override = "policy.allow_rejected_adapter" if self._config.allow_rejected_adapter else ""
        config = replace(self._config.routing, route=wanted)
        driver = open_driver(self._policy, Path(self._config.bank).expanduser(), config, self._config.refinement, override)
        self._end_routing()
        self._driver, self._mode = driver, wanted
        driver.begin()
        driver.look(REQUEST)
        return f"{wanted} of {', '.join(driver.router.places.names)}"

    def look_again(self, why: str) -> None:
        if self._driver is not None:
            self._driver.look(why)

    def _end_routing(self) -> None:
        if self._driver is not None:
            self._driver.close()
        self._driver, self._mode, self.routed = None, "off", None

    def load_adapter(self, path: str, override: str) -> str:
        """By hand; routing ends with it, once it is there."""
        if path:
            name = self._policy.load_adapter(Path(path), override)
        else:
            self._policy.use_adapter("")
            name = ""
        self._end_routing()
        return name

    def list_adapters(self) -> tuple[tuple[str, ...], str]:
        return self._policy.adapters.loaded, self._policy.adapter

    @property
    def shadowing(self) -> bool:
        return self._shadow is not None

    def begin_shadow(self, path: str, decisions: int) -> str:
        if not path:
            self._shadow = None
            return ""
        if decisions < 1:
            raise AdaptationError(f"compare over {decisions} decisions; expected 1 or more")
        from worldagen.adaptation.shadowing import Shadow

        adapter = self._policy.adapters.load(Path(path))
        self._policy.adapters.keep(adapter)
        self._shadow = Shadow(adapter.id, decisions, self._policy.conventions.actions)
        return adapter.id

    def shadow(self) -> Shadowed | None:
        if self._shadow is None:
            return None
        given = self._policy.answer_as(self._policy.adapter)  # without the noise of an exploration
        told = self._shadow.compare(self._answered_ns, given, self._policy.answer_as(self._shadow.adapter))
        if told.decisions >= told.wanted:
            self._shadow = None
        return told


class ExpertDecider:
    """A scripted expert that reads the simulator's own state.

    As a demonstrator it is disturbed on purpose, and its chunks are a function of the episode's seed, to the last bit.
    """

    source = ""
    streams: tuple[str, ...] = ("task_state",)

    def __init__(self, rows: int, convention: Convention, demonstrates: bool = False) -> None:
        from worldagen_sim.experts import DEMONSTRATOR, STEADY, ExpertPolicy

        self.name = "demonstrator" if demonstrates else "expert"
        self._convention, self._rows, self._demonstrates = convention, rows, demonstrates
        self._expert = ExpertPolicy(DEMONSTRATOR if demonstrates else STEADY)
        self._instruction = ""
        self._sequence = 0

    def reset(self, instruction: str, disturbance: Disturbance | None = None) -> None:
        if disturbance is not None:
            raise ConfigError(
                f"the {self.name} takes no action noise ({disturbance.noise:g} was asked for): its moves are scripted; "
                "explore with policy.kind=network, or with action noise 0"
            )
        self._instruction = instruction
        self._sequence = 0

    def decide(self, samples: SampleSet) -> ActionChunk:
        started = time.perf_counter()
        task, instruction, seed, values = samples.values["task_state"]
        if instruction != self._instruction:
            raise UnknownName(f"instruction for the expert in task {task}", self._instruction, [instruction])
        if self._sequence == 0:
            self._expert.reset(task, seed)
        plan = self._expert.demonstrate(values, self._rows)
        chunk = ActionChunk(
            stamp_ns=samples.stamp_ns,
            sequence=self._sequence,
            period_s=self._convention.period_s,
            convention=self._convention.name,
            rows=plan.executed,
            inference_s=0.0 if self._demonstrates else time.perf_counter() - started,
            clean_rows=plan.clean if self._demonstrates else None,
        )
        self._sequence += 1
        return chunk

    def prepare(self) -> None:
        """It looks at the present only."""

    def predict(self) -> None:
        """It has no world model."""


def make_expert(policy: PolicyConfig, robot: RobotConfig, *_: Any) -> Decider:
    """The scripted expert."""
    return ExpertDecider(policy.rows, find_convention(robot.convention))


def make_demonstrator(policy: PolicyConfig, robot: RobotConfig, *_: Any) -> Decider:
    """The scripted expert as it demonstrates."""
    return ExpertDecider(policy.rows, find_convention(robot.convention), demonstrates=True)


def require_drivable(network: "NetworkConfig", conventions: "PolicyConventions", robot: RobotConfig, source: str) -> None:
    """Raise CheckpointError unless a network with these conventions may drive this robot. source: what it is called."""
    from worldagen.policy_conventions import require_match

    if network.frames > 1:
        raise CheckpointError(f"{source} looks at {network.frames} frames per chunk; the policy node gives one")
    cameras = [name.removesuffix("_camera") for name in CAMERA_TOPICS]
    require_match(conventions, find_convention(robot.convention), cameras, f"this deployment's {robot.source}")


def make_network(
    policy: PolicyConfig, robot: RobotConfig, engine: EngineConfig | None = None, say: Callable[[str], Any] = lambda _: None
) -> Decider:
    """The network of a checkpoint or, with random weights, of a preset. Raises CheckpointError where it must not drive.

    engine: what encodes its pictures, torch where it is not said. say: hears of engines that are tried, built and refused.
    """
    import torch

    from worldagen.capturing import capture_backbone
    from worldagen.checkpoint import find_checkpoint, load_checkpoint
    from worldagen.engines.choosing import choose_engine
    from worldagen.engines.probe import draw_probe
    from worldagen.history import HistoryMode
    from worldagen.network.captured import CudaGraphs
    from worldagen.placement import move_network, settle_session
    from worldagen.policy_conventions import find_preset_conventions
    from worldagen.session import make_random_network

    engine = engine or EngineConfig()
    torch.set_num_threads(policy.threads)
    if policy.checkpoint:
        (network, conventions), source = load_checkpoint(find_checkpoint(policy.checkpoint)), policy.checkpoint
    else:
        network, conventions = make_random_network(policy.preset, policy.seed), find_preset_conventions(policy.preset)
        source = f"{policy.preset} preset, random weights of seed {policy.seed}"
    require_drivable(network.config, conventions, robot, source)
    move_network(network, policy.device, say)
    choice = choose_engine(network, conventions, engine, policy.threads, say)
    history = cast(HistoryMode, policy.history)  # the deployment's choices are these
    session = settle_session(network, conventions, choice, engine, policy.precision, policy.resize, history, say)
    if policy.capture and session.network.position.is_cuda:
        capture_backbone(session, draw_probe(), CudaGraphs(), say)
    if policy.adapter:
        session.load_adapter(Path(policy.adapter), "policy.allow_rejected_adapter" if policy.allow_rejected_adapter else "")
    decider = NetworkDecider(session, kinematics_of(robot), source, str(choice), policy)
    if policy.routes or (policy.routing.route in NEEDS_BANK and not policy.bank):  # which is refused in words
        say(f"routing: {decider.route('')}")
    elif policy.bank and policy.adapter:
        say(f"routing: waits while the adapter drives; the service {ROUTE} begins it")
    return decider


DECIDERS: dict[str, Callable[..., Decider]] = {
    "expert": make_expert,
    "demonstrator": make_demonstrator,
    "network": make_network,
}
