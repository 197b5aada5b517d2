"""Gemini's own kind of schema as JSON schema: its types are upper-case, its null a flag."""

from typing import Any

from apikeyrouter.dialects.json_values import object_in

_RENAMED = {
    "any_of": "anyOf", "min_items": "minItems", "max_items": "maxItems",
    "min_length": "minLength", "max_length": "maxLength", "min_properties": "minProperties",
    "max_properties": "maxProperties", "additional_properties": "additionalProperties",
    "defs": "$defs", "ref": "$ref",
}  # fmt: skip
_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
#: Orders what a model writes, and shows what it may look like: no rules of what is valid.
_NO_RULES = frozenset({"propertyOrdering", "property_ordering", "example", "nullable"})


def json_schema_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with the names and types of JSON schema."""
    found: dict[str, Any] = {}
    for written, value in schema.items():
        name = _RENAMED.get(written, written)
        if written not in _NO_RULES:
            found[name] = _value_of(name, value)
    if found.get("format") == "enum":
        del found["format"]
    if schema.get("nullable") is True:
        _admit_null(found)
    return found


def _value_of(name: str, value: Any) -> Any:
    if name == "type" and isinstance(value, str):
        return value.lower()
    if name in ("properties", "$defs"):
        return {key: json_schema_of(object_in(inner)) for key, inner in object_in(value).items()}
    if name in ("items", "additionalProperties", "not") and isinstance(value, dict):
        return json_schema_of(value)
    if name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
        return [json_schema_of(object_in(inner)) for inner in value]
    # Numbers of 64 bits are written as text.
    return int(value) if name in _COUNTS and isinstance(value, str) and value.isdecimal() else value


def _admit_null(schema: dict[str, Any]) -> None:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    elif isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
