"""Pages escape their text, and files are written completely, to a folder of one report."""

import json
import os
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from puffin.models.errors import PuffinError
from puffin.studies.report import files
from puffin.studies.report.files import PagesError, check_folder, to_html, write_pages
from puffin.studies.report.markdown import join, picture, plain, table

SVG = b"<svg/>"


class Seen(HTMLParser):
    """The text and tags of a page, as a browser parses them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", []
        self.feed(page.partition("<body>")[2])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


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
    seen = Seen(to_html(plain(text), "t", {}))
    assert seen.text.strip() == text.replace(" %", "\u00a0%")
    assert {tag for tag, _ in seen.tags} == {"main", "p"}


def test_a_cell_with_a_bar_stays_one_cell() -> None:
    seen = Seen(to_html(table(("", "a | b"), [("x | y", 1), ("z", "")]), "t", {}))
    assert [tag for tag, _ in seen.tags if tag in ("td", "th")] == ["th"] * 2 + ["td"] * 4
    assert {"x | y", "a | b"} <= set(seen.text.splitlines())


def test_a_title_is_escaped() -> None:
    page = to_html("x", "</title><script>", {})
    assert "<title>&lt;/title&gt;&lt;script&gt;</title>" in page


def test_a_picture_is_in_the_page_with_its_words() -> None:
    page = to_html(picture("a.svg", "what it shows", "a line"), "t", {"a.svg": SVG})
    ((_, image),) = [tag for tag in Seen(page).tags if tag[0] == "img"]
    assert image == {"src": "data:image/svg+xml;base64,PHN2Zy8+", "alt": "what it shows"}
    assert "a line" in Seen(page).text


def test_paragraphs_that_are_empty_are_left_out() -> None:
    assert join(["a", "", "b"]) == "a\n\nb"


def test_checking_a_folder_does_not_create_it(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", "mine")
    (tmp_path / "there").mkdir()
    check_folder(tmp_path / "there", "mine")
    assert [p.name for p in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("folder", ["file", "file/in/it", "full"])
def test_an_unwritable_folder_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "pictures").touch()
    with pytest.raises(
        PagesError, match=r"cannot write the report to .*: Not a directory; choose another"
    ):
        check_folder(tmp_path / folder, "mine")
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
        check_folder(tmp_path, "mine")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == files


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A report of a few bytes instead of a drawn one."""
    found = SimpleNamespace(study="mine", files={})
    monkeypatch.setattr(files, "report_files", lambda _search, report: report.files)
    found.files = {
        "pictures/curves.svg": SVG,
        "pictures/equity.svg": SVG,
        "report.md": b"page",
        "report.json": b'{"study": "mine"}',
        "report.html": b"html",
    }
    return found


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


def test_a_later_report_replaces_the_earlier_one_and_nothing_else(
    tmp_path: Path, written: SimpleNamespace
) -> None:
    assert write_pages(tmp_path / "r", None, written) == 2
    assert files_in(tmp_path / "r") == written.files
    others = {"pictures/own.png": b"mine", "notes.txt": b"mine"}
    for name, body in others.items():
        (tmp_path / "r" / name).write_bytes(body)
    del written.files["pictures/equity.svg"]
    (tmp_path / "r" / "pictures" / "curves.png").write_bytes(b"of version 0.1")
    written.files["report.md"] = b"page two"
    assert write_pages(tmp_path / "r", None, written) == 1
    assert files_in(tmp_path / "r") == written.files | others


def test_the_modes_of_a_report_heed_the_umask(tmp_path: Path, written: SimpleNamespace) -> None:
    before = os.umask(0o077)
    try:
        write_pages(tmp_path / "r", None, written)
    finally:
        os.umask(before)
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "r").rglob("*") if p.is_file()}
    assert modes == {0o600}


def test_a_killed_report_is_written_again(
    tmp_path: Path, written: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, left = Path.replace, iter(range(2))

    def dies(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            write_pages(tmp_path / "r", None, written)
    (tmp_path / "r" / ".tuner-killed").mkdir()
    check_folder(tmp_path / "r", "mine")
    write_pages(tmp_path / "r", None, written)
    assert files_in(tmp_path / "r") == written.files
    assert not (tmp_path / "r" / ".tuner-killed").exists()


def test_a_failed_write_keeps_the_earlier_file(
    tmp_path: Path, written: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pages(tmp_path, None, written)
    before = files_in(tmp_path)
    written.files = dict.fromkeys(written.files, b"half")
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.name == "report.md":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(
        PagesError, match=r"cannot write the report to .*: No space left on device; choose"
    ):
        write_pages(tmp_path, None, written)
    after = files_in(tmp_path)
    assert set(after) == set(before)
    assert after["report.md"] == b"page"
    assert after["report.html"] == b"html"
