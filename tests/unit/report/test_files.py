"""Pages escape their text, and files are written completely, to a folder of one report."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from puffin.models.errors import PuffinError
from puffin.models.evaluation.outcome import OUTCOMES
from puffin.studies.report.document import (
    Block,
    Card,
    Command,
    Facts,
    Heading,
    Items,
    Page,
    Picture,
    Section,
    Table,
    Text,
)
from puffin.studies.report.figures.style import PALETTE
from puffin.studies.report.files import report_folder
from puffin.studies.report.folder import PagesError
from puffin.studies.report.html_page import inline, to_html
from puffin.studies.report.markdown import block_to_markdown, plain, to_markdown

SVG = b"<svg/>"
PICTURE = Picture("a.svg", "a title", "what it shows", "how to read it")
BLOCKS: list[Block] = [
    Text("a paragraph"),
    Heading("a heading"),
    Items(["one item", "another"]),
    Facts({"a name": "a fact"}),
    Table(("", "a | b"), [("x | y", 1), ("z", "")]),
    PICTURE,
    Command("for this:", "tuner best x --rule 1se"),
]


def page_of(*blocks: Block, title: str = "title", fact: str = "fact") -> Page:
    card = Card("better", "less error", Facts({"name": fact}))
    return Page("study", title, card, [Section("A section", blocks)])


class Seen(HTMLParser):
    """The text and tags of a page, as a browser parses them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", []
        self.feed(page.partition("<body>")[2])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_has_its_colour(outcome: str) -> None:
    page = page_of()
    html = to_html(replace(page, card=replace(page.card, outcome=outcome)), {})
    (header,) = (attrs for tag, attrs in Seen(html).tags if tag == "header")
    assert f".{header['class']}" in re.findall(r"\.[\w-]+", html)
    assert " " not in header["class"]


@pytest.mark.parametrize(
    "text",
    [
        "a <script>alert(1)</script> tag",
        "a &lt; b &amp; c",
        "two *stars* and two _lines_ and __more__",
        "lookback_bars and hidden_dim_2",
        "a [link](http://example.com) and ![picture](x.png)",
        "a `code` and a back\\slash \\*",
        "<http://example.com> and 1 < 2 > 0",
        "AR(1) +3.8 % -0.5 % # ~ ! {x}",
    ],
)
def test_text_is_shown_as_it_stands(text: str) -> None:
    seen = Seen(to_html(page_of(Text(text), title=text, fact=text), {}))
    assert seen.text.count(text.replace(" %", "\u00a0%")) == 3
    assert not {"script", "em", "strong", "code", "img"} & {tag for tag, _ in seen.tags}
    assert re.sub(r"\\([\\`*\[\]<&|_])", r"\1", plain(text)) == text


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.kind)
def test_both_pages_have_every_word_of_a_block(block: Block) -> None:
    written = to_markdown(page_of(block)).replace("\\", "")
    seen = Seen(to_html(page_of(block), {"a.svg": SVG}))
    shown = seen.text + " ".join(v for _, attrs in seen.tags for v in attrs.values())
    for words in leaves(block):
        assert words in written
        assert words in shown


