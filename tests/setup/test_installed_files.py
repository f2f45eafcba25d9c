"""What is installed is judged by pip's own lists of files, so that a killed pip or a full disk is noticed."""

import pytest
from setup_steps import records


@pytest.fixture
def site_packages(tmp_path):
    """Two whole distributions that share one file."""
    install(tmp_path, "arm", "1.0", {"arm/__init__.py": "x = 1\n", "shared/note.txt": "from arm"})
    install(tmp_path, "Leg_Kit", "2.0", {"leg/__init__.py": "", "shared/note.txt": "from leg kit"})
    return tmp_path


def install(site_packages, name, version, files):
    metadata = f"{name}-{version}.dist-info"
    rows = [f"{metadata}/RECORD,,"]
    for path, text in {**files, f"{metadata}/METADATA": f"Name: {name}\n"}.items():
        (site_packages / path).parent.mkdir(parents=True, exist_ok=True)
        (site_packages / path).write_text(text)
        rows.append(f"{path},sha256=x,{len(text)}")
    (site_packages / metadata / "RECORD").write_text("\n".join(rows) + "\n")


def damage(site_packages):
    return {folder.name: fault for folder, fault in records.damaged(site_packages).items()}


def test_whole_distributions_are_whole_even_when_they_share_a_file(site_packages):
    assert damage(site_packages) == {}
    assert records.installed(site_packages) == {"arm": "1.0", "leg-kit": "2.0"}


def test_a_file_cut_short_is_noticed(site_packages):
    (site_packages / "arm/__init__.py").write_text("x")
    assert damage(site_packages) == {"arm-1.0.dist-info": "arm/__init__.py is cut short"}


def test_a_missing_file_is_noticed(site_packages):
    (site_packages / "leg/__init__.py").unlink()
    assert damage(site_packages) == {"Leg_Kit-2.0.dist-info": "leg/__init__.py is missing"}


@pytest.mark.parametrize("name", ["RECORD", "METADATA"])
def test_a_distribution_without_its_metadata_is_noticed(site_packages, name):
    (site_packages / "arm-1.0.dist-info" / name).unlink()
    assert list(damage(site_packages)) == ["arm-1.0.dist-info"]


def test_compiled_files_and_repaired_exports_may_change(tmp_path):
    changing = {"a/__pycache__/a.pyc": "1", "share/a__rosidl_generator_pyExport.cmake": "2"}
    install(tmp_path, "a", "1", changing)
    for path in changing:
        (tmp_path / path).write_text("rewritten")
    assert damage(tmp_path) == {}


def test_pins_are_read_without_their_markers(tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("Open_CLIP.torch==3.3.0\ntomli==2.5.0 ; python_full_version <= '3.11'\n")
    assert records.read_pins(constraints) == {"open-clip-torch": "3.3.0", "tomli": "2.5.0"}
