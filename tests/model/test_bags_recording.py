"""A recording writes what it is offered, counts what it cannot, keeps the disk's floor, and survives being killed."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bag_making import JOINTS, STATIC, episode, joints, picture

from worldagen.bags import writer
from worldagen.bags.check import Level, check_bag
from worldagen.bags.disk import DiskGuard, free_bytes
from worldagen.bags.reader import open_bag
from worldagen.bags.recording import Recording
from worldagen.bags.recover import recover_bag
from worldagen.bags.writer import BagWriter, WriterOptions
from worldagen.errors import BagError, DiskFull

MIB = 1 << 20
PLENTY = 1 << 50


def record(folder: Path, free=lambda _: PLENTY, **options) -> Recording:
    recording = Recording(folder, {"episode": {"task": "lift"}}, WriterOptions(), DiskGuard(folder, 100 * MIB, free), **options)
    recording.add_topic(JOINTS)
    recording.add_topic(STATIC)
    return recording


def wait_for(condition, what: str, patience_s: float = 10.0):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        time.sleep(0.005)


def test_what_is_offered_is_written_in_order(tmp_path):
    recording = record(tmp_path / "bag")
    offered = [item for item in episode(2.0) if item[0] in (JOINTS, STATIC)]
    assert all(recording.offer(what.name, data, *times) for what, data, *times in offered)
    report = recording.stop()
    assert report.messages == {JOINTS.name: 60, STATIC.name: 60} and not report.stopped and report.dropped == {}
    assert recording.stop() == report
    with open_bag(tmp_path / "bag") as bag:
        assert [message.data for message in bag.messages()] == [data for _, data, *_ in offered]
        assert bag.metadata["recording"]["stopped"] == ""
    assert not recording.offer(JOINTS.name, joints(1), 1, 1)


def test_it_is_flushed_by_the_clock_without_another_message(tmp_path):
    recording = record(tmp_path / "bag", flush_s=0.05)
    recording.offer(JOINTS.name, joints(1), 1, 1)
    before = (tmp_path / "bag/bag_0.mcap").stat().st_size
    wait_for(lambda: (tmp_path / "bag/bag_0.mcap").stat().st_size > before + 100, "the flush")
    assert recover_bag(tmp_path / "bag").topics[JOINTS.name].messages == 1
    recording.stop()


def test_a_full_queue_drops_and_counts_and_the_check_says_so(tmp_path, monkeypatch):
    write, held = BagWriter.write, []

    def slow(self, *item):
        held.append(item)
        wait_for(lambda: len(held) > 100, "the test to let the disk go on")
        write(self, *item)

    monkeypatch.setattr(BagWriter, "write", slow)
    data = joints(1)
    recording = record(tmp_path / "bag", queue_bytes=5 * len(data))
    taken = [recording.offer(JOINTS.name, data, index, index) for index in range(20)]
    held.extend([()] * 101)
    report = recording.stop()
    assert sum(taken) >= 5 and not all(taken)
    assert report.messages[JOINTS.name] == sum(taken) and report.dropped == {JOINTS.name: 20 - sum(taken)}
    assert 1 <= report.most_queued <= 7 and report.most_queued_bytes == 5 * len(data)
    found = [str(finding) for finding in check_bag(tmp_path / "bag") if finding.level is Level.FAIL]
    assert f"FAIL {JOINTS.name}: the recorder dropped {20 - sum(taken)} messages" in found


def test_below_the_floor_nothing_is_begun(tmp_path):
    with pytest.raises(DiskFull, match="99 MiB of disk are free; recording needs 100 MiB"):
        record(tmp_path / "bag", free=lambda _: 99 * MIB)
    assert not (tmp_path / "bag").exists()


def test_at_the_floor_the_bag_is_finished_and_recording_ends(tmp_path):
    free = [PLENTY]
    recording = record(tmp_path / "bag", free=lambda _: free[0], flush_s=0.02)
    assert recording.offer(JOINTS.name, joints(1), 1, 1)
    wait_for(lambda: recording.progress().messages.get(JOINTS.name), "the message to be written")
    free[0] = 50 * MIB
    wait_for(lambda: recording.failure, "the floor to be noticed")
    assert not recording.offer(JOINTS.name, joints(2), 2, 2)
    report = recording.stop()
    assert report.finished and "50 MiB of disk are free" in report.stopped and report.dropped == {JOINTS.name: 1}
    with open_bag(tmp_path / "bag") as bag:
        assert bag.counts[JOINTS.name] == 1 and "50 MiB" in bag.metadata["recording"]["stopped"]


def test_a_disk_that_is_full_all_at_once_ends_it_and_what_was_written_is_recovered(tmp_path, monkeypatch):
    class Full(writer._Output):
        def write(self, data: bytes) -> int:
            if self.count > 60_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(writer, "_Output", Full)
    folder = tmp_path / "bag"
    recording = Recording(folder, {}, WriterOptions("none", chunk_bytes=5000), DiskGuard(folder, 0, lambda _: PLENTY))
    recording.add_topic(STATIC)
    for index in range(1000):
        recording.offer(STATIC.name, picture(index), index, index)
    report = recording.stop()
    assert not report.finished and "No space left on device" in report.stopped
    monkeypatch.undo()
    saved = recover_bag(folder).topics[STATIC.name].messages
    assert 100 < saved < 1000


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag/mine").write_text("")
    with pytest.raises(BagError, match="not empty"):
        record(tmp_path / "bag")


def test_free_disk_is_counted_where_the_folder_will_be(tmp_path):
    assert free_bytes(tmp_path / "not/there/yet") == pytest.approx(free_bytes(tmp_path), rel=0.1)
    assert DiskGuard(tmp_path / "bag", 1).check() is None


RECORDER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from bag_making import JOINTS, joints
from worldagen.bags.disk import DiskGuard
from worldagen.bags.recording import Recording
from worldagen.bags.writer import WriterOptions
folder = Path(sys.argv[1])
recording = Recording(folder, {}, WriterOptions(), DiskGuard(folder, 0), flush_s=0.2)
recording.add_topic(JOINTS)
while True:
    now_ns = time.time_ns()
    recording.offer(JOINTS.name, joints(now_ns), now_ns, now_ns)
    print(now_ns, flush=True)
    time.sleep(0.002)
"""


def test_killed_it_loses_no_more_than_the_flush_interval_and_a_little(tmp_path):
    command = [sys.executable, "-c", RECORDER, str(tmp_path / "bag"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        sent = [int(process.stdout.readline()) for _ in range(600)]
        process.send_signal(signal.SIGKILL)
        sent += [int(line) for line in process.stdout.read().splitlines()]
        assert process.wait(timeout=10) == -signal.SIGKILL
    recovery = recover_bag(tmp_path / "bag")
    with open_bag(recovery.folder) as bag:
        found = [message.log_time_ns for message in bag.messages()]
    assert found == sent[: len(found)]
    assert (sent[-1] - found[-1]) * 1e-9 < 1.0
