import click
import pytest

from puffin.studies.prices.names import INTERVALS, DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.sources import SOURCES, sources_with
from puffin.studies.sections import DataSection
from puffin.studies.spec import SpecError, parse_data
from puffin.tuner.cli import prices


def test_prices_command_offers_every_source_of_symbols() -> None:
    (option,) = [option for option in prices.params if option.name == "source"]
    expected = {name for name, source in SOURCES.items() if not source.needs_path}
    assert isinstance(option.type, click.Choice)
    assert set(option.type.choices) == expected


@pytest.mark.parametrize("name", SOURCES)
def test_source_refuses_a_request_without_symbol_and_path(name: str) -> None:
    with pytest.raises(DataError):
        SOURCES[name].load(PriceRequest())


@pytest.mark.parametrize("name", SOURCES)
def test_study_file_accepts_an_interval_where_the_source_has_periods(name: str) -> None:
    place = {"path": "p.csv"} if SOURCES[name].needs_path else {"symbol": "AAPL"}
    values = {"source": name, "interval": "1wk"} | place
    if SOURCES[name].has_periods:
        assert parse_data(values, "my.toml").interval in INTERVALS
        return
    with pytest.raises(SpecError, match="period and interval go with source"):
        parse_data(values, "my.toml")


def test_sources_are_named_by_their_traits() -> None:
    assert sources_with("needs_path") == '"csv"'
    assert sources_with("has_periods") == '"yfinance"'


def test_data_section_requests_all_of_its_keys() -> None:
    data = DataSection(
        source="yfinance", symbols=("MSFT",), interval="1h", start="2024-01-02", end="2024-02-03"
    )
    request = data.request(refresh=True)
    assert (request.symbol, request.interval, request.refresh) == (None, "1h", True)
    assert (request.start, request.end) == (data.start, data.end)
    assert request.needs == data.needs
