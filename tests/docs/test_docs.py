"""What the pages say is so: links lead somewhere, programs run, commands exist."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from worldagen.cli import find_commands

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    pytest.importorskip("worldagen_ros", reason="needs the built workspace: run scripts/test")
    known = find_commands()
    for line in "\n".join(blocks(page, "sh")).splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["worldagen"]:
            assert words[1] in known, line
        elif words and words[0].startswith("scripts/"):
            assert (ROOT / words[0]).exists(), line


def test_the_checkpoint_program_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(blocks(ROOT / "docs/checkpoints.md", "python")[0], {})
    assert (tmp_path / "out/random/model.safetensors").exists()


def test_the_program_without_ros_runs(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")  # the same everywhere: ray casting
    program = next(text for text in blocks(ROOT / "docs/first-steps.md", "python") if "make_environment" in text)
    names: dict = {}
    exec(program, names)
    assert names["state"].success and names["picture"].shape == (200, 200, 3)
    names["environment"].close()


@pytest.mark.parametrize("number", [0, 1])
def test_the_programs_about_the_playtable_run(number, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    names: dict = {}
    exec(blocks(ROOT / "docs/playtable.md", "python")[number], names)
    assert names.get("done_in_a_row", [5, 5]) == [5, 5]


def test_the_table_of_the_experts_is_that_of_the_recorded_result():
    result = ROOT / "benchmarks/results/expert_success.json"
    command = [sys.executable, str(ROOT / "benchmarks/expert_success.py"), "--show", str(result)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    page = (ROOT / "docs/playtable.md").read_text("utf-8")
    assert page.split("<!-- table: experts -->\n")[1].split("<!-- end of table -->")[0] == table


def test_the_bag_program_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(blocks(ROOT / "docs/bags.md", "python")[0], {})
    assert capsys.readouterr().out == "1 hi lift_red_block\n"


def shell(line: str, folder: Path) -> str:
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, env=commands_environment())
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def commands_environment() -> dict[str, str]:
    return {**os.environ, "MUJOCO_GL": "disable", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.timeout(900)  # several programs in turn, on a machine that may be busy
def test_the_way_from_bags_to_a_checkpoint_runs_as_it_is_told(tmp_path):
    pytest.importorskip("worldagen_ros", reason="needs the built workspace: run scripts/test")
    page = ROOT / "docs/training.md"
    (tmp_path / "mine.yaml").write_text(blocks(page, "yaml")[0], "utf-8")
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if "out/mine" in line]
    live = [line for line in lines if "bag record" in line]  # beside a running robot: tests/ros/test_recorder.py does that
    for line in lines:
        if line not in live:
            shell(line, tmp_path)
    assert len(live) == 1 and len(lines) >= 6
    assert (tmp_path / "out/mine/run/checkpoint/model.safetensors").is_file()
    assert (tmp_path / "out/mine/score/report.html").is_file()


SMALLER = (
    "record.scenes=A record.tasks=open_drawer record.episodes_per_task=2 encoder.loop.steps=2 policy.loop.steps=2 "
    "choice.candidates=1 choice.episodes=1 choice.scenes=A data.held_out_every=2 machine.decode_processes=1"
)


@pytest.mark.timeout(900)  # several programs in turn, on a machine that may be busy
def test_the_shipped_recipe_goes_all_the_way(tmp_path):
    """The command of the page, with everything made small."""
    pytest.importorskip("worldagen_ros", reason="needs the built workspace: run scripts/test")
    line = blocks(ROOT / "docs/training.md", "sh")[0].strip()
    told = shell(" ".join([line, *(f"--set {setting}" for setting in SMALLER.split())]), tmp_path)
    assert "<- chosen" in told
    report = json.loads((tmp_path / "out/playtable/training.json").read_text("utf-8"))
    assert report["candidates"][0]["success"] in (0.0, 1.0) and report["chosen"] == "0_000002"
