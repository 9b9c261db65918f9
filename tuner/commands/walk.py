"""`tuner walk`: the whole search at many origins, each judged on the bars that follow it."""

import json
from collections.abc import Sequence

import click
import optuna
from optuna.storages import RDBStorage

from puffin.studies.dataset import Frames, cut_holdout
from puffin.studies.json_values import to_json_values
from puffin.studies.lifecycle import submit
from puffin.studies.retraining import find_holdout, is_opened, open_for_winner
from puffin.studies.spec import Spec, load_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.study import NoStudyError, StoredStudy, StudyError, load_search
from puffin.studies.summary import status
from puffin.studies.text import (
    configuration,
    counted,
    p_value,
    percent,
    signed,
    when,
)
from puffin.studies.walk import WALK, Block, Walk, judge, origins
from puffin.tuner.columns import print_rows
from puffin.tuner.messages import say, stdout
from puffin.tuner.pool import run_workers_until_done
from puffin.tuner.submit import read_prices


def walk(
    spec_or_name: str,
    overrides: Sequence[str],
    storage_url: str,
    devices: Sequence[str],
    *,
    refresh: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Search at every origin, judge each winner on its block, and print the verdict.

    Raises
    ------
    PuffinError
        With the reason if the walk cannot be finished.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(storage_url, create=True)
    spec, search, source = _subject(storage, spec_or_name, overrides, refresh=refresh)
    # All are submitted at once, so that workers elsewhere can serve them too.
    studies = [submit(storage, each.spec, each.basket) for each in origins(spec, search, source)]
    if not quiet:
        say(
            f"{spec.name}: {counted(len(studies), 'origin')} of "
            f"{counted(spec.walk_trials, 'trial')} on {counted(len(devices), 'worker')}, "
            f"blocks of {spec.walk.block_bars} bars"
        )
    for number, study in enumerate(studies, start=1):
        if not is_walked(study):
            if not quiet:
                say(f"origin {number} of {len(studies)}: {study.name}")
            run_workers_until_done(study, storage_url, devices, quiet=quiet)
            run_workers_until_done(open_for_winner(study), storage_url, devices, quiet=quiet)
    verdict = judge(spec.name, [load_search(storage, study.name) for study in studies])
    if as_json:
        click.echo(json.dumps(to_json(verdict), indent=2))
    else:
        _print(verdict, studies[0].spec)


def _subject(
    storage: RDBStorage, spec_or_name: str, overrides: Sequence[str], *, refresh: bool
) -> tuple[Spec, Frames, str]:
    """Return study file, search part and source of a study in the database, or of a file."""
    try:
        study = load_search(storage, spec_or_name)
    except NoStudyError:
        study = None
    spec = study.spec if study and not overrides else load_spec(spec_or_name, overrides)
    if WALK in spec.name:
        msg = f"{spec.name!r} is an origin of a walk; name the study that walks"
        raise StudyError(msg)
    if study and not overrides:
        return spec, study.load_search_prices(), study.record.data.origin
    basket = read_prices(spec.data, refresh=refresh)
    return spec, cut_holdout(basket.frames, spec)[0], basket.origin


def is_walked(study: StoredStudy) -> bool:
    """Return whether the search of an origin is done and its winner was trained again."""
    if not status(study).done or not is_opened(study):
        return False
    opened = find_holdout(study)
    return opened is not None and status(opened).done


def to_json(verdict: Walk) -> dict[str, object]:
    """Return all figures of a walk, as JSON can hold them."""
    values = {
        "study": verdict.study,
        "outcome": verdict.outcome,
        "skill": verdict.skill,
        "p_better": verdict.test.p_better,
        "p_worse": verdict.test.p_worse,
        "detectable_skill": verdict.detectable_skill,
        "bars": len(verdict.losses),
        "blocks_won": verdict.won,
        "baselines": [
            {"name": name, "skill": gained, "p_better": test.p_better}
            for name, (gained, test) in verdict.against().items()
        ],
        "blocks": [_block(block) for block in verdict.blocks],
    }
    found: dict[str, object] = to_json_values(values)
    return found


def _block(block: Block) -> dict[str, object]:
    return {
        "study": block.study,
        "first": when(block.dates[0]),
        "last": when(block.dates[-1]),
        "bars": len(block.dates),
        "winner": block.winner,
        "config": block.config,
        "reference": block.reference,
        "skill": block.skill,
        "promised": block.promised,
        "obtained": block.obtained,
    }


def _print(verdict: Walk, spec: Spec) -> None:
    out = stdout()
    out.print(outcome_sentence(verdict))
    out.print(luck_sentence(verdict))
    out.print()
    searched = spec.parsed_space.searched
    rows = [
        (
            when(block.dates[0]),
            signed(block.promised),
            signed(block.obtained),
            signed(block.skill),
            block.reference,
            configuration(block.config, searched),
        )
        for block in verdict.blocks
    ]
    columns = ("block from", "promised", "obtained", "skill", "baseline", "winner")
    print_rows(out, columns, rows, ("winner", "promised"))
    out.print(
        "promised, obtained: skill against persistence on the folds of the search and on the "
        "block; skill: against the baseline that was best before the block"
    )
    out.print()
    against_each = [
        (name, signed(gained), p_value(test.p_better))
        for name, (gained, test) in verdict.against().items()
    ]
    print_rows(out, ("against on all blocks", "skill", "p of Diebold-Mariano"), against_each, ())


def outcome_sentence(verdict: Walk) -> str:
    """Return whether tuning like this pays, and on how many bars that rests."""
    count, bars = len(verdict.blocks), counted(len(verdict.losses), "date")
    first, last = when(verdict.blocks[0].dates[0]), when(verdict.blocks[-1].dates[-1])
    side = "less" if verdict.skill > 0 else "more"
    head = {
        "better": "Tuning like this pays",
        "undecided": "Undecided",
        "worse": "Tuning like this does not pay",
    }[verdict.outcome]
    chance = min(verdict.test.p_better, verdict.test.p_worse)
    return (
        f"{head}: searched anew before each of {counted(count, 'block')} ({bars}, {first} to "
        f"{last}), the winners had {percent(abs(verdict.skill))} {side} error than the simple "
        f"model that was best before each block (chance alone gives such a difference in "
        f"{percent(chance)} of cases)."
    )


def luck_sentence(verdict: Walk) -> str:
    """Return on how many blocks the winners were better, and what so many bars can show."""
    return (
        f"They were better on {verdict.won} of {counted(len(verdict.blocks), 'block')}; a true "
        f"lead below {percent(verdict.detectable_skill)} would be missed more often than one time "
        "in five."
    )
