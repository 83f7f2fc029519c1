"""What real releases say of their protocol, recorded by ``tools/record_schemas.py``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import jsonschema
import msgspec

from threadstore.stores.local.compression import zstd

Json = dict[str, Any]
Kind = Literal["answer", "notification", "question", "params"]

RELEASES: Final = ("0.131.0", "0.169.0")
_FOLDER: Final = Path(__file__).parent / "schemas"


@cache
def recorded(release: str) -> Json:
    """Requests, notifications, questions to clients, and the types that they are made of."""
    packed = _FOLDER.joinpath(f"{release}.json.zst").read_bytes()
    found: Json = msgspec.json.decode(zstd.decompress(packed))
    return found


def schema_of(release: str, kind: Kind, method: str) -> Json | None:
    """The schema of what is sent; ``None`` if the release does not have the method."""
    known = recorded(release)
    if kind == "notification":
        return found_in(known["notifications"], method)
    if kind == "question":
        return found_in(known["questions"], method)
    request = known["requests"].get(method)
    if request is None:
        return None
    if kind == "params":
        return found_in(request, "params")
    return {"$ref": f"#/definitions/{request['response']}"} if request["response"] else None


def found_in(table: Json, name: str) -> Json | None:
    """A schema by its name."""
    schema: Json | None = table.get(name)
    return schema


@cache
def validator(release: str, kind: Kind, method: str) -> jsonschema.Draft7Validator | None:
    """Checks values against :func:`schema_of`."""
    schema = schema_of(release, kind, method)
    if schema is None:
        return None
    return jsonschema.Draft7Validator({**schema, "definitions": recorded(release)["definitions"]})


def complaints(
    kind: Kind, method: str, value: Any, releases: tuple[str, ...] = RELEASES
) -> list[str]:
    """Where *value* is not what the releases that know the method describe; none if none does."""
    found = []
    for release in releases:
        if check := validator(release, kind, method):
            found += [
                f"{release} {kind} {method}: {'/'.join(map(str, error.absolute_path))}: "
                f"{_innermost(error).message[:300]}"
                for error in check.iter_errors(value)
            ]
    return found


def is_known(kind: Kind, method: str) -> bool:
    """Whether any of the releases has it."""
    return any(schema_of(release, kind, method) is not None for release in RELEASES)


def _innermost(error: jsonschema.ValidationError) -> jsonschema.ValidationError:
    best = jsonschema.exceptions.best_match([error])
    return error if best is None else best
