"""The engine of a deployment reaches the policy, is told with figures, and its failure is told once."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from worldagen.engines.config import EngineConfig
from worldagen.engines.probe import draw_probe
from worldagen.errors import EngineError
from worldagen_ros.config import PolicyConfig, RobotConfig
from worldagen_ros.deciders import make_expert, make_network
from worldagen_ros.diagnostics import OK, WARN
from worldagen_ros.encoder_watch import EncoderWatch

pytestmark = pytest.mark.ros
NETWORK = PolicyConfig(kind="network", checkpoint="playtable")


class Node:
    """What EncoderWatch uses of a node."""

    def __init__(self):
        self.said, self.shown = [], {}
        self.diagnostics = self

    def get_logger(self):
        return self

    def info(self, words):
        self.said.append(words)

    warning = info

    def set(self, name, level, words):
        self.shown[name] = (level, words)


def test_onnxruntime_is_told_with_its_figures_and_its_failure_once(tmp_path):
    engine, told = EngineConfig(kind="onnxruntime", precision="fp32", folder=str(tmp_path / "engines")), []
    decider = make_network(NETWORK, RobotConfig(), engine, told.append)
    node = Node()
    watch = EncoderWatch(node, decider)  # type: ignore[arg-type]
    assert node.said[0].startswith("encoder: onnxruntime fp32 on CPU (") and "ms a frame" in node.said[0]
    assert node.shown["encoder"][0] == OK and told
    policy = decider._policy  # type: ignore[attr-defined]

    def fail(*_):
        raise EngineError("out of memory")

    policy._encoder.encode = fail
    policy.reset("push the blue block")
    policy.act(draw_probe().runs[0][1][0])
    watch.look()
    watch.look()
    assert node.said[1:] == ["encoder: out of memory; torch computes the encoder from now on"]
    assert node.shown["encoder"][0] == WARN


def test_by_default_the_network_itself_encodes_and_an_expert_says_nothing():
    decider, node = make_network(NETWORK, RobotConfig()), Node()
    assert decider.engine == "torch fp32 (exact)"  # type: ignore[attr-defined]
    assert decider._policy._encoder is None  # type: ignore[attr-defined]
    EncoderWatch(node, make_expert(PolicyConfig(), RobotConfig(), EngineConfig(), print)).look()  # type: ignore[arg-type]
    assert node.said == [] and node.shown == {}
