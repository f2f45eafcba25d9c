"""One typed configuration tree: YAML and overrides in, frozen dataclasses out; anything unexpected is refused by name.

A section is a frozen dataclass whose fields are leaves (str, bool, int, float, or a tuple of floats or strings) or other
sections. Defaults stand in the dataclass only; a file holds what differs. `setting` adds what a leaf may be.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from worldagen.errors import ConfigError

Section = TypeVar("Section")
YAML_BOOLEANS = {False: ("off", "no", "false"), True: ("on", "yes", "true")}


def setting(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    repeats: bool = False,
) -> Any:
    """A leaf with its meaning (unit included) and what is allowed: bounds are inclusive, choices are exhaustive.

    repeats: of a tuple, may be given as many times as long as its default is.
    """
    told = {"meaning": meaning, "low": low, "high": high, "choices": choices, "repeats": repeats}
    return dataclasses.field(default=default, metadata=told)


@dataclass(frozen=True)
class Leaf:
    """One leaf of a tree: its dotted key, its default and its field's metadata."""

    key: str
    default: Any
    metadata: Mapping[str, Any]


def leaves(section: Any, prefix: str = "") -> list[Leaf]:
    """Every leaf of a section, in order, with dotted keys."""
    found = []
    for item in fields(section):
        value = getattr(section, item.name)
        if is_dataclass(value):
            found += leaves(value, f"{prefix}{item.name}.")
        else:
            found.append(Leaf(prefix + item.name, value, item.metadata))
    return found


def load_config(path: Path, defaults: Section, overrides: Mapping[str, str] | None = None) -> Section:
    """The defaults, changed by a YAML file and then by overrides ("dotted.key" -> YAML text).

    Raises ConfigError naming the file or override, the key, the value, and what is allowed.
    """
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give a deployment's name or the path of a YAML file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    config = apply_tree(defaults, {} if tree is None else tree, str(path))
    for key, text in (overrides or {}).items():
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        config = apply_tree(config, nest(key, value), f"override {key}={text}")
    return config


def nest(key: str, value: Any) -> dict[str, Any]:
    """("a.b", 1) -> {"a": {"b": 1}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def apply_tree(section: Section, tree: Any, where: str, prefix: str = "") -> Section:
    """A section with the values of a nested mapping; raises ConfigError, naming `where`, on anything unexpected."""
    allowed = [item.name for item in fields(section)]  # type: ignore[arg-type]
    if not isinstance(tree, Mapping):
        place = prefix.rstrip(".") or "the file"
        raise ConfigError(f"{where}: {place} is {tree!r}; expected a mapping with some of: {', '.join(allowed)}")
    changes = {}
    for name, value in tree.items():
        if name not in allowed:
            raise ConfigError(
                f"{where}: unknown key {prefix}{name}; allowed here: {', '.join(prefix + key for key in allowed)}"
            )
        default = getattr(section, name)
        if is_dataclass(default):
            changes[name] = apply_tree(default, value, where, f"{prefix}{name}.")
        else:
            metadata = next(item.metadata for item in fields(section) if item.name == name)  # type: ignore[arg-type]
            changes[name] = check_leaf(Leaf(prefix + name, default, metadata), value, where)
    return replace(section, **changes)  # type: ignore[type-var]


def check_leaf(leaf: Leaf, value: Any, where: str) -> Any:
    """The value in the leaf's own type; raises ConfigError naming file, key, value and what is allowed."""
    if isinstance(leaf.default, tuple):
        items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else None
        times = len(items or ()) // len(leaf.default) if leaf.metadata.get("repeats") else 1
        examples = leaf.default * max(1, times)
        if items is None or len(items) != len(examples):
            raise _refusal(leaf, value, where)
        return tuple(_check_scalar(leaf, example, item, value, where) for example, item in zip(examples, items, strict=True))
    return _check_scalar(leaf, leaf.default, value, value, where)


def allowed_text(leaf: Leaf) -> str:
    """What a leaf may be, in words: "a number from 0 to 1", "one of: a, b"."""
    if leaf.metadata.get("choices"):
        return f"one of: {', '.join(leaf.metadata['choices'])}"
    example = leaf.default[0] if isinstance(leaf.default, tuple) else leaf.default
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[type(example)]
    low, high = leaf.metadata.get("low"), leaf.metadata.get("high")
    if low is not None and high is not None:
        kind += f" from {low:g} to {high:g}"
    elif low is not None:
        kind += f" of at least {low:g}"
    elif high is not None:
        kind += f" of at most {high:g}"
    if not isinstance(leaf.default, tuple):
        return kind
    times = ", or a multiple of that," if leaf.metadata.get("repeats") else ","
    return f"{len(leaf.default)} values{times} each {kind}"


def _check_scalar(leaf: Leaf, example: Any, item: Any, value: Any, where: str) -> Any:
    kind = type(example)
    choices, low, high = (leaf.metadata.get(name) for name in ("choices", "low", "high"))
    if isinstance(item, bool) and choices:  # YAML, and ROS after it, reads the choices "off" and "no" as false
        item = next((choice for choice in choices if choice in YAML_BOOLEANS[item]), item)
    if kind is float and isinstance(item, int) and not isinstance(item, bool):
        item = float(item)
    if type(item) is not kind or (kind is float and not math.isfinite(item)):
        raise _refusal(leaf, value, where)
    if choices and item not in choices:
        raise _refusal(leaf, value, where)
    if kind in (int, float) and ((low is not None and item < low) or (high is not None and item > high)):
        raise _refusal(leaf, value, where)
    return item


def _refusal(leaf: Leaf, value: Any, where: str) -> ConfigError:
    shown = list(value) if isinstance(value, tuple) else value
    return ConfigError(f"{where}: {leaf.key} is {shown!r}; allowed: {allowed_text(leaf)}")