def leaves(value: object) -> Iterator[str]:
    """Yield every text of a block, but for the name of its file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from leaves([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from leaves(part)
    elif is_dataclass(value):
        yield from leaves([getattr(value, f.name) for f in fields(value) if f.name != "name"])


def test_a_date_stays_on_one_line_and_markup_beside_it_is_text() -> None:
    html = to_html(page_of(Text("<b> 2013-03-01 12:00")), {})
    assert "<p>&lt;b&gt; <time>2013-03-01</time> 12:00</p>" in html


def test_the_contents_lead_to_each_section() -> None:
    html, text = to_html(page_of(), {}), to_markdown(page_of())
    assert '<a href="#a-section">A section</a>' in html
    assert '<section id="a-section">' in html
    assert "* [A section](#a-section)\n" in text


def test_a_cell_with_a_bar_stays_one_cell() -> None:
    table = Table(("", "a | b"), [("x | y", 1), ("z", "")])
    assert block_to_markdown(table).splitlines() == [
        r"|  | a \| b |",
        "| --- | ---: |",
        r"| x \| y | 1 |",
        "| z |  |",
    ]


def test_a_picture_in_a_page_takes_its_colours_and_own_names() -> None:
    svg = (
        '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg width="360pt" height="9pt" viewBox="0 0 1 1">'
        "<metadata>m</metadata><defs><style>*{}</style></defs>"
        '<path id="p" style="fill: #222222; stroke: #123456"/>'
        '<use href="#p" clip-path="url(#c)"/></svg>'
    )
    assert str(inline("curves.svg", svg)) == (
        '<svg aria-hidden="true" viewBox="0 0 1 1"><defs></defs>'
        '<path id="curves-p" style="fill: var(--ink); stroke: #123456"/>'
        '<use href="#curves-p" clip-path="url(#curves-c)"/></svg>'
    )


def test_every_colour_of_the_figures_has_a_value_in_the_light_and_in_the_dark() -> None:
    style = (resources.files("puffin.studies.report") / "templates/style.css").read_text("utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    for name in PALETTE.values():
        for theme in (light, dark):
            assert re.search(rf"--{name}: #[0-9a-f]{{6}};", theme), name


def test_checking_a_folder_does_not_create_it(tmp_path: Path) -> None:
    report_folder(tmp_path / "a" / "b").check("mine")
    (tmp_path / "there").mkdir()
    report_folder(tmp_path / "there").check("mine")
    assert [p.name for p in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("folder", ["file", "file/in/it", "full"])
def test_an_unwritable_folder_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "pictures").touch()
    with pytest.raises(
        PagesError, match=r"cannot write the report to .*: Not a directory; choose another"
    ):
        report_folder(tmp_path / folder).check("mine")
    assert issubclass(PagesError, PuffinError)


@pytest.mark.parametrize(
    ("files", "owner"),
    [
        ({"report.json": json.dumps({"study": "yours"})}, "yours"),
        ({"report.md": "my notes"}, "something else"),
        ({"report.md": "my notes", "report.json": "[]"}, "something else"),
        ({"report.html": "my page", "report.json": "{"}, "something else"),
    ],
)
def test_files_of_another_report_are_not_overwritten(
    tmp_path: Path, files: dict[str, str], owner: str
) -> None:
    for name, body in files.items():
        (tmp_path / name).write_text(body)
    with pytest.raises(PagesError, match=f"holds the report of {owner}, .*choose another folder"):
        report_folder(tmp_path).check("mine")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == files


@pytest.fixture
def written() -> dict[str, bytes]:
    """The files of a report of a few bytes."""
    return {
        "pictures/curves.svg": SVG,
        "pictures/equity.svg": SVG,
        "report.md": b"page",
        "report.json": b'{"study": "mine"}',
        "report.html": b"html",
    }


def write(folder: Path, files: dict[str, bytes]) -> int:
    return report_folder(folder).write("mine", files)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


def test_a_later_report_replaces_the_earlier_one_and_nothing_else(
    tmp_path: Path, written: dict[str, bytes]
) -> None:
    assert write(tmp_path / "r", written) == 2
    assert files_in(tmp_path / "r") == written
    others = {"pictures/own.png": b"mine", "notes.txt": b"mine"}
    for name, body in others.items():
        (tmp_path / "r" / name).write_bytes(body)
    del written["pictures/equity.svg"]
    (tmp_path / "r" / "pictures" / "curves.png").write_bytes(b"of version 0.1")
    written["report.md"] = b"page two"
    assert write(tmp_path / "r", written) == 1
    assert files_in(tmp_path / "r") == written | others


def test_the_modes_of_a_report_heed_the_umask(tmp_path: Path, written: dict[str, bytes]) -> None:
    before = os.umask(0o077)
    try:
        write(tmp_path / "r", written)
    finally:
        os.umask(before)
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "r").rglob("*") if p.is_file()}
    assert modes == {0o600}


def test_a_killed_report_is_written_again(
    tmp_path: Path, written: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, left = Path.replace, iter(range(2))

    def dies(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "r", written)
    (tmp_path / "r" / ".tuner-killed").mkdir()
    report_folder(tmp_path / "r").check("mine")
    write(tmp_path / "r", written)
    assert files_in(tmp_path / "r") == written
    assert not (tmp_path / "r" / ".tuner-killed").exists()


def test_a_failed_write_keeps_the_earlier_file(
    tmp_path: Path, written: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, written)
    before = files_in(tmp_path)
    written = dict.fromkeys(written, b"half")
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.name == "report.md":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(
        PagesError, match=r"cannot write the report to .*: No space left on device; choose"
    ):
        write(tmp_path, written)
    after = files_in(tmp_path)
    assert set(after) == set(before)
    assert after["report.md"] == b"page"
    assert after["report.html"] == b"html"
