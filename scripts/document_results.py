"""Write the schema of metrics.json into docs/metrics.md, from the records in hepgan/evaluation/results.py.

``python scripts/document_results.py`` prints the section, ``--write`` replaces it in docs/metrics.md.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from hepgan.evaluation.results import Results

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
BEGIN, END = "<!-- schema -->\n", "<!-- end of schema -->\n"
FIRST = ("schema", "verdict", "summary", "samples", "rows", "headline")
LEFT_OUT = ("report",)  # fields that are not in the file
HEAD = "| key | value | meaning |\n|---|---|---|\n"


def _value(schema: dict[str, Any]) -> str:
    """The value of a field in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "anything" if name == "JsonValue" else f"`{name}`"
    if "anyOf" in schema:
        words = [_value(option) for option in schema["anyOf"]]
        return " or ".join(words)
    if "enum" in schema:
        return ", ".join(f'`"{value}"`' for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "prefixItems" in schema:
        return f"[{', '.join(_value(item) for item in schema['prefixItems'])}]"
    if schema["type"] == "array":
        return f"list of {_value(schema['items'])}"
    if schema["type"] == "object":
        return f"table of {_value(schema['additionalProperties'])}"
    return {"string": "text", "boolean": "true or false", "null": "null"}.get(schema["type"], schema["type"])


def _table(name: str, words: str, properties: dict[str, Any]) -> str:
    rows = "".join(
        f"| `{key}` | {_value(field)} | {field.get('description', '').replace('``', '`')} |\n".replace(
            "  ", " "
        )
        for key, field in sorted(properties.items(), key=lambda item: item[0] not in FIRST)
        if key not in LEFT_OUT
    )
    return f"#### `{name}`\n\n{words.replace('``', '`')}\n\n{HEAD}{rows}"


def section() -> str:
    """The section as Markdown."""
    schema = Results.model_json_schema()
    parts = [_table("Results", "The whole file.", schema["properties"])]
    for name, record in schema["$defs"].items():
        if name not in ("JsonValue", "Number"):
            words = inspect.cleandoc(record["description"]).split("\n\n")[0]
            parts.append(_table(name, words, record["properties"]))
    return "\n".join(parts)


def page() -> str:
    """The page with the current section."""
    text = PAGE.read_text(encoding="utf-8")
    return re.sub(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}",
        lambda _: f"{BEGIN}{section()}{END}",
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(section())
