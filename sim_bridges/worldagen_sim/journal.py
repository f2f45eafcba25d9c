"""A file of JSON lines that only grows: what was written before a kill is there after it, and a torn last line is dropped."""

import json
from pathlib import Path
from typing import Any

from worldagen.whole_files import write_whole


class Journal:
    """One process writes it. `lines` are all that are whole, in the order in which they were written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # else the next line would be glued to the torn one
            write_whole(file, whole)
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]

    def append(self, line: dict[str, Any]) -> None:
        """Write one line; the operating system has it when this returns."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)
