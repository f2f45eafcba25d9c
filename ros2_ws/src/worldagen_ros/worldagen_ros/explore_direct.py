"""Explore a place in the simulator without ROS in between: one bag with every rollout, in the messages of the nodes.

    report = explore_direct(load_deployment("explore"), Exploration(("open the drawer",), rollouts=10), Path("out/exploration"))

Each rollout begins with its instruction and is followed by a pause, so that the data source `bag:` gives one episode for each.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

from worldagen.bags import contract
from worldagen.bags.disk import MIB, DiskGuard
from worldagen.bags.types import BagMetadata, Topic
from worldagen.bags.writer import BagWriter
from worldagen.config import leaves
from worldagen.deciding import Decider
from worldagen.disturbance import make_disturbance
from worldagen.errors import BagError, DiskFull, WorldAgenError
from worldagen.exploring import EnvelopeWatch, Exploration, ExplorationReport, Progress, Reason, Rollout, Sample, plan_rollouts
from worldagen_ros import messages, qos, topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.deciders import DECIDERS
from worldagen_ros.definitions import topic_of
from worldagen_ros.direct import DirectStack
from worldagen_ros.explore_metadata import exploration_metadata
from worldagen_ros.recorded import contract_of_deployment, recorded_of
from worldagen_ros.robots import kinematics_of
from worldagen_sim.environment import Environment, make_environment
from worldagen_sim.episode import Episodes, Status
from worldagen_sim.exploring import task_of

FIRST_NS = 1000 * 1_000_000_000  # stamp of the first instant
PAUSE_NS = 2_000_000_000  # between two rollouts; longer than the silence that ends an episode
EXPLORATION = "exploration"  # name of the bag metadata that says what was asked and how it ended
ROLLOUTS = "rollouts"  # its entry that lists them


def configured(config: DeploymentConfig, asked: Exploration) -> DeploymentConfig:
    """The deployment that explores: in lockstep, each rollout of all its steps, pictures of every one of them."""
    sim = replace(config.sim, max_steps=asked.steps, tail_steps=0, ends_on_success=False, every_picture=True)
    return replace(config, timing=replace(config.timing, mode="lockstep"), sim=sim)


def explore_direct(
    config: DeploymentConfig,
    asked: Exploration,
    bag: Path,
    progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    decider: Decider | None = None,
    environment: Environment | None = None,
) -> ExplorationReport:
    """Roll out the policy of a deployment in its simulator's scene, and record a bag.

    config: says policy, scene and envelope; `configured` settles the rest. bag: folder to make. progress: told after every
    control step. should_stop: asked at every control step; true ends it as canceled, with a whole bag. decider, environment:
    used, and left open, instead of the deployment's own.
    Raises BagError when there is something in the folder already, and WorldAgenError where policy or simulator cannot be built;
    whatever happens later is told by the report.
    """
    config = configured(config, asked)
    with _Explorer(config, asked, bag, decider, environment) as explorer:
        return explorer.explore(progress, should_stop)


class _Explorer:
    """One exploration."""

    def __init__(
        self,
        config: DeploymentConfig,
        asked: Exploration,
        bag: Path,
        decider: Decider | None,
        environment: Environment | None,
    ) -> None:
        self._config, self._asked, self._folder = config, asked, bag
        if bag.exists() and (not bag.is_dir() or any(bag.iterdir())):
            raise BagError(f"{bag}: there is something already; explore into a new folder")
        # The network first: torch's compiler crashes when it is loaded after an OpenGL driver with an LLVM of its own.
        decider = decider or DECIDERS[config.policy.kind](config.policy, config.robot, config.engine)
        self._ours = environment is None
        self._environment = environment or make_environment(config.sim.environment, config.sim.renderer, config.sim.options)
        self._episodes = Episodes(self._environment, ends_on_success=False)
        self._stack = DirectStack(config, self._episodes, decider)
        self._kinematics = kinematics_of(config.robot)
        self._watch = EnvelopeWatch(config.explore.envelope)
        self._limit_s = asked.time_limit_s or config.explore.envelope.time_limit_s
        self._guard = DiskGuard(bag, config.recorder.floor_mib * MIB)
        self._recorded = {item.name: item for item in recorded_of(config)}
        self._topics: dict[str, Topic] = {}  # of what was said, by relative name
        self._frames, self._recorded_ns = 0, 0
        self._why: tuple[Reason, str] | None = None  # it ends before its last rollout
        self._entries: list[dict[str, Any]] = []  # of the rollouts, for the bag's metadata

    def __enter__(self) -> "_Explorer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._environment.close()

    def explore(self, progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> ExplorationReport:
        """Play and record everything."""
        try:
            self._guard.check()
        except DiskFull as error:
            return ExplorationReport(Reason.DISK_FULL, str(error), None, 0, 0, 0.0)
        plan = plan_rollouts(self._asked)
        before = self._metadata()
        with BagWriter(self._folder, before) as bag:
            try:
                for rollout in plan:
                    self._play(rollout, len(plan), bag, progress, should_stop)
                    if self._why is not None:
                        break
            except DiskFull as error:
                self._why = (Reason.DISK_FULL, str(error))
            except WorldAgenError as error:
                self._why = (Reason.FAULT, str(error))
            reason, message = self._why or (Reason.FINISHED, f"all {len(plan)} rollouts were played")
            told = {"reason": reason.name, "message": message, ROLLOUTS: json.dumps(self._entries)}
            with suppress(BagError):  # a full disk was told of already, and the bag can be recovered
                bag.annotate(EXPLORATION, {**before[EXPLORATION], **told})
        whole = sum(entry["steps"] == self._asked.steps for entry in self._entries)
        return ExplorationReport(reason, message, self._folder, whole, self._frames, self._recorded_ns * 1e-9)

    def _play(
        self,
        rollout: Rollout,
        count: int,
        bag: BagWriter,
        progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """One rollout into the bag."""
        self._guard.check()
        asked, sim, episodes = self._asked, self._config.sim, self._episodes
        task = task_of(self._environment, rollout.instruction) or sim.task
        episodes.begin(task, sim.scene, rollout.episode_seed, asked.steps, rollout.instruction)
        self._watch.forget()
        period_ns = round(self._environment.convention.period_s * 1e9)
        begin_ns = FIRST_NS + (rollout.number - 1) * (asked.steps * period_ns + PAUSE_NS)
        before_ns = self._recorded_ns
        self._entries.append({**asdict(rollout), "task": task, "begin_ns": begin_ns, "steps": 0})

        def write(name: str, msg: Any, stamp_ns: int) -> None:
            self._recorded_ns = before_ns + stamp_ns - begin_ns
            if name in self._recorded:
                bag.write(self._topic(name, bag), serialize_message(msg), stamp_ns, stamp_ns)
                self._frames += name in topics.CAMERA_TOPICS.values()
            if name == topics.JOINT_STATES:
                self._look(msg)

        def stops() -> bool:
            self._entries[-1]["steps"] = episodes.steps
            elapsed_s = self._recorded_ns * 1e-9
            left_s = ((count - rollout.number + 1) * asked.steps - episodes.steps) * period_ns * 1e-9
            progress(Progress(rollout.number, count, self._frames, left_s))
            if self._why is None and elapsed_s > self._limit_s:
                self._why = (Reason.ENVELOPE, f"{elapsed_s:.1f} s are over; the time limit is {self._limit_s:g} s")
            if self._why is None and should_stop():
                self._why = (Reason.CANCELED, f"asked to stop in rollout {rollout.number} of {count}")
            return self._why is not None

        self._stack.play(begin_ns, write, make_disturbance(asked.action_noise, rollout.noise_seed), stops)
        self._entries[-1]["steps"] = episodes.steps
        if self._why is None and episodes.status is Status.FAILED:
            self._why = (Reason.FAULT, f"the simulator could not go on: {episodes.detail}")

    def _topic(self, name: str, bag: BagWriter) -> str:
        """A topic's name in the bag, which is told of it with its first message."""
        if name not in self._topics:
            item = self._recorded[name]
            self._topics[name] = topic_of(f"/{name.lstrip('/')}", item.type, (qos.as_bags_hold_it(item.expected),))
            bag.add_topic(self._topics[name])
        return self._topics[name].name

    def _look(self, msg: Any) -> None:
        pose = self._kinematics.tool_pose(*messages.decode_joints(msg))
        if breach := self._watch.look(Sample(messages.stamp_to_ns(msg.header.stamp), pose)):
            self._why = (Reason.ENVELOPE, breach.message)

    def _metadata(self) -> BagMetadata:
        config, asked = self._config, self._asked
        promised = contract_of_deployment(config, lambda name: f"/{name.lstrip('/')}")
        return {
            EXPLORATION: exploration_metadata(config, asked, self._environment.version),
            contract.NAME: {contract.KEY: promised.to_json()},
            "parameters": {leaf.key: str(leaf.default) for leaf in leaves(config)},
        }
