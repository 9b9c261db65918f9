"""Write docs/reference/ from the code: the options of commands and the keys of a study file.

``python docs/generate.py`` writes the pages. With ``--check`` it writes nothing, and fails if a
page differs from the code, as `tests/unit/test_reference.py` does.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from puffin.studies.schema import hyperparameters, study_file_schema
from puffin.studies.space import WIDTH
from puffin.studies.spec import default_space
from puffin.tuner.cli import main as cli

FOLDER = Path(__file__).parent / "reference"
_HEAD = "<!-- Written by docs/generate.py. Change the code, not this page. -->\n"


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    return {"commands.md": _text(_commands()), "study-file.md": _text(_study_file())}


def _text(lines: Iterator[str]) -> str:
    return _HEAD + "\n" + "\n".join(lines) + "\n"


def _commands() -> Iterator[str]:
    yield "# Command reference\n"
    yield "What commands are for is in [commands.md](../commands.md)."
    yield "`tuner --debug COMMAND` shows tracebacks; `TUNER_DEBUG=1` does the same."
    for name, command in sorted(cli.commands.items()):
        context = click.Context(command, info_name=f"tuner {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"\n## tuner {name}\n"
        yield f"```console\n$ tuner {name} {usage}".rstrip() + "\n```\n"
        yield inspect.cleandoc(command.help or "")
        yield from _options(command, context)
        example = (command.epilog or "").partition("Example:\n")[2]
        yield f"\n```console\n{_prompted(example)}\n```"


def _prompted(example: str) -> str:
    return "\n".join(f"$ {line.strip()}" for line in example.splitlines())


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    if not options:
        return
    yield "\n| option | meaning | default |"
    yield "|---|---|---|"
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = "" if option.is_flag else f" `{option.make_metavar(context)}`"
        text, default = _without_default(option.help or "")
        if option.envvar:
            text = f"{text} Read from `{option.envvar}` too.".strip()
        if option.required:
            default = "required"
        elif option.show_default:
            default = f"`{option.default}`"
        yield _row(names + value, text, default)


def _without_default(text: str) -> tuple[str, str]:
    """Take what an option's help says of its default out of the help."""
    found = re.fullmatch(r"(.*?)\s*\[default: (.*)\]", text)
    return (found[1], found[2]) if found else (text, "")


def _study_file() -> Iterator[str]:
    schema = study_file_schema()
    yield "# Study file reference\n"
    yield "Examples and explanations are in [study-file.md](../study-file.md). `tuner schema`"
    yield "prints the same as JSON Schema, by which an editor completes keys and marks mistakes.\n"
    yield from _keys({"name": schema["properties"]["name"]}, schema["required"])
    for name, section in schema["properties"].items():
        if name in ("name", "space"):
            continue
        required = " Required." if name in schema["required"] else ""
        yield f"\n## [{name}]\n\n{section['description']}{required}\n"
        yield from _keys(section["properties"], section.get("required", []))
    yield from _hyperparameters(schema["properties"]["space"]["description"])


def _keys(properties: dict[str, Any], required: list[str]) -> Iterator[str]:
    yield "| key | type | rule | default | meaning |"
    yield "|---|---|---|---|---|"
    for key, value in properties.items():
        default = "required" if key in required else _toml(value.get("default"))
        yield _row(f"`{key}`", _kind(value), _rule(value), default, value["description"])


def _hyperparameters(description: str) -> Iterator[str]:
    yield f"\n## [space]\n\n{description}\n"
    yield "| key | type | rule | if left out of `[space]` | if there is no `[space]` | meaning |"
    yield "|---|---|---|---|---|---|"
    whole = default_space()
    for name, value, fixed, meaning in hyperparameters():
        searched = _toml(whole[name]) if name in whole else _toml(fixed)
        yield _row(f"`{name}`", _kind(value), _rule(value), _toml(fixed), searched, meaning)
    yield "\nA table has `low` and `high`, and may have `step` or `log = true`. The table of"
    yield f"`{WIDTH}` may also have `tied` or `funnel`, and `choices` instead of a range."


_KINDS = {"integer": "whole number", "string": "text", "array": "list", "object": "table"}


def _kind(schema: dict[str, Any]) -> str:
    if schema.get("format") == "date":
        return "date"
    kind: str = schema.get("type", "string")
    return _KINDS.get(kind, kind)


def _rule(schema: dict[str, Any]) -> str:
    """Put the bounds and the names that a schema admits into words."""
    rules = []
    if "enum" in schema:
        rules.append(_names(schema["enum"]))
    if "minimum" in schema:
        rules.append(f"at least {schema['minimum']:g}")
    if "maximum" in schema:
        rules.append(f"at most {schema['maximum']:,}")
    if "exclusiveMaximum" in schema:
        rules.append(f"below {schema['exclusiveMaximum']:,}")
    if "pattern" in schema:
        rules.append("1 to 64 letters, digits, `.`, `_`, `-`")
    if "propertyNames" in schema:
        rules.append(f"keys: {_names(schema['propertyNames']['enum'])}")
    if "minItems" in schema:
        rules.append("at least one item")
    if isinstance(items := schema.get("items", {}).get("anyOf"), list):
        rules.append(f"{_names(items[0]['enum'])}, or `column:NAME` or `diff:NAME` of a csv file")
    return "; ".join(rules)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _toml(value: Any) -> str:
    """Write a default as a study file has it; nothing if there is none."""
    if value is None:
        return ""
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_bare(one)}" for key, one in value.items())
        return f"`{{ {inner} }}`" if inner else "`{}`"
    return f"`{_bare(value)}`"


def _bare(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_bare(one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def _row(*cells: str) -> str:
    """Write a row of a table; a bar within a cell would end it."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main() -> None:
    """Write the pages, or check them."""
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if "--check" not in sys.argv[1:]:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            stale.append(f"docs/reference/{name}")
    if stale:
        sys.exit(f"not what the code says: {', '.join(stale)}; run python docs/generate.py")


if __name__ == "__main__":
    main()
