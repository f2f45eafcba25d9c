"""Quality of service, one profile per kind of data, and why.

In lockstep a message may be older than any period on the wall clock, so lifespans and deadlines hold in real time only.
"""

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

OVERRIDABLE = QoSOverridingOptions.with_default_policies()  # -p qos_overrides./topic.subscription.reliability:=reliable

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CHUNKS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
DIAGNOSTICS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
CLOCK = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


def images_in() -> QoSProfile:
    """The newest picture, never a queue; matches drivers of either reliability."""
    return QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)


def images_out(period_s: float | None) -> QoSProfile:
    """Pictures we publish; in real time they die after two periods, so that nobody acts on an old one."""
    profile = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT if period_s else ReliabilityPolicy.RELIABLE)
    if period_s:
        profile.lifespan = Duration(seconds=2 * period_s)
    return profile


def states() -> QoSProfile:
    """Joint states: the newest few, never a queue of old ones; best effort matches every driver."""
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def states_out() -> QoSProfile:
    """Joint states we publish: reliable serves readers of either kind."""
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def commands(period_s: float | None) -> QoSProfile:
    """Depth 1 and, in real time, a lifespan of one row: an old command must die."""
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    if period_s:
        profile.lifespan = Duration(seconds=period_s)
    return profile
