"""The conditions an episode begins with: given and checked, or drawn so that its task can be done."""

from worldagen.errors import SimulatorError
from worldagen_sim.playtable.conditions import Conditions, checked, draw_conditions
from worldagen_sim.playtable.draws import Draws
from worldagen_sim.playtable.tasks import RULES


def start_conditions(task: str, draws: Draws, given: Conditions | None) -> Conditions:
    """Conditions in which the task can be done. Raises SimulatorError for given ones that cannot be, or rule it out."""
    if given is not None:
        conditions = checked(given)
        if not RULES[task].requires(conditions):
            told = ", ".join(f"{name} {value}" for name, value in conditions.items())
            raise SimulatorError(f"{task} cannot be done from these conditions: {told}")
        return conditions
    random = draws.generator("conditions")
    while True:  # the rarest requirement is met by about every fiftieth draw
        conditions = draw_conditions(random)
        if RULES[task].requires(conditions):
            return conditions
