"""The workspace is built again when something that decides the build changed, and only then."""

import pytest
from setup_steps.workspace import changed, listing, packages, sources, stale


@pytest.fixture
def src(tmp_path):
    for path in ("msgs/package.xml", "msgs/msg/Chunk.msg", "nodes/package.xml", "nodes/setup.py", "nodes/config/arm.yaml"):
        write(tmp_path / path, path)
    write(tmp_path / "nodes/nodes/__init__.py", "")
    write(tmp_path / "nodes/nodes/policy.py", "x = 1")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_packages_are_the_folders_with_a_manifest(src):
    assert packages(src) == ["msgs", "nodes"]


@pytest.mark.parametrize("path", ["msgs/msg/Chunk.msg", "nodes/setup.py", "msgs/package.xml"])
def test_a_changed_definition_calls_for_a_build(src, path):
    before = sources(src)
    write(src / path, "changed")
    assert sources(src) != before


def test_linked_files_may_change_freely_but_a_new_one_must_be_linked(src):
    before = sources(src)
    write(src / "nodes/nodes/policy.py", "x = 2")
    write(src / "nodes/nodes/new_module.py", "y = 1")
    write(src / "nodes/config/arm.yaml", "changed")
    assert sources(src) == before
    write(src / "nodes/config/leg.yaml", "new")
    assert sources(src) != before


def test_files_that_vanish_from_the_build_are_noticed(tmp_path):
    write(tmp_path / "lib/libmsgs.so", "12345")
    (tmp_path / "share").mkdir()
    target = tmp_path / "source.yaml"
    target.touch()
    (tmp_path / "share/link.yaml").symlink_to(target)
    files = dict(listing(tmp_path))
    assert changed(tmp_path, files) == []
    (tmp_path / "lib/libmsgs.so").write_text("123")
    target.unlink()
    assert sorted(changed(tmp_path, files)) == ["lib/libmsgs.so", "share/link.yaml", "source.yaml"]


GROUND = ["checkout", "environment", "3.11"]
BUILT = {"ground": GROUND, "sources": ["msgs/msg/A.msg", "nodes/config/arm.yaml"]}
SAME = dict.fromkeys(BUILT["sources"], "digest")


def test_nothing_is_thrown_away_for_a_change_that_colcon_sees_itself():
    assert stale(BUILT, GROUND, {**SAME, "msgs/msg/B.msg": "new"}, damaged=[]) == []


def test_an_unfinished_build_or_another_environment_starts_from_nothing():
    assert stale({}, GROUND, SAME, damaged=[]) == ["build", "install", "log"]
    assert stale(BUILT, ["elsewhere"], SAME, damaged=[]) == ["build", "install", "log"]


def test_a_removed_or_damaged_file_concerns_only_its_own_package():
    only_messages = {"msgs/msg/A.msg": "digest"}
    assert stale(BUILT, GROUND, only_messages, damaged=[]) == ["build/nodes", "install/nodes"]
    assert stale(BUILT, GROUND, SAME, damaged=["msgs/lib/libmsgs.so", "setup.bash"]) == ["build/msgs", "install/msgs"]
