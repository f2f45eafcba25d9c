"""Conditions of an episode in a simulator's own words: each of some names has one of some values."""

from collections.abc import Collection, Mapping


def fault_of_choices(conditions: Mapping[str, str], choices: Mapping[str, Collection[str]]) -> str:
    """What is missing, unknown or not among the choices, in words; "" when nothing is."""
    for name, known in choices.items():
        if name not in conditions:
            return f"{name} is missing"
        if conditions[name] not in known:
            return f"{name} is {conditions[name]!r}; expected one of {', '.join(known)}"
    if unknown := [name for name in conditions if name not in choices]:
        return f"there is no {unknown[0]!r}; the table has {', '.join(choices)}"
    return ""
