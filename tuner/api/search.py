"""Search from Python: a study from a dictionary or a file, and its workers."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from puffin.studies.prices.frame import NAME, Frames, basket_of_frames
from puffin.studies.spec import Spec, load_spec, parse_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, load_search
from puffin.tuner.api.study import Study
from puffin.tuner.api.workers import work_on
from puffin.tuner.submit import open_spec, submit_prices

DEFAULT_STORAGE = "sqlite:///tuner.db"
# Keys of [data] that say where prices come from, which a DataFrame replaces.
_SOURCE_KEYS = ("source", "symbol", "symbols", "path", "period", "interval")

SpecLike = str | PathLike[str] | Mapping[str, Any]


def search(
    spec: SpecLike,
    prices: Frames | None = None,
    *,
    storage: str = DEFAULT_STORAGE,
    workers: int | None = None,
    device: str = "auto",
) -> Study:
    """Search until the budget of a study is spent, and return the study.

    It does what ``tuner run`` does, but for the export. If it is interrupted, the same call
    resumes the search. The workers are processes of their own.

    Parameters
    ----------
    spec : str, path or mapping
        A study file, the name of a preset, or the content of a study file as a dictionary.
    prices : DataFrame, (bar, column), or mapping from each symbol to one, optional
        Instead of the source that the study file names: one row per bar, with the times as index
        or in a column, and columns such as open, high, low, close and volume. One DataFrame may
        have several symbols, with a column named symbol.
    storage : str
        URL of the database.
    workers : int, optional
        One for each core by default, or two for each GPU.
    device : str
        auto, cpu, cuda (all GPUs) or cuda:N.

    Raises
    ------
    PuffinError
        If the study file, the prices or the database cannot be used, or the search cannot be
        finished; the message says what to change.
    KeyboardInterrupt
        After a clean stop.
    """
    stored = _submit(_read(spec, prices), prices, storage)
    work_on(stored, storage, workers, device)
    return Study(stored, storage)


def open_study(name: str, storage: str = DEFAULT_STORAGE) -> Study:
    """Open a study of a database, also while workers work on it.

    Raises
    ------
    PuffinError
        If the database cannot be used, or has no such search.
    """
    return Study(load_search(open_storage(storage), name), storage)


def _read(spec: SpecLike, prices: Frames | None) -> Spec:
    """Return a study file, with the DataFrames as the source of its prices if there is one."""
    values, label = _values(spec)
    data = values.get("data", {})
    if prices is not None and isinstance(data, Mapping):
        kept = {key: value for key, value in data.items() if key not in _SOURCE_KEYS}
        symbols = list(prices) if isinstance(prices, Mapping) else []
        values["data"] = kept | {"source": "csv", "path": NAME, "symbols": symbols}
    return parse_spec(values, label)


def _values(spec: SpecLike) -> tuple[dict[str, Any], str]:
    if isinstance(spec, Mapping):
        return dict(spec), "the dictionary"
    values = load_spec(str(spec)).model_dump(mode="json", exclude_unset=True)
    return values, f"the study file {spec}"


def _submit(spec: Spec, prices: Frames | None, storage: str) -> StoredStudy:
    if prices is None:
        return open_spec(spec, storage)
    return submit_prices(spec, basket_of_frames(prices, spec.data.request()), storage)
