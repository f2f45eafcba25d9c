"""What a simulator can be asked while it is explored: the words of its tasks, and which task an instruction means."""

from worldagen_sim.environment import Environment


def plain_instructions(environment: Environment) -> tuple[str, ...]:
    """The plain words of every task, in the environment's order."""
    return tuple(task.instruction for task in environment.tasks)


def task_of(environment: Environment, instruction: str) -> str:
    """The task that an instruction asks for, in any of its phrasings; empty when it is nobody's."""
    words = instruction.strip().lower()
    for task in environment.tasks:
        if words in (phrasing.lower() for phrasing in (*task.phrasings, *task.held_out)):
            return task.name
    return ""
