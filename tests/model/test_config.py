"""A deployment file is taken exactly or refused by name."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from worldagen.config import check_leaf, leaves, load_config, setting
from worldagen.errors import ConfigError
from worldagen.limits import LimitsConfig


@dataclass(frozen=True)
class Arm:
    speed_m_s: float = setting(0.1, "speed, m/s", low=0.0, high=1.0)
    joints: int = setting(7, "joints", low=1)
    home: tuple[float, ...] = setting((0.0, 0.5), "home, rad", low=-3.0, high=3.0)


@dataclass(frozen=True)
class Cell:
    name: str = setting("left", "which cell", choices=("left", "right"))
    lit: bool = setting(True, "lamp")
    arm: Arm = field(default_factory=Arm)


def load(tmp_path: Path, text: str, **overrides: str) -> Cell:
    path = tmp_path / "cell.yaml"
    path.write_text(text)
    return load_config(path, Cell(), {key.replace("__", "."): value for key, value in overrides.items()})


def test_an_empty_file_keeps_every_default(tmp_path):
    assert load(tmp_path, "") == Cell()


def test_a_file_changes_only_what_it_names(tmp_path):
    cell = load(tmp_path, "arm: {speed_m_s: 1, home: [1, 2.5]}")
    assert cell.arm.speed_m_s == 1.0 and isinstance(cell.arm.speed_m_s, float)
    assert cell.arm.home == (1.0, 2.5)
    assert cell.name == "left"


def test_an_override_wins_over_the_file(tmp_path):
    assert load(tmp_path, "arm: {joints: 6}", arm__joints="5").arm.joints == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour: red", ["unknown key colour", "name, lit, arm"]),
        ("arm: {sped: 1}", ["unknown key arm.sped", "arm.speed_m_s"]),
        ("arm: {speed_m_s: 2}", ["arm.speed_m_s is 2", "from 0 to 1"]),
        ("arm: {speed_m_s: .nan}", ["arm.speed_m_s is nan", "a number"]),
        ("arm: {speed_m_s: fast}", ["arm.speed_m_s is 'fast'", "a number"]),
        ("arm: {joints: 6.5}", ["arm.joints is 6.5", "a whole number of at least 1"]),
        ("arm: {joints: true}", ["arm.joints is True", "a whole number"]),
        ("arm: {home: [1]}", ["arm.home is [1]", "2 values"]),
        ("arm: {home: [1, 9]}", ["arm.home is [1, 9]", "from -3 to 3"]),
        ("arm: 5", ["arm is 5", "a mapping"]),
        ("name: middle", ["name is 'middle'", "left, right"]),
        ("lit: 1", ["lit is 1", "true or false"]),
        ("[1, 2]", ["the file is [1, 2]"]),
        ("a: [", ["cannot be read as YAML"]),
    ],
)
def test_a_bad_file_is_refused_naming_file_key_value_and_what_is_allowed(tmp_path, text, says):
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, text)
    for words in [str(tmp_path / "cell.yaml"), *says]:
        assert words in str(refusal.value)


def test_a_bad_override_is_refused_by_its_own_words(tmp_path):
    with pytest.raises(ConfigError, match=r"override arm\.joints=0: arm\.joints is 0; allowed: a whole number of at least 1"):
        load(tmp_path, "", arm__joints="0")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.yaml", Cell())


def test_leaves_have_dotted_keys_in_order():
    assert [leaf.key for leaf in leaves(Cell())] == ["name", "lit", "arm.speed_m_s", "arm.joints", "arm.home"]


def test_a_leaf_that_repeats_takes_multiples_of_its_length_and_nothing_else():
    leaf = next(leaf for leaf in leaves(LimitsConfig()) if leaf.key == "keep_out_m")
    twice = [0.0, 0.0, 0.0, 0.1, 0.1, 0.1] * 2
    assert check_leaf(leaf, twice, "here") == tuple(twice)
    for wrong in ([], twice[:5], twice[:7]):
        with pytest.raises(ConfigError, match="6 values, or a multiple of that, each a number"):
            check_leaf(leaf, wrong, "here")


@dataclass(frozen=True)
class Switched:
    """A choice that YAML takes for a boolean."""

    route: str = setting("off", "a way", choices=("off", "mixture"))


def test_choices_that_yaml_reads_as_booleans_are_taken_as_they_are_written(tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text("route: off")
    assert load_config(file, Switched("mixture")).route == "off"
    assert load_config(file, Switched(), {"route": "off"}).route == "off"
    with pytest.raises(ConfigError, match="route is True; allowed: one of: off, mixture"):
        load_config(file, Switched(), {"route": "on"})
