"""Real runs of scripts/setup that must fail: one line on stderr, a non-zero exit, and nothing half done is trusted."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from checkout import BASE_PYTHON
from setup_steps.disk import ENVIRONMENT_GB, free_gb

NOBODY = 65534


def the_one_line(run: subprocess.CompletedProcess) -> str:
    assert run.returncode != 0, run.stdout
    lines = run.stderr.splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("scripts/setup: ")
    return lines[0]


def fake_python(path: Path, version: str) -> Path:
    """Answers as an interpreter of that version would: the probe of scripts/setup fails in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'Python {version}'\nexit 1\n")
    path.chmod(0o755)
    return path


def tools(folder: Path, *names: str) -> Path:
    """A folder for PATH with only these programs in it."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def test_a_named_python_that_is_too_old(tmp_path, copy_checkout, run_setup):
    old = fake_python(tmp_path / "bin/python3.9", "3.9.18")
    line = the_one_line(run_setup(copy_checkout(tmp_path), {"WORLDAGEN_PYTHON": str(old)}))
    assert f"WORLDAGEN_PYTHON={old} is not a Python 3.10 to 3.12" in line


def test_no_suitable_python_anywhere(tmp_path, copy_checkout, run_setup):
    if Path("/usr/bin/python3").exists() and subprocess.run(["/usr/bin/python3", "-c", PROBE]).returncode == 0:
        pytest.skip("this machine's /usr/bin/python3 is suitable, and the set-up finds it")
    path = tools(tmp_path / "bin", "bash", "dirname", "id", "env")
    fake_python(path / "python3", "3.13.0")
    line = the_one_line(run_setup(copy_checkout(tmp_path), {"WORLDAGEN_PYTHON": "", "PATH": str(path)}))
    assert "no Python 3.10 to 3.12 was found" in line


PROBE = "import sys; raise SystemExit(not (3, 10) <= sys.version_info[:2] <= (3, 12))"


def test_an_argument_is_not_silently_ignored(tmp_path, copy_checkout):
    checkout = copy_checkout(tmp_path)
    run = subprocess.run([checkout / "scripts/setup", "--fast"], capture_output=True, text=True, check=False)
    assert "--fast" in the_one_line(run)


@pytest.mark.skipif(free_gb(Path(tempfile.gettempdir())) < ENVIRONMENT_GB, reason="the disk check would come first")
def test_no_network(tmp_path, copy_checkout, run_setup):
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_CACHE_DIR": "1"}
    checkout = copy_checkout(tmp_path)
    line = the_one_line(run_setup(checkout, nowhere))
    assert "pip cannot reach its package index" in line
    log = Path(line.rpartition("messages: ")[2].rstrip(")"))
    assert "127.0.0.1" in log.read_text()
    assert not (checkout / ".venv/.worldagen/packages.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_too_small(tmp_path, copy_checkout, run_setup):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        line = the_one_line(run_setup(copy_checkout(tmp_path), {"WORLDAGEN_VENV": str(disk / "env")}))
        assert f"{disk / 'env'} needs" in line
        assert "0.1 GB are free" in line
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming a user without rights needs root")
def test_no_compiler_and_no_rights_to_install_one(copy_checkout, run_setup):
    python = next((p for p in (BASE_PYTHON, "/usr/bin/python3") if usable_by_nobody(p)), None)
    if python is None:
        pytest.skip("no suitable Python that other users may run")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        os.chmod(folder, 0o755)
        checkout = copy_checkout(Path(folder))
        path = tools(Path(folder, "bin"), "bash", "dirname", "env")
        for where, _, files in os.walk(folder):
            for name in ("", *files):
                os.chown(os.path.join(where, name), NOBODY, NOBODY, follow_symlinks=False)
        environ = {"WORLDAGEN_PYTHON": python, "PATH": str(path)}
        line = the_one_line(run_setup(checkout, environ, user=NOBODY, group=NOBODY, extra_groups=[]))
    assert "g++" in line
    assert "run: sudo apt-get install g++" in line


def usable_by_nobody(python: str) -> bool:
    try:
        probe = subprocess.run([python, "-c", PROBE], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True)
    except OSError:
        return False
    return probe.returncode == 0
