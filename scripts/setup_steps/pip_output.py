"""pip's own lines in short form, so that a long download shows how far it is."""

import re
from collections.abc import Callable

DOWNLOADING = re.compile(r"\s*Downloading (?:\S*/)?([^/\s]+?)-([^-\s]+)-\S+\.whl(?!\.metadata)(?: \(([^)]*)\))?")
COLLECTING = re.compile(r"\s*Collecting ([A-Za-z0-9._-]+)")
RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
INSTALLING = re.compile(r"\s*Installing collected packages: (.*)")


class PipOutput:
    """Follows the lines of one `pip install --progress-bar raw` and says in a few words where it is."""

    def __init__(self, count_installed: Callable[[], int]) -> None:
        self.count_installed = count_installed
        self.doing = "starting pip"
        self.downloaded_bytes = 0  # by files that are complete
        self.to_install = 0
        self._file = ""
        self._last_size = 0
        self._before = 0

    def take(self, line: str) -> None:
        if match := RAW_PROGRESS.match(line):
            done, size = int(match[1]), int(match[2])
            total = f" of {size / 1e6:.0f}" if size else ""
            sum_text = f", {(self.downloaded_bytes + done) / 1e9:.2f} GB in all"
            self.doing = f"downloading {self._file}: {done / 1e6:.0f}{total} MB{sum_text}"
            self._last_size = done
        elif match := DOWNLOADING.match(line):
            self._count_file()
            self._file = f"{match[1]} {match[2]}"
            self.doing = f"downloading {self._file}"
        elif match := COLLECTING.match(line):
            self.doing = f"looking up {match[1]}"
        elif match := INSTALLING.match(line):
            self._count_file()
            self.to_install = len(match[1].split(","))
            self._before = self.count_installed()

    def note(self) -> str:
        if not self.to_install:
            return self.doing
        # pip itself is silent here, for minutes; packages that are replaced do not raise the count.
        return f"installing, {max(0, self.count_installed() - self._before)} of {self.to_install} packages written"

    def _count_file(self) -> None:
        self.downloaded_bytes += self._last_size
        self._last_size = 0
