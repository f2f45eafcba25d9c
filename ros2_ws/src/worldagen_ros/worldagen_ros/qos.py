"""Quality of service, one profile per kind of data, and why.

In lockstep a message may be older than any period on the wall clock, so lifespans and deadlines hold in real time only.
"""

from collections.abc import Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks  # type: ignore[no-redef]

# For topics whose two ends are ours, so that their qualities match: each kind of event costs the executor time at every wake.
NO_EVENTS = SubscriptionEventCallbacks(use_default_callbacks=False)
NO_PUBLISHER_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
OVERRIDABLE = QoSOverridingOptions.with_default_policies()  # -p qos_overrides./topic.subscription.reliability:=reliable

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LATCHED_ALL = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CHUNKS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
SCALES = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
HEARTBEATS = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
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


def matching(offered: Sequence[QoSProfile], otherwise: QoSProfile, depth: int) -> QoSProfile:
    """What hears every publisher of a topic, and as much as they all offer. otherwise: while there is none yet."""
    offered = offered or [otherwise]
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in offered)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in offered)
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def as_bags_hold_it(profile: QoSProfile) -> dict[str, Any]:
    """An offered profile in the form of rosbag2's version 9, by which players offer the same again."""
    return {
        "history": profile.history.name.lower(),
        "depth": profile.depth,
        "reliability": profile.reliability.name.lower(),
        "durability": profile.durability.name.lower(),
        "deadline": _seconds(profile.deadline),
        "lifespan": _seconds(profile.lifespan),
        "liveliness": profile.liveliness.name.lower(),
        "liveliness_lease_duration": _seconds(profile.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": bool(profile.avoid_ros_namespace_conventions),
    }


def _seconds(duration: Duration) -> dict[str, int]:
    seconds, nanoseconds = divmod(duration.nanoseconds, 1_000_000_000)
    return {"sec": seconds, "nsec": nanoseconds}
