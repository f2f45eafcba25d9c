"""The faults: what is done, and what has to come of it. Data, no code.

`waits` names what the code waits for on purpose before it reacts (campaign.py says how long that is in a deployment): a time to
a safe command is late only by what it takes longer.
"""

from dataclasses import dataclass

from worldagen_ros.faults.judging import FAULT, GONE, HOLD, READY, RUNNING, Expected

SHARED, SEEING, MANAGED, BROKEN = "shared", "seeing", "managed", "broken weights"  # stacks, see campaign.py


@dataclass(frozen=True)
class Fault:
    """kind: the way of injecting.py; target: a channel or a process; how: of that way. lasts_s: at least so long."""

    name: str
    kind: str
    target: str
    how: str
    expected: Expected
    says: str = ""  # what a reader has to know besides
    waits: str = ""
    lasts_s: float = 1.0
    stack: str = SHARED
    costly: bool = False  # a stack or a node is started anew after it: fewer trials


def goes_on(shows: str = "") -> Expected:
    """Nothing to react to: the arm goes on, within its limits."""
    return Expected(reaches=(RUNNING,), shows=shows)


def holds(shows: str = "") -> Expected:
    """The arm comes to rest, and goes on by itself with decisions of afterwards."""
    return Expected(reaches=(HOLD, READY), shows=shows)


BAD_STATES = Expected(reaches=(FAULT, HOLD), shows="command: joint_states")  # HOLD where the policy's watchdog is first
TAKEN_DOWN = "FAILED"


def relayed(channel: str, how: str, expected: Expected, waits: str = "", says: str = "", lasts_s: float = 1.0) -> Fault:
    stack = SEEING if channel.endswith("camera") or channel == "instruction" else SHARED
    return Fault(f"{channel}: {how}", "relay", channel, how, expected, says, waits, lasts_s, stack)


def of_camera(camera: str) -> tuple[Fault, ...]:
    return (
        relayed(camera, "drop", holds(f"policy: {camera}"), "silence"),
        relayed(camera, "duplicate", goes_on()),
        relayed(camera, "delay", holds(), "pairing", "no joint states of their time are remembered"),
        relayed(camera, "reorder", Expected((RUNNING, HOLD)), says="a picture from the past makes the policy begin afresh"),
        relayed(camera, "wrong size", holds(f"policy: {camera}"), "silence", "half of the bytes"),
        relayed(camera, "wrong encoding", holds(f"policy: {camera}"), "silence"),
        relayed(camera, "wrong frame_id", holds(f"policy: {camera}"), "silence"),
        relayed(camera, "freeze", holds(f"policy: {camera}"), "frozen", "the same bytes with new stamps", 2.0),
    )


INPUTS = (
    relayed("joint_states", "drop", holds(), "states"),
    relayed("joint_states", "duplicate", goes_on()),
    relayed("joint_states", "delay", holds(), "states", "later than any age allowed"),
    relayed("joint_states", "reorder", Expected((RUNNING, HOLD)), says="each pair the other way round"),
    relayed("joint_states", "NaN", BAD_STATES, "states"),
    relayed("joint_states", "wrong size", BAD_STATES, "states", "a position is missing"),
    relayed(
        "joint_states",
        "freeze",
        Expected((FAULT, HOLD, RUNNING), afterwards=(RUNNING, FAULT)),
        says="old numbers with new stamps: seen only once the arm is sent farther than it may be from where it is measured",
    ),
    *of_camera("static_camera"),
    *of_camera("wrist_camera"),
    Fault(
        "cameras: swap",
        "relay",
        "static_camera",
        "swap",
        holds("policy: static_camera"),
        "each picture on the other's topic, while the stack runs",
        "silence",
        1.0,
        SEEING,
    ),
    relayed("action_chunk", "drop", holds(), "rows"),
    relayed("action_chunk", "duplicate", goes_on()),
    relayed("action_chunk", "delay", holds(), "rows", "later than any age allowed"),
    relayed("action_chunk", "reorder", Expected((RUNNING, HOLD)), says="each pair the other way round"),
    relayed("action_chunk", "NaN", holds("command: chunks"), "decision"),
    relayed("action_chunk", "no rows", holds("command: chunks"), "decision"),
    relayed("action_chunk", "wrong frame_id", holds("command: chunks"), "decision"),
    relayed("action_chunk", "row period 0", holds("command: chunks"), "decision"),
    relayed("action_chunk", "1e30 m", Expected((RUNNING, HOLD, FAULT), afterwards=(RUNNING, FAULT)), says="finite, and absurd"),
    relayed("deadman", "drop", holds(), "deadman"),
    relayed("deadman", "released", holds(), "button"),
    relayed("deadman", "duplicate", goes_on()),
    relayed("deadman", "delay", holds(), "deadman", "silence, then as before"),
    relayed("deadman", "reorder", goes_on(), says="all say the same"),
    relayed("instruction", "drop", goes_on(), says="the words never come: the arm goes on with those of before"),
    relayed("instruction", "duplicate", goes_on(), says="the policy begins afresh"),
    relayed("instruction", "delay", goes_on(), says="they come late"),
    relayed("instruction", "reorder", Expected((RUNNING, HOLD)), says="two come the other way round: cannot be told apart"),
    relayed("instruction", "no words", Expected((RUNNING, HOLD)), says="14 000 characters that are no words"),
)

