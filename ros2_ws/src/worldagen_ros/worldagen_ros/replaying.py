"""Replay a recorded run: which policy, with which settings, asked offline or through its node; the report and the picture.

outcome = replay(Path("bag"), ReplayRequest(checkpoint="checkpoint"))
outcome.comparison.equal    # "bit for bit"

Everything that loads torch is imported where it is used: a bag that cannot be replayed is refused before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from worldagen.bags.reader import Bag, open_bag
from worldagen.config import apply_tree, leaves, nest
from worldagen.errors import ConfigError, UnknownName
from worldagen.provenance import describe_run, sha256_of
from worldagen.replay.chart import draw_chart
from worldagen.replay.comparison import Comparison, compare
from worldagen.replay.planning import Plan, plan_decisions
from worldagen.replay.recorded import RecordedRun, ReplayError, read_run
from worldagen_ros.config import DeploymentConfig, PolicyConfig
from worldagen_ros.overrides import value_of
from worldagen_sim.claimed_folder import write_json

OFFLINE, ROS = "offline", "ros"
WAYS, PACES = (OFFLINE, ROS), ("lockstep", "realtime")
REPORT, CHART = "replay.json", "replay.png"
SECTIONS = ("timing", "robot", "cameras", "policy")  # of a deployment: what a decision depends on


@dataclass(frozen=True)
class ReplayRequest:
    """checkpoint: a folder or a shipped one's name; "" for what the recording names.

    pace: of the node, with via ros; "" for that of the recording. clock: publish /clock in real time too.
    settings: "dotted.key" -> text, instead of what the recording says.
    """

    checkpoint: str = ""
    via: str = OFFLINE
    pace: str = ""
    clock: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outcome:
    """comparison: recorded against replayed. report: the same and where it comes from, JSON-ready."""

    comparison: Comparison
    report: dict[str, Any]


def replay(
    folder: Path,
    request: ReplayRequest,
    *,
    domain: int | None = None,
    command: str = "replay",
    say: Callable[[str], None] = print,
) -> Outcome:
    """Ask again for every decision of a bag. domain: of ROS, with via ros. command: told in the report.

    Raises BagError, CheckpointError, ConfigError, UnknownName or ReplayError before anything is asked; with via ros also
    StackError.
    """
    for kind, name, known in (("way", request.via, WAYS), ("pace", request.pace or PACES[0], PACES)):
        if name not in known:
            raise UnknownName(kind, name, known)
    with open_bag(folder) as bag:
        config = config_of(bag, request)
        run = read_run(bag, config.robot.frame_id)
        config, rows = check_policy(config)
        plan = plan_decisions(run, rows, config.policy.max_gap_s)
        say(f"{folder}: {len(plan.decisions)} decisions to make again, {_source(config.policy)}")
        comparison = compare(plan, _ask(bag, run, plan, config, request, domain))
    return Outcome(comparison, _report(run, config, request, comparison, command))


def config_of(bag: Bag, request: ReplayRequest) -> DeploymentConfig:
    """The recorded deployment with the policy and the settings that were asked for.

    Raises ReplayError when nobody names a policy, ConfigError for a value that is not allowed.
    """
    where = f"{bag.folder}: its parameters"
    known = {leaf.key: leaf for leaf in leaves(DeploymentConfig()) if leaf.key.split(".")[0] in SECTIONS}
    config = DeploymentConfig()
    for key, text in bag.metadata.get("parameters", {}).items():
        if key in known:
            config = apply_tree(config, nest(key, value_of(known[key], text)), where)
    recorded = config.policy
    if request.checkpoint:
        config = replace(config, policy=replace(recorded, kind="network", checkpoint=request.checkpoint))
    elif recorded.kind != "network":
        raise ReplayError(
            f"{bag.folder}: recorded with policy.kind {recorded.kind}, which is no network; "
            "give the one to ask: --checkpoint FOLDER"
        )
    for key, text in request.settings.items():
        if key not in known:
            raise ConfigError(f"override {key}={text}: unknown key; allowed: {', '.join(known)}")
        config = apply_tree(config, nest(key, value_of(known[key], text)), f"override {key}={text}")
    return config


def check_policy(config: DeploymentConfig) -> tuple[DeploymentConfig, int]:
    """The deployment with its checkpoint found, and the rows m of a chunk.

    Raises CheckpointError, before weights are loaded, for a network that must not drive the recorded robot.
    """
    from worldagen.checkpoint import find_checkpoint, read_config, read_conventions, require_whole
    from worldagen.network.config import find_preset
    from worldagen.policy_conventions import find_preset_conventions
    from worldagen_ros.deciders import require_drivable

    policy = config.policy
    if policy.checkpoint:
        folder = find_checkpoint(policy.checkpoint).resolve()
        policy = replace(policy, checkpoint=str(folder))
        require_whole(folder)
        network, conventions = read_config(folder), read_conventions(folder)
    else:
        network, conventions = find_preset(policy.preset), find_preset_conventions(policy.preset)
    require_drivable(network, conventions, config.robot, _source(policy))
    return replace(config, policy=policy), network.rows


def require_empty(folder: Path) -> None:
    """Raise ReplayError for a folder that cannot be written into without mixing."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "not empty" if folder.is_dir() else "a file"
        raise ReplayError(f"{folder} is {what}; give another folder. Nothing in it was changed")


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """replay.json and replay.png into a folder that is new or empty."""
    require_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = outcome.report
    write_json(folder / REPORT, report)
    title = "/".join(Path(report["bag"]).resolve().parts[-3:])
    draw_chart(outcome.comparison, title, Path(report["policy"]["source"]).name).save(folder / CHART)


def _ask(
    bag: Bag, run: RecordedRun, plan: Plan, config: DeploymentConfig, request: ReplayRequest, domain: int | None
) -> list[Any]:
    if request.via == OFFLINE:
        from worldagen_ros.replay_offline import ask_offline

        return ask_offline(bag, run, plan, config)
    from worldagen_ros.replay_stack import ask_through_ros

    return ask_through_ros(bag, run, plan, config, request.pace or config.timing.mode, request.clock, domain)


def _report(
    run: RecordedRun, config: DeploymentConfig, request: ReplayRequest, comparison: Comparison, command: str
) -> dict[str, Any]:
    from worldagen.checkpoint import WEIGHTS

    policy = config.policy
    digest = sha256_of(Path(policy.checkpoint) / WEIGHTS) if policy.checkpoint else ""
    return {
        **describe_run(command),
        "bag": str(run.folder),
        "recorded": {key: run.parameters.get(f"policy.{key}", "") for key in ("kind", "checkpoint", "preset")}
        | {"timing": run.parameters.get("timing.mode", "")},
        "policy": {"source": _source(policy), "digest": digest},
        "via": request.via,
        "pace": (request.pace or config.timing.mode) if request.via == ROS else "",
        "history": "what was executed" if request.via == OFFLINE else "its own chunks",
        "notes": list(comparison.plan.notes),
        **comparison.values(),
    }


def _source(policy: PolicyConfig) -> str:
    return policy.checkpoint or f"{policy.preset} preset, random weights of seed {policy.seed}"
