"""Changes of single values, as the command line and the launch files take them."""

from collections.abc import Iterable

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
