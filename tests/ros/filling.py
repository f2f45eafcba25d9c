"""Fill any ROS message with numbers and words that differ from field to field and from the defaults."""

from array import array
from importlib import import_module
from typing import Any

from rosidl_parser.definition import AbstractNestedType, AbstractString, BasicType


def fill(message: Any, start: int = 1) -> Any:
    """The message, filled; the same start gives the same content."""
    for position, (name, kind) in enumerate(zip(message.get_fields_and_field_types(), message.SLOT_TYPES, strict=True)):
        setattr(message, name, _value(kind, getattr(message, name), start + position))
    return message


def _value(kind: Any, present: Any, number: int) -> Any:
    if isinstance(kind, AbstractNestedType):
        items = [_value(kind.value_type, None, number + index) for index in range(2)]
        return array(present.typecode, items) if isinstance(present, array) else items
    if isinstance(kind, AbstractString):
        return f"words {number}"
    if isinstance(kind, BasicType):
        if kind.typename == "boolean":
            return True
        return number + 0.5 if kind.typename in ("double", "float") else number
    if present is None:  # an element of a sequence of messages
        module = import_module(".".join(kind.namespaces))
        present = getattr(module, kind.name)()
    return fill(present, number)
