"""The pages of the dashboard in a browser: a study on PostgreSQL, searched and judged."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from puffin.studies.copy import copy
from puffin.studies.storage.database import open_storage
from puffin.studies.study import load
from tests.acceptance.dashboards import CHROMIUM, PASSWORD, Server, basic, browse, look, serving
from tests.acceptance.helpers import Finished, Start
from tests.postgres import Postgres

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

Look = Callable[..., str]


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures are kept."""
    chosen = request.config.getoption("--pictures")
    kept = Path(chosen) if chosen else tmp_path_factory.mktemp("pictures")
    kept.mkdir(parents=True, exist_ok=True)
    return kept


@pytest.fixture(scope="module")
def judged(reported: Finished, postgres: Postgres, start: Start, folder: Path) -> Iterator[Server]:
    """Serve a copy on PostgreSQL of the tiny study that has been judged on its holdout."""
    url = postgres.new_database()
    source, target = open_storage(reported.url), open_storage(url, create=True)
    copy(load(source, "tiny-study"), target)
    for storage in (source, target):
        storage.remove_session()
        storage.engine.dispose()
    with serving(start, folder, TUNER_STORAGE=url) as running:
        yield running


@pytest.fixture(scope="module")
def page(judged: Server, folder: Path) -> Look:
    """Open a page of that dashboard in a browser."""

    def open_page(path: str, name: str, size: str = "1400,1200") -> str:
        return look(f"http://{judged.address}{path}", folder / f"{name}.png", size)

    return open_page


def test_the_start_page_has_a_row_with_state_skill_and_verdict(
    page: Look, judged: Server, finished: Finished
) -> None:
    text = page("/", "start")
    best = finished.best_trial().number
    assert "tiny-study the high-low range of AAPL one bar ahead" in text
    assert re.search(r"judged 6 of 6 trials \d complete", text)
    assert re.search(rf"[+-]?[\d.]+ % trial {best} , loss 0?[.\d]+", text)
    assert re.search(r"(better|undecided|no better|worse) report", text)
    # The studies of retraining are no rows, but links of the row.
    assert "seeds · holdout" in text
    assert "tiny-study.seeds" not in text
    assert judged.ask("GET", "/studies").body == judged.ask("GET", "/").body


def test_the_start_page_fits_a_phone(page: Look) -> None:
    assert "best" in page("/studies", "start-phone", "500,900")


def test_the_note_says_what_is_searched_and_the_verdict(page: Look) -> None:
    text = page("/dashboard/studies/1/note", "note")
    assert "Best so far: skill" in text
    assert "6 of 6 trials done" in text
    assert "Prices sample AAPL" in text
    assert "2 folds of 20 bars; the holdout of 20 bars is opened" in text
    assert "Verdict on the sealed holdout" in text
    assert "tuner export tiny-study" in text


def test_the_page_of_a_study_shows_its_plots(page: Look) -> None:
    text = page("/dashboard/studies/1", "study", "1400,2600")
    for title in (
        "Best skill against wall time, %",
        "Loss of each trial by cell",
        "Folds of the best trial",
        "Forecasts of the best trial",
    ):
        assert title in text
    assert "creation_id" not in text


def test_the_page_of_a_trial_shows_its_forecasts(
    page: Look, judged: Server, finished: Finished
) -> None:
    number = finished.best_trial().number
    text = page(f"/dashboard/studies/1/trials?numbers={number}", "trial", "1400,1500")
    assert "forecasts.csv" in text
    assert "forecasts.png" in text
    assert re.search(r"skill [+-]?[\d.]+ % best epoch \d fold 1 loss [\d.]+ fold 2 loss", text)
    assert "machine" not in text
    trial = judged.get("/api/studies/1?after=0")["trials"][number]
    path = f"/artifacts/1/{trial['trial_id']}"
    picture = judged.ask("GET", f"{path}/{trial['artifacts'][1]['artifact_id']}")
    assert picture.status == 200
    assert picture.body.startswith(b"\x89PNG")
    assert (
        judged.ask("GET", f"/artifacts/1/9999/{trial['artifacts'][1]['artifact_id']}").status == 404
    )


def test_a_study_of_retraining_says_what_it_is_and_names_no_best(page: Look) -> None:
    note = page("/dashboard/studies/3/note", "holdout-note")
    assert "The best trials of study tiny-study, trained again on all its search bars" in note
    text = page("/dashboard/studies/3", "holdout", "1400,2000")
    assert "loss on the holdout" in text
    assert "Objective 0" not in text
    assert "Failed to load" not in text
    assert "Best Trial (" not in text


def test_the_report_is_a_page_without_scripts(
    page: Look, judged: Server, reported: Finished
) -> None:
    assert "What was forecast" in page("/reports/tiny-study", "report")
    (status, body), headers = judged.request("GET", "/reports/tiny-study", {"Host": "localhost"})
    assert (status, body) == (200, (reported.folder / "pages/report.html").read_bytes())
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert judged.ask("GET", "/reports/other").status == 404


def test_a_read_only_dashboard_hides_the_buttons_that_it_refuses(
    judged: Server, public: Server, page: Look
) -> None:
    page("/dashboard", "list")
    read_only = judged.ask("GET", "/dashboard").body.decode()
    writable = public.ask("GET", "/dashboard", Authorization=basic(PASSWORD)).body.decode()
    for button, in_both in (
        ('[aria-label="rename study"]', True),
        ('[data-testid="DeleteIcon"]', True),
        ('[data-testid="AddBoxIcon"]', False),
        ('[data-testid="EditIcon"]', False),
        ('[data-testid="UploadFileIcon"]', False),
    ):
        assert button in read_only
        assert (button in writable) == in_both


def test_without_the_password_a_browser_sees_only_that_it_is_needed(
    public: Server, folder: Path
) -> None:
    where = f"127.0.0.1:{public.port}"
    picture = folder / "password.png"
    done = browse(f"http://{where}/", picture, "700,300")
    assert "tiny-study" not in done.stdout
    # Chromium 156 draws no page where there is nobody whom it can ask for the password.
    assert picture.exists() or "ERR_INVALID_AUTH_CREDENTIALS" in done.stderr
    credentials = "anybody:s%C3%A9same%3A%20open"
    text = look(f"http://{credentials}@{where}/", folder / "password-given.png", "1000,500")
    assert "tiny-study" in text
