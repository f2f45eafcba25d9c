"""Changes of single values, as the command line and the launch files take them."""

from collections.abc import Iterable
from typing import Any

import yaml

from worldagen.config import Leaf
from worldagen.errors import ConfigError


def parse_overrides(settings: Iterable[str]) -> dict[str, str]:
    """["a.b=1"] -> {"a.b": "1"}; raises ConfigError for one without a key or an equals sign."""
    overrides = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise ConfigError(f"override {setting!r}: expected KEY=VALUE, e.g. sim.scene=D")
        overrides[key] = value
    return overrides


def value_of(leaf: Leaf, text: str) -> Any:
    """A text of a bag's parameters, or of the command line, in the type of its leaf; what does not fit stays as it is."""
    if isinstance(leaf.default, str):
        return text
    try:
        if isinstance(leaf.default, float):
            return float(text)
        return yaml.safe_load(text.replace("(", "[").replace(")", "]"))
    except (ValueError, yaml.YAMLError):
        return text
