"""An arm for tests of the live commander: two clocks, joint states, and a tool that goes where it is sent, or does not."""

from dataclasses import dataclass, field

import numpy as np

from worldagen.gripper import BinaryGripper
from worldagen.limits import LimitsConfig
from worldagen.live_commanding import LiveCommand, LiveCommander
from worldagen.poses import Pose
from worldagen.types import ActionChunk

PERIOD_S = 0.01
HERE = Pose.from_euler(np.array([0.1, 0.2, 0.5, np.pi, 0.0, 0.0]))
ROW_S = 0.05


def chunk(
    stamp_ns: int, rows: int = 10, sequence: int = 0, x_m: float = 0.005, opening: float = 1.0, row=None, **changes
) -> ActionChunk:
    """Rows of 50 ms that move the tool along x, or all of them that row (7,)."""
    motion = np.tile([x_m, 0.0, 0.0, 0.0, 0.0, 0.0, opening] if row is None else row, (rows, 1))
    return ActionChunk(
        **{"stamp_ns": stamp_ns, "sequence": sequence, "period_s": ROW_S, "convention": "calvin", "rows": motion} | changes
    )


def commander_with(limits: LimitsConfig | None = None, period_s: float = PERIOD_S, blend_rows: int = 0) -> LiveCommander:
    return LiveCommander(
        limits or LimitsConfig(),
        BinaryGripper(),
        period_s=period_s,
        blend_rows=blend_rows,
        max_chunk_age_s=0.5,
        max_state_age_s=0.2,
        max_tick_gap_s=0.1,
        max_clock_jump_s=0.1,
    )


@dataclass
class LiveArm:
    """Ticks a commander. What its fields say is so in the next tick."""

    commander: LiveCommander = field(default_factory=commander_with)
    measured: Pose | None = HERE
    state_age_s: float = 0.005
    states_bad: bool = False
    may_move: bool = True
    follows: bool = True
    now_ns: int = 1_000_000_000_000
    steady_ns: int = 5_000_000_000
    commands: list[LiveCommand | None] = field(default_factory=list)

    def tick(self, times: int = 1, period_s: float = PERIOD_S) -> LiveCommand | None:
        for _ in range(times):
            self.now_ns += round(period_s * 1e9)
            self.steady_ns += round(period_s * 1e9)
            command = self.commander.tick(
                self.now_ns,
                self.steady_ns,
                self.measured,
                self.state_age_s,
                may_move=self.may_move,
                states_bad=self.states_bad,
            )
            self.commands.append(command)
            if command is not None and self.follows:
                self.measured = command.pose
        return self.commands[-1]

    def offer(self, rows: int = 10, age_s: float = 0.0, **changes) -> str:
        return self.commander.offer(chunk(self.now_ns - round(age_s * 1e9), rows, **changes), self.now_ns)

    def run(self, rows: int = 10, ticks: int = 5, **changes) -> "LiveArm":
        """Enable, offer a chunk, tick."""
        self.commander.enable()
        self.tick()
        self.offer(rows, **changes)
        self.tick(ticks)
        return self

    @property
    def x(self) -> list[float]:
        return [float(command.pose.position[0]) for command in self.commands if command is not None]
