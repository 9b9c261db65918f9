"""Measure how readable the source is: sizes, docstrings, annotations, comments, import cycles.

``python .ci/house.py [FOLDER]`` prints a row of Markdown for the checkout in FOLDER (default: this
one) and the imports between its rooms. For another commit::

    mkdir /tmp/old && git archive cb24a29 | tar -x -C /tmp/old && python .ci/house.py /tmp/old
"""

import argparse
import ast
import io
import math
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

_PACKAGES = ("models", "studies", "tuner", "puffin")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(root: Path, folders: Iterable[str]) -> dict[str, str]:
    """Return the text of every module, by its path from `root`."""
    return {
        str(path.relative_to(root)): path.read_text("utf-8")
        for folder in folders
        for path in sorted((root / folder).rglob("*.py"))  # does not follow links
    }


def spread(values: list[int]) -> str:
    """Return median, 90th percentile and maximum of a list, the percentile by nearest rank."""
    ordered = sorted(values)
    p90 = ordered[math.ceil(0.9 * len(ordered)) - 1]
    return f"{statistics.median(ordered):.0f} / {p90} / {ordered[-1]}"


def functions(trees: Iterable[ast.Module]) -> list[_Function]:
    """Return every function and method, nested ones too."""
    return [n for tree in trees for n in ast.walk(tree) if isinstance(n, _Function)]


def body_lines(function: _Function, *, docstring: bool) -> int:
    """Return the number of lines of a function's body."""
    skipped = bool(ast.get_docstring(function)) and not docstring
    body = function.body[1:] if skipped else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def is_annotated(function: _Function) -> bool:
    """Return whether every argument but self and cls, and the result, have a type."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    named = [a for a in every if a is not None and a.arg not in {"self", "cls"}]
    return function.returns is not None and all(a.annotation for a in named)


def public(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield a module and its public classes, functions and methods."""
    yield tree
    for node in tree.body:
        if isinstance(node, _Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                methods = (n for n in node.body if isinstance(n, _Function))
                yield from (n for n in methods if not n.name.startswith("_"))


def comment_lines(text: str) -> int:
    """Return the number of lines that hold nothing but a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(t.type == tokenize.COMMENT and t.line.lstrip().startswith("#") for t in tokens)


def module_name(path: str) -> str:
    """Return the dotted name of a module, without ``puffin.``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(files: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the modules that each module imports, at its top or in a function."""
    graph: dict[str, set[str]] = {module_name(path): set() for path in files}
    for path, tree in files.items():
        module = module_name(path)
        named: list[tuple[str, ...]]
        for node in ast.walk(tree):
            # Of ``from a.b import c`` the module a.b.c if there is one, and a.b otherwise.
            if isinstance(node, ast.Import):
                named = [(alias.name,) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                named = [(f"{node.module}.{alias.name}", node.module or "") for alias in node.names]
            else:
                continue
            for choices in named:
                known = [c for name in choices if (c := name.removeprefix("puffin.")) in graph]
                graph[module].update(set(known[:1]) - {module})
    return graph


def cycles(graph: dict[str, set[str]]) -> int:
    """Return the number of modules that import themselves by way of others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        stack = list(graph[start])
        while stack:
            if (name := stack.pop()) not in seen:
                seen.add(name)
                stack += graph[name]
        return seen

    return sum(name in reached(name) for name in graph)


def room(path: str) -> str:
    """Return the room of a module: the folder in its package, or the package itself."""
    return "/".join(path.split("/")[:-1][:2])


def row(root: Path, label: str) -> str:
    """Return the measures of a checkout as a row of Markdown."""
    texts = sources(root, _PACKAGES)
    trees = {path: ast.parse(text) for path, text in texts.items()}
    sizes = [text.count("\n") for text in texts.values()]
    every = functions(trees.values())
    documented = [ast.get_docstring(f) for f in every if ast.get_docstring(f)]
    named = [node for tree in trees.values() for node in public(tree)]
    words = sum(bool(ast.get_docstring(node)) for node in named)  # type: ignore[arg-type]
    give = sum(str(text).startswith("Give") for text in documented)
    graph = imports(trees)
    tests = sum(text.count("\n") for text in sources(root, ["tests"]).values())
    cells = [
        label,
        f"{len(sizes)} / {sum(sizes):,}",
        f"{spread(sizes)}, {sum(size > 400 for size in sizes)} over 400",
        spread([body_lines(f, docstring=True) for f in every]),
        spread([body_lines(f, docstring=False) for f in every]),
        f"{words} of {len(named)}",
        f"{sum(map(is_annotated, every))} of {len(every)}",
        f"{give} of {len(documented)}",
        f"{100 * sum(map(comment_lines, texts.values())) / sum(sizes):.1f} %",
        f"{cycles(graph)} of {sum(map(len, graph.values()))} edges",
        f"{tests / sum(sizes):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def rooms(root: Path) -> str:
    """Return how many modules of each room import from which other rooms, as a table."""
    trees = {path: ast.parse(text) for path, text in sources(root, _PACKAGES).items()}
    room_of = {module_name(path): room(path) for path in trees}
    between: dict[str, Counter[str]] = {name: Counter() for name in sorted(room_of.values())}
    for name, targets in imports(trees).items():
        inner = room_of[name]
        between[inner].update(room_of[t] for t in targets if room_of[t] != inner)
    lines = ["| room | modules | imports from (number of imports) |", "|---|---|---|"]
    for name, counts in between.items():
        modules = sum(one == name for one in room_of.values())
        listed = ", ".join(f"{target} {count}" for target, count in sorted(counts.items()))
        lines.append(f"| {name} | {modules} | {listed} |")
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--label", help="first cell of the row; default: the folder's name")
    options = parser.parse_args()
    print("| commit | files / lines | file lines: median / p90 / max | function lines |", end="")
    print(" without docstring | documented | annotated | docstrings with Give |", end="")
    print(" comment lines | modules on a cycle | test lines per line |")
    print("|" + "---|" * 11)
    print(row(options.folder, options.label or options.folder.resolve().name))
    print()
    print(rooms(options.folder))


if __name__ == "__main__":
    main()
