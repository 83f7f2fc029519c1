"""The parameters we read are parameters that Codex describes."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
import pytest
from tests.appserver.schema import RELEASES, recorded, schema_of
from tests.appserver.world import CONFIG

from threadstore.appserver import AppServer
from threadstore.manager import ThreadManager
from threadstore.stores.memory import MemoryThreadStore

Json = dict[str, Any]

JSON_TYPES = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}


class Described(AppServer):
    """An app server that notes what the parameters of its methods are decoded as."""

    def __init__(self) -> None:
        self.params: dict[str, type[Any]] = {}
        super().__init__(ThreadManager(MemoryThreadStore()), CONFIG)

    def method(self, name: str, handler: Any, params: type[Any], **options: Any) -> None:
        self.params[name] = params
        super().method(name, handler, params, **options)


STRUCTS = {
    name: kind for name, kind in Described().params.items() if issubclass(kind, msgspec.Struct)
}


def resolved(release: str, schema: Json) -> list[Json]:
    """The schemas that a schema stands for: references and unions followed."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return resolved(release, recorded(release)["definitions"][name])
    unions = [one for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, ())]
    return [s for one in unions for s in resolved(release, one)] if unions else [schema]


def types_in(release: str, schema: Json) -> set[str]:
    """The JSON types that a schema takes; none for one that takes anything."""
    found: set[str] = set()
    for one in resolved(release, schema):
        if isinstance(said := one.get("type", []), str):
            said = [said]
        found.update(said)
    return {"integer" if word == "number" else word for word in found}


def types_of(annotation: Any) -> set[str]:
    """The JSON types that msgspec takes for an annotation; none for ``Any``."""
    if annotation is Any:
        return set()
    if annotation is None or annotation is types.NoneType:
        return {"null"}
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return {word for one in typing.get_args(annotation) for word in types_of(one)}
    if origin is typing.Literal:
        return {"string"}
    if annotation is msgspec.UnsetType:
        return set()
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return {"object"}
    return {JSON_TYPES[origin or annotation]}


def properties_of(release: str, schema: Json, tag: object = None) -> tuple[Json, set[str]]:
    """All properties of an object, and those that must be there; of several the one of that tag."""
    objects = [one for one in resolved(release, schema) if one.get("type") == "object"]
    if tag is not None:
        objects = [one for one in objects if tag in one["properties"]["type"]["enum"]]
    known = {name: value for one in objects for name, value in one.get("properties", {}).items()}
    return known, {name for one in objects for name in one.get("required", ())}


def compared(struct: type[msgspec.Struct], releases: dict[str, Json], where: str) -> list[str]:
    """What is wrong with *struct*, given the schema of each release that has it."""
    found = []
    hints = typing.get_type_hints(struct)
    tag = struct.__struct_config__.tag
    known = {release: properties_of(release, schema, tag) for release, schema in releases.items()}
    for field in msgspec.structs.fields(struct):
        name = f"{where}.{field.encode_name}"
        having = {
            release: properties[field.encode_name]
            for release, (properties, _) in known.items()
            if field.encode_name in properties
        }
        if not having:
            found.append(f"{name}: no release has it")
            continue
        if field.required and any(field.encode_name not in need for _, need in known.values()):
            found.append(f"{name}: required by us alone")
        ours = types_of(hints[field.name])
        for release, schema in having.items():
            theirs = types_in(release, schema)
            if ours and theirs - ours:
                found.append(f"{name}: {release} also takes {sorted(theirs - ours)}")
            found += nested(hints[field.name], release, schema, name)
    return found


def nested(annotation: Any, release: str, schema: Json, where: str) -> list[str]:
    """What is wrong with the structs in an annotation."""
    inner = [one for one in (annotation, *typing.get_args(annotation)) if isinstance(one, type)]
    found = [one for one in inner if issubclass(one, msgspec.Struct)]
    return [fault for one in found for fault in compared(one, {release: schema}, where)]


def test_most_methods_have_their_parameters_described() -> None:
    assert len(STRUCTS) > 30


@pytest.mark.parametrize("method", STRUCTS)
def test_parameters_are_those_of_codex(method: str) -> None:
    schemas = {release: schema_of(release, "params", method) for release in RELEASES}
    known = {release: schema for release, schema in schemas.items() if schema is not None}
    assert known, "no release has this method"
    assert not compared(STRUCTS[method], known, method)
