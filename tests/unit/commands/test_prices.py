"""`tuner prices`: the facts of one symbol, or a table of several."""

from click.testing import CliRunner, Result

from puffin.tuner.cli import main


def prices(*args: str) -> Result:
    return CliRunner().invoke(main, ["prices", *args, "--source", "sample"])


def test_several_symbols_are_a_table_with_a_row_each() -> None:
    done = prices("MSFT", "AAPL")
    assert done.exit_code == 0, done.output
    head, _, *rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert head == ["symbol", "first", "last", "bars", "warnings", "source"]
    days = ["2000-03-01", "2013-03-01", "3270"]
    assert rows == [
        ["MSFT", *days, "0", "sample", "MSFT"],
        ["AAPL", *days, "1", "sample", "AAPL"],
    ]
    assert "prices: AAPL: close moves by more than 50%" in done.stderr


def test_one_symbol_has_its_facts_without_its_name_before_each_warning() -> None:
    done = prices("AAPL")
    assert done.stdout.splitlines()[0] == "sample AAPL"
    assert "prices: close moves by more than 50%" in done.stderr
