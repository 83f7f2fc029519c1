"""Records the JSON Schemas of Codex's app server protocol as real releases describe it themselves.

    .venv/bin/python -m tools.record_schemas 0.131.0 0.169.0

writes ``tests/appserver/schemas/VERSION.json.zst``: which parameters and which answer each request
has, the parameters of notifications and of requests to clients, and the types they are made of.
Prose and titles are left out: the facts of the interface are what is needed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.codex.app_server import environment
from tests.codex.releases import Release

from threadstore.stores.local.compression import zstd

Json = dict[str, Any]

SCHEMAS: Final = Path(__file__).parents[1] / "tests" / "appserver" / "schemas"
_PROSE: Final = ("description", "title", "$schema", "format", "default")
_RESPONSES: Final = {
    "account/rateLimits/read": "GetAccountRateLimitsResponse",
    "configRequirements/read": "ConfigRequirementsReadResponse",
}
"""Those that cannot be told from the name of the parameters."""


def described(binary: Path) -> Json:
    """What the release says of its protocol, in the recorded form."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home", "codex")
        home.mkdir(parents=True)
        command = [str(binary), "app-server", "generate-json-schema", "--experimental"]
        subprocess.run([*command, "--out", folder], check=True, env=environment(home), timeout=60)
        whole = json.loads(Path(folder, "codex_app_server_protocol.schemas.json").read_text())
    types = whole["definitions"]
    types = {name: _facts(schema) for name, schema in {**types, **types.pop("v2")}.items()}
    requests = {}
    for method, params in _members(types["ClientRequest"]).items():
        requests[method] = {"params": params, "response": _response(method, params, types)}
    roots = {
        "requests": requests,
        "notifications": _members(types["ServerNotification"]),
        "questions": _members(types["ServerRequest"]),
    }
    used = _reachable(roots, types)
    return {**roots, "definitions": {name: types[name] for name in sorted(used)}}


def _members(union: Json) -> Json:
    """Method to schema of the parameters."""
    return {
        one["properties"]["method"]["enum"][0]: one["properties"].get("params", {"type": "null"})
        for one in union["oneOf"]
    }


def _response(method: str, params: Json, types: Json) -> str | None:
    """The name of the type of the answer: the protocol names both alike."""
    choices = [params, *params.get("anyOf", ())]
    names = [one["$ref"].rpartition("/")[2] for one in choices if "$ref" in one]
    name = _RESPONSES.get(method) or "".join(names).removesuffix("Params") + "Response"
    return name if name in types else None


def _facts(schema: Any, *, names: bool = False) -> Any:
    """*schema* without prose, its references flat; *names*: the keys are names of properties."""
    if isinstance(schema, list):
        return [_facts(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.replace("/v2/", "/")
        if key == "$ref"
        else _facts(value, names=key in ("properties", "definitions") and not names)
        for key, value in sorted(schema.items())
        if names or key not in _PROSE
    }


def _reachable(roots: Json, types: Json) -> set[str]:
    found: set[str] = set()
    waiting = [one["response"] for one in roots["requests"].values() if one["response"]]
    waiting += _references(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(types[name])
    return found


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        inner = [name for value in schema.values() for name in _references(value)]
        own = schema.get("$ref")
        return [*inner, own.rpartition("/")[2]] if isinstance(own, str) else inner
    if isinstance(schema, list):
        return [name for one in schema for name in _references(one)]
    return []


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="+", type=Release.parse)
    SCHEMAS.mkdir(parents=True, exist_ok=True)
    for release in parser.parse_args().releases:
        text = json.dumps(described(release.binary), separators=(",", ":")).encode()
        path = SCHEMAS / f"{release}.json.zst"
        path.write_bytes(zstd.compress(text, level=19))
        print(path, len(text), path.stat().st_size)


if __name__ == "__main__":
    main()
