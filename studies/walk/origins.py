"""The searches of a walk.

Each origin is an ordinary search, ``NAME.walk.01`` and so on, whose prices end with its block and
whose holdout the block is. It is made from the search part of the prices alone, so that a walk
never touches the holdout of its study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from puffin.models.errors import PuffinError
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.bars import Frames, cut_holdout, union_of_dates
from puffin.studies.dataset import Dataset
from puffin.studies.duplicates import identity
from puffin.studies.prices.basket import Basket
from puffin.studies.prices.load import Prices
from puffin.studies.records import TrialRecord
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.study import StoredStudy, lowest_complete, origin_name
from puffin.studies.text import counted

# Most winners of earlier origins with which a search begins.
MOST_WARM = 3
# Most characters of the name of a study.
_LONGEST_NAME = 64


@dataclass(frozen=True, eq=False)
class Origin:
    """One search of a walk.

    Attributes
    ----------
    spec : its study file
    basket : its prices, up to the end of its block
    """

    spec: Spec
    basket: Basket


def origins(spec: Spec, search: Frames, source: str) -> list[Origin]:
    """Return the searches of a walk, the earliest first.

    Parameters
    ----------
    spec : Spec
    search : mapping of DataFrame
        The search part of the prices.
    source : str
        Where the prices are from, in words.

    Raises
    ------
    PuffinError
        If the study cannot walk: its name is too long, it has a network for each symbol, a block is
        too short to compare forecasts, or the bars before the first block are too few to search.
    """
    _require_walkable(spec)
    dates, walk = union_of_dates(search), spec.walk
    if len(dates) <= walk.origins * walk.block_bars:
        msg = (
            f"the walk needs more than {walk.origins} blocks x {walk.block_bars} bars, but "
            f"{counted(len(dates), 'bar')} are there before the holdout: set fewer walk.origins or "
            "a smaller walk.block_bars"
        )
        raise PuffinError(msg)
    found = []
    for number in range(1, walk.origins + 1):
        stop = len(dates) - (walk.origins - number) * walk.block_bars
        known = {s: frame[frame.index <= dates[stop - 1]] for s, frame in search.items()}
        members = {s: Prices(frame, (), source) for s, frame in known.items() if len(frame)}
        found.append(Origin(_spec_of(spec, number), Basket(members, source)))
    _require_folds(found[0])
    return found


def _require_walkable(spec: Spec) -> None:
    walk, least = spec.walk, spec.data.horizon + 2
    longest = _LONGEST_NAME - len(origin_name("", 1))
    if len(spec.name) > longest:
        msg = (
            f"a study that walks has a name of at most {longest} characters, but {spec.name!r} has "
            f"{len(spec.name)}; use another name (--set name=...)"
        )
        raise PuffinError(msg)
    if spec.data.pooling != "all":
        msg = (
            f"data.pooling = {spec.data.pooling!r} makes a study for each symbol, which do not "
            "walk together; name one symbol, or leave pooling out"
        )
        raise PuffinError(msg)
    if walk.block_bars < least:
        msg = (
            f"walk.block_bars must be at least horizon + 2 = {least} to compare forecasts, but is "
            f"{walk.block_bars}; raise it"
        )
        raise PuffinError(msg)


def _require_folds(first: Origin) -> None:
    """Require that the first search, which has the fewest bars, has its folds."""
    try:
        Dataset.build(first.spec, cut_holdout(first.basket.frames, first.spec)[0])
    except PuffinError as error:
        msg = (
            f"the first search of the walk: {error}; or set fewer walk.origins or a smaller "
            "walk.block_bars"
        )
        raise PuffinError(msg) from None


def _spec_of(spec: Spec, number: int) -> Spec:
    """Return the study file of an origin, whose holdout is its block."""
    values = spec.to_json()
    del values["walk"]
    values["name"] = origin_name(spec.name, number)
    values["walk_forward"]["holdout_bars"] = spec.walk.block_bars
    if not SAMPLERS[spec.search.sampler].enumerates:  # a grid runs every point
        values["search"]["trials"] = spec.walk_trials
    return parse_spec(values, f"origin {number} of the walk of {spec.name}")


def warm_points(before: Sequence[StoredStudy]) -> list[dict[str, Any]]:
    """Return the parameters with which a search begins: the last winners, each network once.

    Parameters
    ----------
    before : sequence of StoredStudy
        The finished searches at earlier origins, the earliest first.
    """
    found = (lowest_complete(study.trials()) for study in reversed(before))
    winners = [winner for winner in found if winner is not None]
    distinct: dict[str, dict[str, Any]] = {}
    for winner in winners:  # of equal networks the later one counts
        distinct.setdefault(identity(TrialRecord.read(winner).config), winner.params)
    return list(distinct.values())[:MOST_WARM]
