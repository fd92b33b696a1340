"""From pydantic's errors to faults that a person can act on: place, field, what is wrong, the fix."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from model.estate_file import Document, Fault, Path
from model.hints import did_you_mean, near, shown

_BLOCKS = {"credentials", "webhook"}
"""Fields that name blocks: whatever stands there may be the secret itself, and is never repeated."""
_SECRETS = re.compile(r"pass|pwd|secret|token|(access|api|private).*key|connection", re.IGNORECASE)


def faults_of(error: ValidationError, document: Document, root: type[BaseModel]) -> list[Fault]:
    """One fault for each thing wrong; a misspelt required field is told once, not as unknown and as missing."""
    errors = error.errors(include_url=False)
    paths = [_path(root, tuple(e["loc"]), document.data) for e in errors]
    meant: set[Path] = set()
    faults: list[Fault] = []
    for details, path in zip(errors, paths, strict=True):
        if details["type"] == "extra_forbidden":
            message, field = _unknown_field(root, path, document.data)
            faults.append(document.fault(path, message, at_key=True))
            if field is not None:
                meant.add((*path[:-1], field))
    for details, path in zip(errors, paths, strict=True):
        # pydantic counts only valid entries: a list whose one entry is wrong is not told as empty too.
        counted_out = details["type"] == "too_short" and _value_at(document.data, path)
        if details["type"] != "extra_forbidden" and path not in meant and not counted_out:
            at, message = _told(details, root, path, document.data)
            faults.append(document.fault(at, message, at_key=details["type"] == "union_tag_not_found"))
    return list({(fault.path, fault.message): fault for fault in faults}.values())


# Walking the schema beside the values --------------------------------------------------------------------------------


def _value_at(data: Any, path: Path) -> Any:
    for part in path:
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))
        if not inside:
            return None
        data = data[part]
    return data


def _path(root: type[BaseModel], location: tuple[int | str, ...], data: Any) -> Path:
    """A location without what pydantic adds to it: the names of a union's members, and ``[key]`` for a bad key."""
    path: list[int | str] = []
    here: Any = root
    for part in location:
        options = _options(here)
        if part == "[key]":
            break
        chosen = next((o for o in options if _is_model(o) and part in {o.__name__, _kind(o)}), None)
        if chosen is not None and not (isinstance(_value_at(data, tuple(path)), dict) and _has_field(options, part)):
            here = chosen
            continue
        below = _below(options, part, _value_at(data, tuple(path)))
        if below is None:
            break  # a member of a union of plain types, such as 'int' of int | str
        path.append(part)
        here = below
    return tuple(path)


def _is_model(annotation: Any) -> typing.TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kind(model: type[BaseModel]) -> str | None:
    """What stands under ``kind`` of a mapping that is this model, where models are told apart by it."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation)[0] if field is not None and get_args(field.annotation) else None


def _has_field(options: list[Any], name: int | str) -> bool:
    return any(_is_model(o) and name in o.model_fields for o in options)


def _options(annotation: Any) -> list[Any]:
    """What an annotation allows: ``Annotated`` unwrapped, unions spread, None left out."""
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return _options(get_args(annotation)[0])
    if origin in {typing.Union, type(int | str)}:
        return [o for member in get_args(annotation) if member is not type(None) for o in _options(member)]
    return [annotation]


def _below(options: list[Any], part: int | str, value: Any) -> Any:
    """The annotation one step down; ``object`` where the step is real but unknown (a misspelt field), None where not."""
    for option in _chosen(options, value):
        if _is_model(option) and part in option.model_fields:
            return option.model_fields[str(part)].annotation
        if get_origin(option) is dict:
            return get_args(option)[1]
        if get_origin(option) is tuple and isinstance(part, int):
            return get_args(option)[0]
    if any(_is_model(option) for option in options) and isinstance(value, dict) and part in value:
        return object
    return None


def _chosen(options: list[Any], value: Any) -> list[Any]:
    """Of several models the one that the value's kind, or its keys, speak of."""
    models = [o for o in options if _is_model(o)]
    if len(models) < 2 or not isinstance(value, dict):
        return options
    if any(_kind(m) is not None for m in models):
        return [m for m in models if _kind(m) == value.get("kind")] or options
    return [m for m in models if next(iter(m.model_fields)) in value] or options


def _field_at(root: type[BaseModel], path: Path, data: Any) -> FieldInfo | None:
    """The last named field on the way to ``path``."""
    here: Any = root
    field: FieldInfo | None = None
    for number, part in enumerate(path):
        options = _chosen(_options(here), _value_at(data, path[:number]))
        field = next((o.model_fields[str(part)] for o in options if _is_model(o) and part in o.model_fields), field)
        here = _below(options, part, _value_at(data, path[:number]))
        if here is None:
            break
    return field


