"""What the person at the keyboard sees: one line per step, and something that moves while a step takes long."""

import sys
import time
from typing import TextIO

QUIET_PERIOD_S = 5.0  # in a log file, how often a long step says where it is


class Progress:
    """Prints `[3/6] packages: ...`; on a terminal the note of the moment is overwritten by the next one."""

    def __init__(self, total: int, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.total = total
        self.live = self.out.isatty()
        self.prefix = ""
        self.step_started = self.last_note = time.monotonic()
        self.note_shown = False

    def begin(self, number: int, name: str) -> None:
        self.prefix = f"[{number}/{self.total}] {name}"
        self.step_started = self.last_note = time.monotonic()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(f"{self.prefix}: {text}", file=self.out, flush=True)

    def note(self, text: str) -> None:
        """Where a long step is at the moment."""
        now = time.monotonic()
        if now - self.last_note < (0.1 if self.live else QUIET_PERIOD_S):
            return
        self.last_note = now
        line = f"{self.prefix}: {text} ({now - self.step_started:.0f} s)"
        if self.live:
            self._clear()
            print(line[:100], end="", file=self.out, flush=True)
            self.note_shown = True
        else:
            print(line, file=self.out, flush=True)

    def finish(self, text: str) -> None:
        self.say(f"{text} ({time.monotonic() - self.step_started:.1f} s)")

    def _clear(self) -> None:
        if self.note_shown:
            print("\r\033[K", end="", file=self.out)
            self.note_shown = False
