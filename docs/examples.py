"""The examples of the docs, run against a service: their answers, and the tables of fields, are written into the pages.

    python docs/examples.py http://127.0.0.1:3000 KEY

On the pages of PAGES, a block of `sh` or `python` is an example if one of `json`, `http` or `text` follows it, with
nothing in between. That one is what came back. Numbers in it are rounded to four decimals; of a text or a list that is
too long there is the beginning, and how long it is. `<!-- fields NAME -->` is followed by the table of that schema of
/openapi.json. tests/e2e/test_docs.py holds the pages against what a service answers.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

DOCS = Path(__file__).parent
PAGES = sorted(
    page.relative_to(DOCS).as_posix()
    for page in [*DOCS.glob("endpoints/*.md"), DOCS / "index.md", DOCS / "concepts.md", DOCS / "ko/quick-start.md"]
)
# Where the pages say that the service is.
ADDRESS = "http://127.0.0.1:3000"

_BLOCK = r"```{}\n((?:(?!```).*\n)*)```\n"
EXAMPLE = re.compile(_BLOCK.format("(sh|python)") + r"\n" + _BLOCK.format("(json|http|text)"))
TABLE = re.compile(r"<!-- fields (\w+) -->\n((?:\|.*\n)*)")
# Of the headers of an answer those that a client goes by.
TOLD = ("www-authenticate", "allow", "retry-after")
LONGEST_TEXT, LONGEST_LIST, LONGEST_LINE = 300, 8, 100


@dataclass
class Service:
    """What the examples are run against."""

    url: str
    key: str
    folder: Path = DOCS.parent  # the working copy whose pictures are sent
    names: dict[str, Any] = field(default_factory=dict)  # of the Python examples of a page, which follow each other

    def run(self, language: str, code: str) -> str:
        """What the example prints. Raises CalledProcessError, and whatever an example of Python raises."""
        code = code.replace(ADDRESS, self.url)
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.chdir(self.folder):
                exec(compile(code, "example", "exec"), self.names)  # noqa: S102  the docs' own
            return printed.getvalue()
        ran = subprocess.run(  # noqa: S603  the docs' own
            ["/bin/sh", "-euc", code],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "FACEBENTO_API_KEY": self.key},
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout

    def answer(self, language: str, code: str, kind: str) -> str:
        """What the page tells of what the example prints."""
        printed = self.run(language, code)
        if kind == "json":
            return written(shortened(json.loads(printed))) + "\n"
        if kind == "http":
            head, _, body = printed.replace("\r\n", "\n").partition("\n\n")
            first, *headers = head.splitlines()
            told = [header for header in headers if header.partition(":")[0].lower() in TOLD]
            return "\n".join([first, *told, "", written(shortened(json.loads(body)))]) + "\n"
        return printed.rstrip("\n") + "\n"


def shortened(value: Any) -> Any:
    match value:
        case str() if len(value) > LONGEST_TEXT:
            return f"{value[:32]}... ({len(value)} characters)"
        case float():
            return round(value, 4)
        case list() if len(value) > LONGEST_LIST:
            return [*map(shortened, value[:4]), f"... ({len(value)} in all)"]
        case list():
            return list(map(shortened, value))
        case dict():
            return {key: shortened(each) for key, each in value.items()}
    return value


def written(value: Any, indent: str = "") -> str:
    """JSON, with lines of its own only for what is too long for one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent + line) <= LONGEST_LINE or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [f"{json.dumps(key)}: {written(each, inner)}" for key, each in value.items()]
        return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + written(each, inner) for each in value) + f"\n{indent}]"


def table(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A schema's fields: of a request with defaults and bounds, and those of objects within it by their path."""
    rows = [
        (f"`{name}`", _type(each), _default(each, required=required), each.get("description", "").replace("|", "\\|"))
        for name, each, required in _rows(schema, schemas, "")
    ]
    head = ("field", "type", "default", "meaning")
    columns = [at for at in range(4) if any(row[at] for row in rows)]
    lines = [[head[at] for at in columns], ["---"] * len(columns), *([row[at] for at in columns] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _rows(schema: dict[str, Any], schemas: dict[str, Any], within: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    # Of answers the contract lists no field as required.
    for name, each in schema["properties"].items():
        yield within + name, each, name in schema.get("required", ())
        inner = each.get("items", each)
        if "$ref" in inner and _name(inner) != "DetectResult":  # a face has a table of its own
            yield from _rows(schemas[_name(inner)], schemas, within + name + ("[]." if "items" in each else "."))


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return "[face](index.md#a-face)" if _name(schema) == "DetectResult" else "object"
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}s".replace("[face](index.md#a-face)s", "[faces](index.md#a-face)")
    return "file" if schema.get("format") == "binary" else str(schema["type"])


def _default(schema: dict[str, Any], *, required: bool) -> str:
    default = f"`{json.dumps(schema['default'])}`" if "default" in schema else "required" if required else ""
    return default + (f"; {schema['minimum']:.0f} to {schema['maximum']:.0f}" if "minimum" in schema else "")


def filled(page: str, service: Service) -> str:
    """The page, with what the service answers in place of what stands there."""
    schemas = httpx.get(f"{service.url}/openapi.json").raise_for_status().json()["components"]["schemas"]
    service.names.clear()

    def example(block: re.Match[str]) -> str:
        language, code, kind, _ = block.groups()
        return f"```{language}\n{code}```\n\n```{kind}\n{service.answer(language, code, kind)}```\n"

    page = EXAMPLE.sub(example, page)
    return TABLE.sub(lambda found: f"<!-- fields {found[1]} -->\n{table(schemas[found[1]], schemas)}", page)


def main(url: str, key: str) -> None:
    os.environ["FACEBENTO_API_KEY"] = key
    service = Service(url, key)
    for name in PAGES:
        page = DOCS / name
        page.write_text(filled(page.read_text(encoding="utf-8"), service), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