def _model_at(root: type[BaseModel], path: Path, data: Any) -> list[type[BaseModel]]:
    here: Any = root
    for number, part in enumerate(path):
        here = _below(_options(here), part, _value_at(data, path[:number]))
    return [o for o in _chosen(_options(here), _value_at(data, path)) if _is_model(o)]


# Messages ------------------------------------------------------------------------------------------------------------


def _unknown_field(root: type[BaseModel], path: Path, data: Any) -> tuple[str, str | None]:
    """What to say of a field that there is not, and the field it was meant to be."""
    name = str(path[-1])
    models = _model_at(root, path[:-1], data)
    fields = [field for model in models for field in model.model_fields]
    there = _value_at(data, path[:-1])
    free = [field for field in fields if not isinstance(there, dict) or field not in there]
    meant = near(name, free)
    if meant is None and _SECRETS.search(name):
        return "a secret has no place in this file; save it in a block, and name the block in credentials", None
    if meant is not None:
        return f"there is no field {shown(name)} here; did you mean '{meant}'?", meant
    return f"there is no field {shown(name)} here{did_you_mean(name, fields)}", None


def _told(details: ErrorDetails, root: type[BaseModel], path: Path, data: Any) -> tuple[Path, str]:
    """Where to point, and what to say."""
    kind = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    value = _value_at(data, path)
    field = _field_at(root, path, data)
    example = _example(field, within=bool(path) and isinstance(path[-1], int))
    if kind == "union_tag_not_found":
        return _no_key(root, path, data)
    if kind == "union_tag_invalid":
        kinds = re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
        path, value = (*path, "kind"), _value_at(data, (*path, "kind"))
        message = f"{shown(value)} is not a kind of package{did_you_mean(str(value), kinds)}"
    elif kind == "value_error":
        message = str(context["error"])
    elif kind == "missing":
        message = f"is missing; write for example {path[-1]}: {example}"
    elif kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        message = f"{shown(value)} is not a {_noun(path)}{did_you_mean(str(value), allowed)}"
    elif kind == "too_short":
        message = f"is empty; it needs at least one entry, for example {example}"
    elif kind in _EXPECTED:
        message = _wrong_type(kind, value, example, secret=path[-1] in _BLOCKS)
    else:
        text = str(details["msg"]).removeprefix("Input ").replace("should be", "must be")
        message = f"{text}, for example {example}" if example else text
    return path, message


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _wrong_type(kind: str, value: Any, example: str, *, secret: bool) -> str:
    expected = "the name of a block" if secret else _EXPECTED[kind]
    if expected == "text" and isinstance(value, bool | int | float):
        return f"is {_type_name(value)}, expected text; write it in quotes: '{value}'"
    fix = f", for example {example}" if example else ""
    return f"is {_type_name(value)}, expected {expected}{fix}"


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names: dict[type, str] = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return names.get(type(value), "empty")


def _noun(path: Path) -> str:
    name = next((str(part) for part in reversed(path) if isinstance(part, str)), "value")
    noun = name.replace("_", " ")
    return noun.removesuffix("s") if noun != name or isinstance(path[-1], int) else noun


def _no_key(root: type[BaseModel], path: Path, data: Any) -> tuple[Path, str]:
    """An entry whose kind is told by its first key, and none of the keys is there."""
    models = _model_at(root, path, data)
    keys = list(dict.fromkeys("kind" if _kind(m) else next(iter(m.model_fields)) for m in models))
    value = _value_at(data, path)
    fields = {field for model in models for field in model.model_fields}
    for name in value if isinstance(value, dict) else ():
        meant = near(str(name), keys) if name not in fields else None
        if meant is not None:
            return (*path, name), f"there is no field {shown(name)} here; did you mean '{meant}'?"
    if keys == ["kind"]:
        return path, f"says what it is by kind: {', '.join(str(_kind(model)) for model in models)}"
    said = ", ".join(keys[:-1]) + f" or {keys[-1]}"
    examples = [_example(model.model_fields[key], within=False) for model, key in zip(models, keys, strict=True)]
    return path, f"says what it is by one of {said}, for example {keys[0]}: {examples[0]}"


def _example(field: FieldInfo | None, *, within: bool) -> str:
    """The field's example as YAML on one line; of a list's example the first entry where ``within`` it."""
    examples = field.examples if field is not None else None
    if not examples:
        return ""
    example = examples[0]
    if within and isinstance(example, list) and example:
        example = example[0]
    return _inline(example)


def _inline(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_inline(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9./@ -]*", value) and value not in {"true", "false", "null"}
        return value if plain else "'" + value.replace("'", "''") + "'"
    return json.dumps(value)
