"""Where the commanded tool point may go: a box, less the table in it.

The target of relative actions runs away from a blocked arm; pressed into the table it would push with all the arm's force. So a
target that would enter the table slides along its top or its front edge instead.
"""

from dataclasses import dataclass

import numpy as np

from worldagen_sim.playtable.desk import TABLE_TOP_M, TABLE_Y_M


@dataclass(frozen=True)
class WorkSpace:
    """Metres in the world frame. The hand is 6 cm thick: in front of the table it keeps its distance from the edge."""

    lower_m: tuple[float, float, float] = (-0.30, -0.48, 0.345)
    upper_m: tuple[float, float, float] = (0.40, 0.20, 0.80)
    table_top_m: float = TABLE_TOP_M + 0.012
    table_front_m: float = TABLE_Y_M[0] - 0.035

    def clip(self, before_m: np.ndarray, wanted_m: np.ndarray) -> np.ndarray:
        """The allowed point (3,) nearest to the wanted one, coming from an allowed one."""
        point = np.clip(wanted_m, self.lower_m, self.upper_m)
        if point[1] > self.table_front_m and point[2] < self.table_top_m:
            came_over_the_top = before_m[1] > self.table_front_m
            if came_over_the_top:
                point[2] = self.table_top_m
            else:
                point[1] = self.table_front_m
        return point
