"""From a study file to a study in the database: its prices, and the study, new or existing."""

import re
from collections.abc import Sequence

import optuna

from puffin.models.errors import PuffinError
from puffin.studies.lifecycle import require_same
from puffin.studies.lifecycle import submit as submit_study
from puffin.studies.prices.basket import Basket, load_basket
from puffin.studies.prices.names import DataError
from puffin.studies.prices.sources import SOURCES
from puffin.studies.sections import NO_NAME, DataSection
from puffin.studies.spec import Spec, load_spec, parse_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, load
from puffin.tuner.messages import say


def read_prices(data: DataSection, *, refresh: bool = False) -> Basket:
    """Load the prices that a study file names, and print where they came from."""
    basket = load_basket(data.source, data.request(refresh=refresh), data.symbols)
    for line in basket.fetch_notes:
        say(f"prices: {line}")
    return basket


def open_study(
    path_or_preset: str, overrides: Sequence[str], storage_url: str, *, refresh: bool = False
) -> StoredStudy:
    """Check a study file and its prices, and create the study or return the existing one.

    An existing study resumes with its own copy of the prices, even if the file or the download is
    gone or different; prices on the network are not even requested.
    """
    return open_spec(load_spec(path_or_preset, overrides), storage_url, refresh=refresh)


def open_studies(
    path_or_preset: str, overrides: Sequence[str], storage_url: str, *, refresh: bool = False
) -> list[StoredStudy]:
    """Do as `open_study`, or create one study for each symbol if they are not pooled."""
    spec = load_spec(path_or_preset, overrides)
    if spec.data.pooling == "all":
        return [open_spec(spec, storage_url, refresh=refresh)]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    existing = _find_each(spec, storage_url)
    if existing and SOURCES[spec.data.source].is_live:
        return existing
    try:
        basket = read_prices(spec.data, refresh=refresh)
    except DataError as error:
        if not existing:
            raise
        say(f"prices: {error}; the studies resume with their own copies")
        return existing
    own = own_specs(spec, list(basket.members))
    return [
        submit_prices(of_one, Basket({symbol: basket.members[symbol]}), storage_url)
        for symbol, of_one in own.items()
    ]


def own_specs(spec: Spec, symbols: Sequence[str]) -> dict[str, Spec]:
    """Return the study file of each symbol, named ``NAME.SYMBOL``.

    Characters that a name cannot have are dashes.

    Raises
    ------
    SpecError
        If a name is too long.
    PuffinError
        If two symbols have the same name.
    """
    values = spec.to_json()
    found: dict[str, Spec] = {}
    for symbol in symbols:
        name = f"{spec.name}.{re.sub(NO_NAME, '-', symbol)}"
        if name in {other.name for other in found.values()}:
            msg = f"two symbols would have studies named {name!r}; take one out of data.symbols"
            raise PuffinError(msg)
        data = values["data"] | {"symbols": [symbol], "pooling": "all"}
        found[symbol] = parse_spec(values | {"name": name, "data": data}, f"{spec.name}, {symbol}")
    return found


def open_spec(spec: Spec, storage_url: str, *, refresh: bool = False) -> StoredStudy:
    """Do as `open_study` with a study file that was read."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if SOURCES[spec.data.source].is_live and (existing := _find(spec.name, storage_url)):
        if refresh:
            say(f"prices: study {spec.name} resumes with its own copy")
        return require_same(existing, spec)
    try:
        basket = read_prices(spec.data, refresh=refresh)
    except DataError as error:
        existing = _find(spec.name, storage_url)
        if existing is None:
            raise
        study = require_same(existing, spec)
        say(f"prices: {error}; the study resumes with its own copy")
        return study
    return submit_prices(spec, basket, storage_url)


def submit_prices(spec: Spec, basket: Basket, storage_url: str) -> StoredStudy:
    """Create a study of these prices, or return the existing one, which keeps its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = submit_study(open_storage(storage_url, create=True), spec, basket)
    if not study.has_same_prices(basket.frames):
        say(
            f"prices: {basket.origin} has changed since study {spec.name} was submitted, which "
            "resumes with its own copy; --set name=... makes a new study of the new prices"
        )
    return study


def _find_each(spec: Spec, storage_url: str) -> list[StoredStudy]:
    """Return the studies of all symbols that a study file names; none if one is missing."""
    own = own_specs(spec, spec.data.symbols)
    found = [(_find(of_one.name, storage_url), of_one) for of_one in own.values()]
    known = [require_same(study, of_one) for study, of_one in found if study]
    return known if len(known) == len(own) else []


def _find(name: str, storage_url: str) -> StoredStudy | None:
    """Return the study of a name, or None if there is none that can be read."""
    try:
        return load(open_storage(storage_url), name)
    except PuffinError:
        return None
