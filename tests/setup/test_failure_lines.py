"""From a log to the one line that says what to do."""

import pytest
from setup_steps import failures


@pytest.fixture
def log(tmp_path):
    return tmp_path / "step.log"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("NewConnectionError: Failed to establish a new connection: [Errno 111] Connection refused", "cannot reach"),
        ("Caused by SSLError(SSLCertVerificationError(1, 'certificate verify failed'))", "certificate"),
        ("ERROR: No matching distribution found for torch==2.14.1", "lacks a package"),
        ("Segmentation fault", "read"),
    ],
)
def test_pip_failures_are_told_apart(log, tmp_path, text, line):
    log.write_text(f"\n$ pip install\n{text}\n")
    said = failures.pip_failed(log, tmp_path / "env")
    assert line in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("E: Unable to locate package g++", "cannot reach"),
        ("Err:1 Temporary failure resolving 'deb.invalid'", "cannot reach"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "the disk is full"),
        ("dpkg: error processing package", "step.log"),
    ],
)
def test_apt_failures_are_told_apart(log, text, line):
    log.write_text(text)
    assert line in failures.apt_failed(log, ["g++"])


def test_only_the_newest_command_counts(log, tmp_path):
    log.write_text("\n$ pip install\nErrno 28\n\n$ pip install\nConnection refused\n")
    assert "cannot reach" in failures.pip_failed(log, tmp_path)
