"""Ask a network for the decisions of a bag, without ROS in between: the policy node's decider, decoders and pairing."""

import numpy as np

from worldagen.assembly import SampleSet
from worldagen.bags.reader import Bag
from worldagen.kinematics import ForwardKinematics
from worldagen.replay.following import FollowingPolicy
from worldagen.replay.observations import decode_samples, observations
from worldagen.replay.planning import Plan
from worldagen.replay.recorded import RecordedRun
from worldagen.types import ActionChunk
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.deciders import NetworkDecider, make_network
from worldagen_ros.robots import kinematics_of


class FollowingDecider(NetworkDecider):
    """The network's decider, in whose history stands what was executed."""

    def __init__(self, policy: FollowingPolicy, kinematics: ForwardKinematics, source: str) -> None:
        super().__init__(policy, kinematics, source)
        self._following = policy

    @classmethod
    def of(cls, live: NetworkDecider, kinematics: ForwardKinematics) -> "FollowingDecider":
        """As the policy node makes it, with a history of its own."""
        return cls(FollowingPolicy.of(live._policy), kinematics, live.source)

    def decide_then_follow(self, samples: SampleSet, executed: np.ndarray) -> ActionChunk:
        """Answer one observation; executed: rows (m, 7) that were played whatever the answer is."""
        chunk = self.decide(samples)
        if not np.array_equal(chunk.rows, executed):
            self._following.follow(executed)
            self._state.commanded(executed[-1, 6])
        self.prepare()  # the policy node does so after every decision
        return chunk


def ask_offline(bag: Bag, run: RecordedRun, plan: Plan, config: DeploymentConfig) -> list[np.ndarray | None]:
    """(m, 7) rows for each decision of the plan; None where the bag does not hold what was seen.

    Raises BagError for what cannot be decoded, CheckpointError for a network that must not be asked.
    """
    robot = config.robot
    live = make_network(config.policy, robot)
    assert isinstance(live, NetworkDecider)
    decider = FollowingDecider.of(live, kinematics_of(robot))
    answers: list[np.ndarray | None] = []
    encoded_sets = observations(bag, run.topics, config.cameras.max_skew_s, plan.decisions)
    afresh = True
    for decision, encoded in zip(plan.decisions, encoded_sets, strict=True):
        afresh = afresh or decision.afresh  # also where the first observation of a run is missing
        if encoded is None:
            answers.append(None)
            continue
        if afresh:
            decider.reset(decision.words)
            afresh = False
        answers.append(decider.decide_then_follow(decode_samples(bag, encoded), decision.rows).rows)
    return answers
