"""What a check says: one finding, and a report of them as text for people or JSON for programs.

FAIL   it will not work, or not safely
WARN   it may cost somebody a day
OK     as it should be
SKIP   does not apply here, or cannot be looked at; the reason is told
"""

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from worldagen.errors import WorldAgenError


class Level(Enum):
    """How bad a finding is, worst first."""

    FAIL = "FAIL"
    WARN = "WARN"
    OK = "OK"
    SKIP = "SKIP"


COLOURS = {Level.FAIL: 31, Level.WARN: 33, Level.OK: 32, Level.SKIP: 90}
NARROWEST = 40  # columns beside the names for which sentences are still wrapped


@dataclass(frozen=True)
class Finding:
    """One line. check: its name. found: what is there. remedy: what to do about it; WARN and FAIL must have one."""

    level: Level
    check: str
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if (self.level in (Level.WARN, Level.FAIL)) != bool(self.remedy):
            raise ValueError(
                f"{self.check}: {self.level.value} with the remedy {self.remedy!r}; WARN and FAIL have one, others none"
            )

    @property
    def sentence(self) -> str:
        """What was found and, where there is one, the remedy."""
        return f"{self.found.rstrip('.')}. {self.remedy[0].upper()}{self.remedy[1:]}" if self.remedy else self.found


def ok(check: str, found: str) -> Finding:
    """As it should be."""
    return Finding(Level.OK, check, found)


def warn(check: str, found: str, remedy: str) -> Finding:
    """Works, and somebody should know."""
    return Finding(Level.WARN, check, found, remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    """Does not work."""
    return Finding(Level.FAIL, check, found, remedy)


def skip(check: str, reason: str) -> Finding:
    """Does not apply, or cannot be looked at."""
    return Finding(Level.SKIP, check, reason)


@dataclass(frozen=True)
class Group:
    """Findings under one title."""

    title: str
    findings: tuple[Finding, ...]


def attempt(check: str, look: Callable[[], Finding | Iterable[Finding]]) -> list[Finding]:
    """What a check finds. One that breaks says so in a line of its own and takes no other with it."""
    try:
        found = look()
        return [found] if isinstance(found, Finding) else list(found)
    except WorldAgenError as error:
        return [fail(check, " ".join(str(error).split()), "correct that and run this again")]
    except (OSError, subprocess.SubprocessError) as error:
        return [warn(check, f"could not be looked at ({error})", "look at it by hand")]
    except Exception as error:  # a doctor that dies of one symptom is no use; what broke is told
        return [fail(check, f"this check itself broke: {error!r}", "report it, with this line")]


def count(groups: Sequence[Group]) -> dict[Level, int]:
    """How many findings of each level, worst first."""
    levels = [finding.level for group in groups for finding in group.findings]
    return {level: levels.count(level) for level in Level}


def exit_code(groups: Sequence[Group]) -> int:
    """1 when anything fails, else 0."""
    return 1 if count(groups)[Level.FAIL] else 0


def as_text(groups: Sequence[Group], columns: int = 0, colour: bool = False) -> str:
    """One line a finding under the titles. columns: width of the terminal, within which sentences are wrapped; 0: never."""
    width = max((len(finding.check) for group in groups for finding in group.findings), default=0)
    lines = []
    for group in groups:
        lines += [
            *([""] if lines else []),
            group.title,
            *(_line(finding, width, columns, colour) for finding in group.findings),
        ]
    counted = ", ".join(f"{number} {level.value}" for level, number in count(groups).items() if number)
    return "\n".join([*lines, "", counted or "nothing was looked at"])


def as_json(groups: Sequence[Group]) -> str:
    """The same for programs."""
    counted = count(groups)
    tree = {
        "level": next((level.value for level, number in counted.items() if number), Level.SKIP.value),
        "counts": {level.value: number for level, number in counted.items()},
        "findings": [
            {
                "group": group.title,
                "check": finding.check,
                "level": finding.level.value,
                "found": finding.found,
                "remedy": finding.remedy,
            }
            for group in groups
            for finding in group.findings
        ],
    }
    return json.dumps(tree, indent=2, ensure_ascii=False)


def _line(finding: Finding, width: int, columns: int, colour: bool) -> str:
    """width: of the names of all checks."""
    head, text = f"  {finding.level.value:<4}  {finding.check:<{width}}  ", finding.sentence
    if columns >= NARROWEST + width:
        indent = " " * len(head)
        lines = textwrap.wrap(text, columns - len(head), break_on_hyphens=False, break_long_words=False)
        text = f"\n{indent}".join(lines)
    if colour:
        head = head.replace(finding.level.value, f"\033[{COLOURS[finding.level]}m{finding.level.value}\033[0m", 1)
    return head + text
