"""`/keys/import`: many keys at once, as JSON or as CSV."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from apikeyrouter.service import KeyRegistrationError
from apikeyrouter_proxy.api.key_views import Key, NewKey, view_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import FieldError, ProblemError
from apikeyrouter_proxy.api.routes.keys import Keys

_MOST_KEYS, _MOST_TOLD = 10_000, 40
_MAPPINGS = ("tags", "limits")
#: Where cells are found that have no column.
_UNNAMED = "column"
_EXAMPLE = "provider,secret,id,models,tags,limits\nopenai,sk-...,first,gpt-*;o3,team=a,rpm=60\n"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/NewKey"}}
            },
            "text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE},
        },
    }
}


class Skipped(BaseModel):
    """A key that was not added, by its place in what was sent, from 0."""

    index: int
    id: str
    message: str


class Imported(BaseModel):
    """What became of an import."""

    created: list[Key]
    skipped: list[Skipped]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of it."""
    router = APIRouter(prefix="/keys", tags=["keys"])
    router.add_api_route(
        "/import", KeyImport(parts).import_keys, methods=["POST"], response_model=Imported,
        openapi_extra=_BODY,
    )  # fmt: skip
    return router


class KeyImport:
    """Adds many keys."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts
        self._keys = Keys(parts)

    async def import_keys(self, request: Request) -> Imported:
        """Add many keys; those that are here already are skipped.

        Nothing is added unless all can be: the first mistakes are told by index and field. CSV
        names its columns in its first line; lists have `;` between, and pairs are `name=value`.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        keys = keys_of(rows_in(await request.body(), is_csv=kind == "text/csv"))
        slots = self._parts.router.key_manager.slot_by_id.values()
        known = {(slot.provider_id, slot.secret): slot.id for slot in slots}
        done = Imported(created=[], skipped=[])
        async with self._parts.changing:
            for provider in dict.fromkeys(key.provider for key in keys):
                await self._keys.ensure_provider(provider)
            for index, key in enumerate(keys):
                place = key.provider, key.secret.get_secret_value()
                try:
                    slot = await self._keys.add(key, known.get(place))
                except (ProblemError, KeyRegistrationError) as error:
                    skipped = Skipped(index=index, id=str(key.id), message=str(error))
                    done.skipped.append(skipped)
                else:
                    known[place] = slot.id
                    done.created.append(view_of(slot))
        return done


def rows_in(body: bytes, *, is_csv: bool) -> list[Any]:
    """Return the entries that a body has.

    Raises:
        ProblemError: It is no list of keys.
    """
    try:
        text = body.decode("utf-8-sig")
        rows = _rows_of_csv(text) if is_csv else json.loads(text)
    except UnicodeDecodeError:
        raise ProblemError(400, "the body should be UTF-8") from None
    except (ValueError, RecursionError, csv.Error):
        kind = "CSV" if is_csv else "JSON, or CSV with Content-Type: text/csv"
        raise ProblemError.of_field("body", f"should be {kind}") from None
    if isinstance(rows, dict):
        rows = rows.get("keys")
    if not isinstance(rows, list) or not rows:
        raise ProblemError.of_field("body", "should be a list of keys that is not empty")
    if len(rows) > _MOST_KEYS:
        raise ProblemError.of_field("body", f"should have at most {_MOST_KEYS:,} keys")
    return rows


def keys_of(rows: list[Any]) -> list[NewKey]:
    """Return the keys that *rows* describe.

    Raises:
        ProblemError: Some describe none; the first mistakes by index and field.
    """
    keys, errors = [], []
    for index, row in enumerate(rows):
        try:
            keys.append(NewKey.model_validate(row))
        except ValidationError as error:
            for mistake in error.errors(include_input=False, include_url=False):
                where = ".".join(map(str, (index, *mistake["loc"])))
                message = mistake["msg"].removeprefix("Value error, ")
                errors.append(FieldError(where, message))
    if errors:
        told = errors[:_MOST_TOLD]
        more = f"; {len(errors) - len(told)} more" if len(errors) > len(told) else ""
        detail = f"nothing was added: {told[0].field}: {told[0].message}{more}"
        raise ProblemError(422, detail, errors=told)
    return keys


def _rows_of_csv(text: str) -> list[dict[str, Any]]:
    table = csv.DictReader(io.StringIO(text), restkey=_UNNAMED)
    # A table without names begins with a key, which no error may repeat.
    if not {"provider", "secret"} <= set(table.fieldnames or ()) <= set(NewKey.model_fields):
        known = ", ".join(NewKey.model_fields)
        raise ProblemError.of_field("body", f"its first line should name columns, of {known}")
    return list(map(_of_csv, table))


def _of_csv(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in row.items():
        if name == _UNNAMED:
            found[name] = text
        elif text is None or not text.strip():
            continue
        elif name in _MAPPINGS:
            pairs = [part.partition("=") for part in text.split(";") if part.strip()]
            found[name] = {key.strip(): value.strip() for key, _, value in pairs}
        else:
            found[name] = text.split(";") if name == "models" else text
    return found
