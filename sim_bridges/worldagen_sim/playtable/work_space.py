"""Where the commanded tool point may go: a box, as far as the arm reaches, less the table in it.

The target of relative actions runs away from a blocked or stretched arm; pressed into the table it would push with all the
arm's force. So a target that would enter the table slides along its top or its front edge instead, and one out of reach stays
on the ball that the tool reaches with the hand pointing down.
"""

from dataclasses import dataclass

import numpy as np

from worldagen_sim.playtable.panda import ARM_JOINTS, BASE_M, FLANGE_OFFSET_M, TCP_OFFSET_M
from worldagen_sim.playtable.surfaces import TABLE_TOP_M, TABLE_Y_M

# The middle of the ball: below the shoulder by as much as the tool is below the wrist.
BALL_CENTRE_M = (*BASE_M[:2], BASE_M[2] + ARM_JOINTS[0].offset_m[2] - FLANGE_OFFSET_M - TCP_OFFSET_M)


@dataclass(frozen=True)
class WorkSpace:
    """Metres in the world frame. The hand is 6 cm thick: in front of the table it keeps its distance from the edge."""

    lower_m: tuple[float, float, float] = (-0.39, -0.48, 0.345)
    upper_m: tuple[float, float, float] = (0.40, 0.20, 0.80)
    reach_m: float = 0.75
    nearest_m: float = 0.28  # across, from the base's axis: nearer the arm cannot fold
    table_top_m: float = TABLE_TOP_M + 0.018  # the finger tips reach 9 mm below the tool point
    table_front_m: float = TABLE_Y_M[0] - 0.035

    def clip(self, before_m: np.ndarray, wanted_m: np.ndarray) -> np.ndarray:
        """An allowed point (3,) next to the wanted one, coming from an allowed one."""
        point = self._within_reach(np.clip(wanted_m, self.lower_m, self.upper_m))
        if point[1] > self.table_front_m and point[2] < self.table_top_m:
            came_over_the_top = before_m[1] > self.table_front_m
            if came_over_the_top:
                point[2] = self.table_top_m
            else:
                point[1] = self.table_front_m
        return point

    def _within_reach(self, point_m: np.ndarray) -> np.ndarray:
        offset = point_m - BALL_CENTRE_M
        offset *= min(1.0, self.reach_m / max(float(np.linalg.norm(offset)), 1e-9))
        across = max(float(np.linalg.norm(offset[:2])), 1e-9)
        offset[:2] *= max(1.0, self.nearest_m / across)
        return BALL_CENTRE_M + offset
