"""A deployment: one YAML file, one frozen tree. Every node reads the branches it needs as ROS parameters.

The way of a value: YAML -> load_deployment -> DeploymentConfig -> specs.py hands each node its branches -> ROS parameters
-> params.read_tree gives the node the same dataclasses back. Defaults live here only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

from worldagen.config import load_config, setting
from worldagen.conventions import CONVENTIONS
from worldagen.engines.config import EngineConfig
from worldagen.errors import UnknownName
from worldagen.exploring import STEPS, Envelope
from worldagen.limits import LimitsConfig
from worldagen.mixture.refinement import RefinementConfig
from worldagen.mixture.routing import RoutingConfig
from worldagen.surprise import SurpriseConfig


@dataclass(frozen=True)
class TimingConfig:
    """Who waits for whom. Shared by all nodes."""

    mode: str = setting(
        "lockstep",
        "lockstep: the simulator waits for every answer and a run is a pure function of its seed; "
        "realtime: cameras and robot run on their own",
        choices=("lockstep", "realtime"),
    )
    answer_timeout_s: float = setting(
        2.0, "lockstep only: wall seconds without an answer after which a node says what it waits for", low=0.1, high=600.0
    )


@dataclass(frozen=True)
class RobotConfig:
    """Whose joint states come in. Shared by the policy and the command node."""

    source: str = setting(
        "simulator", "simulator: start sim_node; hardware: drivers run elsewhere", choices=("simulator", "hardware")
    )
    urdf: str = setting("panda", "a robot this suite ships, or the path of a URDF file")
    tool_frame: str = setting("panda_hand_tcp", "URDF frame whose pose is the robot's state")
    frame_id: str = setting("world", "frame of all poses and motions on the wire")
    convention: str = setting(
        "calvin", "action convention the robot or simulator keeps: control period and full scale", choices=tuple(CONVENTIONS)
    )
    base_pose: tuple[float, ...] = setting(
        (-0.34, -0.46, 0.24, 0.0, 0.0, 0.0), "robot base in frame_id: x, y, z (m), roll, pitch, yaw (rad, extrinsic x-y-z)"
    )
    tool_offset: tuple[float, ...] = setting(
        (0.0,) * 6, "where on that frame the pose is measured: x, y, z (m), roll, pitch, yaw (rad, extrinsic x-y-z)"
    )


@dataclass(frozen=True)
class CamerasConfig:
    """What the cameras promise; the policy node holds them to it."""

    transport: str = setting("raw", "raw: .../image_raw; compressed: .../image_raw/compressed", choices=("raw", "compressed"))
    period_s: float = setting(1 / 30, "time between two pictures, s", low=0.001, high=10.0)
    max_skew_s: float = setting(
        0.02, "largest difference of the stamps of pictures and joint state of one decision, s", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class PolicyConfig:
    """What decides."""

    kind: str = setting(
        "expert",
        "expert: scripted, needs a simulator's state; demonstrator: the same, disturbed on purpose; network: WorldAgen",
        choices=("expert", "demonstrator", "network"),
    )
    checkpoint: str = setting(
        "", "network only: a shipped checkpoint's name (playtable) or a folder; empty: the preset with random weights"
    )
    preset: str = setting("playtable", "network preset, used where there is no checkpoint")
    history: str = setting(
        "aligned", "aligned, or reference: the published evaluation's off-by-one", choices=("aligned", "reference")
    )
    seed: int = setting(0, "seed of the random weights", low=0)
    threads: int = setting(1, "CPU threads of the network", low=1, high=256)
    device: str = setting(
        "auto", "where the network computes; auto: on the GPU where torch finds one", choices=("auto", "cpu", "cuda")
    )
    precision: str = setting(
        "stored",
        "type of the network, its encoder too where no engine encodes; one that moves actions beyond engine.limits is refused",
        choices=("stored", "fp32", "bf16", "fp16"),
    )
    resize: str = setting(
        "pillow",
        "who resizes pictures: pillow, to the bits that training saw; torch, faster and on the GPU where the network is, or "
        "refused where that moves actions beyond engine.limits",
        choices=("pillow", "torch"),
    )
    capture: bool = setting(
        True, "on a GPU: record the backbone's work as CUDA graphs, used where they give the same numbers sooner"
    )
    rows: int = setting(5, "experts only: rows of one chunk", low=1, high=100)
    replan_rows: int = setting(0, "rows after which a new decision is due; 0: a whole chunk", low=0, high=100)
    max_gap_s: float = setting(
        0.5, "a longer gap between two observations breaks the history: the policy starts afresh, s", low=0.0, high=60.0
    )
    adapter: str = setting("", "network only: folder of an adapter to begin with; empty: the base")
    allow_rejected_adapter: bool = setting(
        False, "begin with that adapter although its gate has rejected it; noted in the adapter's folder"
    )
    bank: str = setting("", "network only: folder of a bank of places to route by; empty: none")
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    instruction: str = setting("", "start at once with these words; leave empty on a robot")

    @property
    def routes(self) -> bool:
        """Whether it is routed from the beginning: by its bank, unless an adapter is named that is to drive first."""
        return self.routing.route != "off" and bool(self.bank) and not self.adapter


@dataclass(frozen=True)
class CommandConfig:
    """What the robot is told, one row at a time."""

    interface: str = setting(
        "target_pose",
        "target_pose: PoseStamped; delta_twist: TwistStamped (m/s, rad/s); joint_trajectory: JointTrajectory",
        choices=("target_pose", "delta_twist", "joint_trajectory"),
    )
    blend_rows: int = setting(2, "rows over which an overlapping chunk is faded in", low=0, high=20)
    max_chunk_age_s: float = setting(0.5, "older chunks are refused, s", low=0.01, high=10.0)
    max_state_age_s: float = setting(
        0.2,
        "after a longer gap in the joint states the commanded pose is forgotten and nothing is commanded, s",
        low=0.01,
        high=10.0,
    )
    rate_hz: float = setting(100.0, "realtime only: commands a second, whatever the rows' period", low=10.0, high=1000.0)
    priority: int = setting(0, "realtime only: SCHED_FIFO priority asked of the system; 0: none", low=0, high=90)
    max_tick_gap_s: float = setting(
        0.1, "realtime only: after a longer gap between two ticks the plan is dropped and the arm holds, s", low=0.01, high=1.0
    )
    max_clock_jump_s: float = setting(
        0.1,
        "realtime only: the clock may run before or behind the steady one by so much between two ticks, and stamps be as far "
        "in the future, s",
        low=0.001,
        high=1.0,
    )
    max_frozen_s: float = setting(
        0.5,
        "hardware only: joint positions that stay the same to the last bit for longer are no measurement, s; 0: not looked at",
        low=0.0,
        high=10.0,
    )
    gripper_close_below: float = setting(0.4, "realtime only: an open gripper closes below this opening", low=0.0, high=1.0)
    gripper_open_above: float = setting(0.6, "realtime only: a closed gripper opens above this opening", low=0.0, high=1.0)
    gripper_dwell_s: float = setting(0.3, "realtime only: least time between two changes of the gripper, s", low=0.0, high=10.0)
    deadman: str = setting(
        "auto",
        "realtime only: when motion needs the deadman's button. always; never; as_needed: while exploring, and for adapters "
        "that are not in trusted_adapters; auto: as_needed on hardware, never in a simulator",
        choices=("auto", "always", "as_needed", "never"),
    )
    deadman_timeout_s: float = setting(
        0.3, "realtime only: a button that is silent for longer is released, s", low=0.05, high=2.0
    )
    trusted_adapters: str = setting(
        "", "realtime only: ids of adapters that have driven this robot before under a watchful eye, commas between them"
    )
    limits: LimitsConfig = field(default_factory=LimitsConfig)


@dataclass(frozen=True)
class SimConfig:
    """The simulator that stands in for robot and cameras."""

    environment: str = setting("playtable", "name of a simulator (see worldagen_sim/environment.py)")
    options: str = setting(
        "",
        "what this simulator is given besides, KEY=VALUE with semicolons between: docs/simulators.md",
    )
    renderer: str = setting(
        "auto", "auto: GL when there is any, else ray casting", choices=("auto", "egl", "osmesa", "raycast")
    )
    task: str = setting("lift_red_block_table", "task of the first episode")
    scene: str = setting("A", "scene of the first episode")
    seed: int = setting(0, "seed of the first episode", low=0)
    max_steps: int = setting(360, "control steps until an episode ends", low=1, high=1_000_000)
    tail_steps: int = setting(
        0, "control steps played on after success before the episode ends; lets a recording show the result", low=0, high=1000
    )
    ends_on_success: bool = setting(True, "false: play every episode to its last step, whatever happens, as exploration does")
    every_picture: bool = setting(
        False, "lockstep only: publish pictures of every control step, not only those that are answered"
    )
    reset_pause_s: float = setting(1.0, "silence after a reset, longer than any gap a node forgives, s", low=0.6, high=60.0)


@dataclass(frozen=True)
class RecorderConfig:
    """What is recorded into bags, and how."""

    enabled: bool = setting(False, "start the recorder node; it waits for recorder/start")
    autostart: bool = setting(False, "record from the start of the node on")
    folder: str = setting("bags", "where bags without a name of their own go; relative: from where the stack is started")
    also: str = setting("", "further topics, as topic:package/msg/Type with commas between them")
    skip: str = setting("", "topics of the stack that are not recorded, with commas between them")
    compression: str = setting("zstd", "of the bag's chunks", choices=("zstd", "none"))
    chunk_kib: int = setting(4096, "size of a chunk, KiB", low=1, high=1 << 20)
    split_mib: int = setting(1024, "begin another file after so many MiB; 0: never", low=0)
    split_s: float = setting(60.0, "begin another file after so many seconds; 0: never", low=0.0)
    flush_s: float = setting(
        0.5, "hand everything to the operating system so often, s; what a killed recorder may lose", low=0.01, high=60.0
    )
    floor_mib: int = setting(2048, "free disk below which nothing is recorded, MiB", low=0)
    queue_mib: int = setting(256, "messages that may wait for the disk, MiB; what comes on top is dropped and counted", low=1)
    for_humble: bool = setting(False, "write the older form of metadata.yaml, which Humble reads")


@dataclass(frozen=True)
class ExploreConfig:
    """How a new place is explored."""

    enabled: bool = setting(False, "start the explore node; it waits for goals of the action explore")
    instructions: str = setting(
        "", "what the policy is asked, semicolons between; empty: the plain words of each task of the simulator, in its order"
    )
    steps: int = setting(
        STEPS,
        "control steps of a rollout where a command does not say; windows use frames up to 57 only. The published runs are 300",
        low=1,
        high=100_000,
    )
    action_noise: float = setting(
        0.15, "noise where a command does not say: deviation on the arm's numbers, share of full scale", low=0.0, high=0.5
    )
    begin: str = setting(
        "auto",
        "how each rollout begins: reset: the simulator; home: the arm drives to home_pose; auto: home on hardware, else reset",
        choices=("auto", "reset", "home"),
    )
    home_pose: tuple[float, ...] = setting(
        (0.0, 0.0, 0.6, 3.141592653589793, 0.0, 0.0), "tool in frame_id: x, y, z (m), roll, pitch, yaw (rad, extrinsic x-y-z)"
    )
    home_speed_mps: float = setting(0.05, "of the way home, m/s; the command node's limits hold besides", low=0.001, high=0.5)
    home_speed_radps: float = setting(0.25, "of the turn home, rad/s", low=0.001, high=2.0)
    home_tolerance_m: float = setting(0.01, "at home is who is as near as this, m", low=0.001, high=0.1)
    home_tolerance_rad: float = setting(0.05, "and turned as near as this, rad", low=0.01, high=0.5)
    home_timeout_s: float = setting(30.0, "who is not home by then has a fault, s of ROS time", low=1.0, high=600.0)
    scene_reset: str = setting(
        "if_available",
        "home only: whether somebody is asked, by the service explore/reset_scene, to put the scene in order before a rollout",
        choices=("never", "if_available", "required"),
    )
    scene_reset_wait_s: float = setting(1.0, "so long that service is looked for, s", low=0.0, high=60.0)
    scene_reset_timeout_s: float = setting(300.0, "so long somebody may take for it, s", low=1.0, high=3600.0)
    envelope: Envelope = field(default_factory=Envelope, metadata={"meaning": "what the robot may not leave"})


@dataclass(frozen=True)
class MonitorConfig:
    """Who watches whether the world is still as the world model expects it."""

    enabled: bool = setting(False, "start the monitor node, which makes the policy paint after every decision")
    calibration: str = setting("", "a surprise.json; empty: the one in the policy's checkpoint folder")
    reaction: str = setting(
        "none",
        "to a sustained surprise, until another instruction or adapter; none: tell only; slow: ask the command node for "
        "monitor.slow_scale; hold: for no motion at all",
        choices=("none", "slow", "hold"),
    )
    slow_scale: float = setting(0.3, "speed scale of the reaction slow", low=0.01, high=1.0)
    surprise: SurpriseConfig = field(default_factory=SurpriseConfig)


@dataclass(frozen=True)
class AdaptConfig:
    """How the world model is adapted to a recorded place."""

    enabled: bool = setting(False, "start the adapt node; it waits for goals of the action adapt")
    checkpoint: str = setting("", "what is adapted, a shipped name or a folder; empty: the policy's")
    recipe: str = setting("default", "for goals that name none: default, image_head, paper, published or a YAML file")
    folder: str = setting("adapters", "where adapters go; relative: from where the stack is started")
    shadow_timeout_s: float = setting(
        300.0,
        "so long the policy may take for the decisions that are compared, s; then the adapter stays rejected",
        low=1.0,
        high=86_400.0,
    )


@dataclass(frozen=True)
class MarkersConfig:
    """Who draws for RViz and Foxglove."""

    enabled: bool = setting(False, "start the markers node, which draws plan, boxes and cameras while somebody looks")


@dataclass(frozen=True)
class ManagerConfig:
    """Who brings the nodes up and takes them down."""

    heartbeat_timeout_s: float = setting(
        4.0, "a node that is silent for longer takes the stack down, s; in lockstep fifteen times as long", low=1.0, high=600.0
    )
    bring_up_timeout_s: float = setting(
        180.0, "so long a node may take to appear, and to be configured, s: weights, simulators, engines", low=1.0, high=7200.0
    )


@dataclass(frozen=True)
class DeploymentConfig:
    """The whole tree."""

    timing: TimingConfig = field(default_factory=TimingConfig)
    robot: RobotConfig = field(default_factory=RobotConfig)
    cameras: CamerasConfig = field(default_factory=CamerasConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    engine: EngineConfig = field(default_factory=EngineConfig, metadata={"meaning": "what encodes the policy's pictures"})
    command: CommandConfig = field(default_factory=CommandConfig)
    sim: SimConfig = field(default_factory=SimConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    recorder: RecorderConfig = field(default_factory=RecorderConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    markers: MarkersConfig = field(default_factory=MarkersConfig)
    manager: ManagerConfig = field(default_factory=ManagerConfig)


def config_folder() -> Path:
    """Where the deployments and the Fast DDS profile are installed."""
    return Path(get_package_share_directory("worldagen_ros")) / "config"


def find_deployment(name: str) -> Path:
    """A deployment's name ("sim") or the path of a YAML file -> the file. Raises UnknownName listing the shipped ones."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    path = config_folder() / f"{name}.yaml"
    if not path.is_file():
        raise UnknownName("deployment", name, [file.stem for file in config_folder().glob("*.yaml")])
    return path


def load_deployment(name: str, overrides: Mapping[str, str] | None = None) -> DeploymentConfig:
    """Read a deployment by name or path; raises ConfigError or UnknownName with what is allowed."""
    return load_config(find_deployment(name), DeploymentConfig(), overrides)