CLOCKS = (
    relayed("joint_states", "clock +10 s", holds("command: joint_states"), "states", "the driver's machine was set forward"),
    relayed("joint_states", "clock -10 s", holds("command: joint_states"), "states", "the driver's machine was set back"),
    Fault("clock: +10 s", "clock", "", "+10", holds(), "the clock of all nodes, set forward at once"),
    Fault("clock: -10 s", "clock", "", "-10", holds(), "the clock of all nodes, set back at once"),
)


def of_process(name: str, stopped: Expected, killed: Expected, waits: str = "") -> tuple[Fault, ...]:
    return (
        Fault(f"{name}: SIGSTOP 1 s", "stop", name, "", stopped, "", waits, 1.0),
        Fault(f"{name}: SIGSTOP 3 s", "stop", name, "", stopped, "the manager was told to bear it", waits, 3.0),
        Fault(f"{name}: SIGKILL", "kill", name, "", killed, "the node is started again", waits, 1.0, costly=True),
    )


PROCESSES = (
    *of_process("sim", holds(), Expected((HOLD, READY), (RUNNING, READY)), "states"),  # it comes back with another task
    *of_process("command", Expected((GONE,)), Expected((GONE,)), ""),
    *of_process("policy", holds(), holds(), "rows"),
    *of_process("recorder", goes_on(), goes_on()),
    Fault("manager: SIGSTOP 1 s", "stop", "manager", "", goes_on()),
    Fault(
        "manager: SIGSTOP 6 s", "stop", "manager", "", goes_on(), "with its own timeout of 4 s: nobody else was silent", "",
        6.0, MANAGED, costly=True,
    ),
    *(
        Fault(f"{name}: {told} managed", kind, name, "for good", expected, "the manager takes the stack down", waits, 8.0,
              MANAGED, costly=True)
        for told, kind in (("SIGKILL", "kill"), ("SIGSTOP", "stop"))
        for name, expected, waits in (
            ("sim", Expected((HOLD, READY), ("DISABLED", GONE), stack=TAKEN_DOWN), "states"),
            ("policy", Expected((HOLD, READY), ("DISABLED", GONE), stack=TAKEN_DOWN), "rows"),
            ("command", Expected((GONE,), (), stack=TAKEN_DOWN), ""),
            ("recorder", Expected(("DISABLED",), ("DISABLED", GONE), stack=TAKEN_DOWN), "heartbeat"),
        )
    ),
    Fault(
        "manager: SIGKILL", "kill", "manager", "for good", Expected((RUNNING,), (RUNNING,)),
        "the arm goes on; whoever started the stack sees that a process ended, and stops it", "", 1.0, MANAGED, costly=True,
    ),
)  # fmt: skip

REST = (
    Fault(
        "disk: full", "disk", "recorder", "", goes_on("recorder: recording"), "recording stops, the robot does not", "", 1.0
    ),
    Fault(
        "memory: adaptation has none", "memory", "adapt", "", goes_on("adapt: adaptation"),
        "the address space of its process is cut to what it has", "", 1.0, costly=True,
    ),
    Fault(
        "weights: NaN", "weights", "policy", "", Expected((READY,), (READY,), shows="policy: decision"),
        "a checkpoint of numbers that are none: nothing is ever commanded", "", 3.0, BROKEN, costly=True,
    ),
)  # fmt: skip

TABLE = (*INPUTS, *CLOCKS, *PROCESSES, *REST)
