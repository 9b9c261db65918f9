"""The verdict of a walk in sentences, and all its figures as JSON."""

from dataclasses import asdict
from typing import Any

import numpy as np

from puffin.studies.json_values import to_json_values
from puffin.studies.report.evidence import evidence_in_words
from puffin.studies.report.money import money_sentence, timing_sentence
from puffin.studies.report.outside import outside_sentence
from puffin.studies.report.verdict import baseline_in_words
from puffin.studies.text import configuration, counted, loss, percent, signed, when
from puffin.studies.walk.block import Block
from puffin.studies.walk.verdict import Walk
from puffin.studies.walk.winners import Stability


def sentences(walk: Walk) -> list[str]:
    """Return the verdict: outcome, luck, constancy, what was promised, and trading."""
    return [
        outcome_sentence(walk),
        luck_sentence(walk),
        constancy_sentence(walk),
        promise_sentence(walk),
        _money(walk),
        *([outside_sentence(walk.outside, "the winners")] if walk.outside else []),
    ]


def _money(walk: Walk) -> str:
    if walk.timing is not None:
        return timing_sentence(walk.timing)
    return money_sentence(walk.backtest, walk.no_backtest, walk.spec.backtest)


def outcome_sentence(walk: Walk) -> str:
    """Return whether the winners are better, and on how many bars that rests."""
    count, first, last = len(walk.blocks), when(walk.dates[0]), when(walk.dates[-1])
    return (
        f"{walk.outcome.capitalize()}: searched anew before each of {counted(count, 'block')} "
        f"({counted(len(walk.losses), 'date')}, {first} to {last}), the winners had "
        f"{compared(walk)} the simple model that was best before each block; {evidence(walk)}."
    )


def compared(walk: Walk) -> str:
    """Return how the winners' errors compare: ``3.1 % less error than``."""
    if not walk.test.mean:
        return "the same error as"
    side = "less" if walk.test.mean > 0 else "more"
    return f"{percent(abs(walk.skill))} {side} error than"


def evidence(walk: Walk) -> str:
    """Return why the outcome is what it is."""
    closest = walk.evidence.closest
    # It is fitted at each origin, each time with its own settings, so its label is its name.
    return evidence_in_words(walk.evidence, baseline_in_words(closest, closest.replace("_", " ")))


def luck_sentence(walk: Walk) -> str:
    """Return on how many blocks the winners were better."""
    return f"They were better on {walk.won} of {counted(len(walk.blocks), 'block')}."


def constancy_sentence(walk: Walk) -> str:
    """Return whether the winners were better at one time or always."""
    found = walk.fluctuation
    dates = counted(found.window, "date")
    if np.isnan(found.p):
        return "Whether the lead changed over time cannot be tested: it is the same on every date."
    if found.was_better and found.was_worse:
        return (
            f"The lead turned: in windows of {dates} the winners were significantly better around "
            f"{_middle(walk, int(np.argmax(found.statistics)))} and significantly worse around "
            f"{_middle(walk, int(np.argmin(found.statistics)))}."
        )
    if found.was_better or found.was_worse:
        sign = 1 if found.was_better else -1
        share = percent(float((sign * found.statistics > found.critical).mean()), 0)
        return (
            f"In windows of {dates} they were significantly {'better' if sign > 0 else 'worse'} in "
            f"{share}, above all around {_middle(walk, int(np.argmax(sign * found.statistics)))}, "
            f"and in none significantly {'worse' if sign > 0 else 'better'}."
        )
    return (
        f"In no window of {dates} was one side significantly better; chance alone gives a larger "
        f"difference somewhere in {percent(found.p)} of cases."
    )


def _middle(walk: Walk, window: int) -> str:
    """Return the middle date of a window."""
    return when(walk.dates[window + walk.fluctuation.window // 2])


def promise_sentence(walk: Walk) -> str:
    """Return what the searches promised beside what the blocks gave."""
    return (
        f"The searches promised a skill of {signed(walk.promised)} against persistence on average, "
        f"and the blocks gave {signed(walk.obtained)}."
    )


ORIGIN_COLUMNS = ("block from", "promised", "obtained", "skill", "model", "loss", "winner")


def origin_rows(walk: Walk) -> list[tuple[str, ...]]:
    """Return a row of `ORIGIN_COLUMNS` for each origin."""
    searched = walk.spec.parsed_space.searched
    return [
        (
            when(block.dates[0]),
            signed(block.promised),
            signed(block.obtained),
            signed(block.skill),
            block.reference,
            loss(block.losses.mean()),
            configuration(block.config, searched),
        )
        for block in walk.blocks
    ]


def to_json(walk: Walk) -> dict[str, Any]:
    """Return all figures of a walk, as JSON can hold them; NaN is null."""
    values = {
        "study": walk.study,
        "outcome": walk.outcome,
        "sentences": sentences(walk),
        "skill": walk.skill,
        "test": asdict(walk.test),
        "detectable_skill": walk.evidence.detectable_skill,
        "most_skill": walk.evidence.most_skill,
        "first": when(walk.dates[0]),
        "last": when(walk.dates[-1]),
        "dates": len(walk.losses),
        "blocks_won": walk.won,
        "promised": walk.promised,
        "obtained": walk.obtained,
        "fluctuation": {
            "window": walk.fluctuation.window,
            "critical": walk.fluctuation.critical,
            "p": walk.fluctuation.p,
            "statistics": walk.fluctuation.statistics,
        },
        "baselines": [
            {"name": name, "skill": gained, "test": asdict(test)}
            for name, (gained, test) in walk.against().items()
        ],
        "outside": [result.to_json() for result in walk.outside],
        "direction": asdict(walk.direction)
        | {
            "pesaran_timmermann": walk.direction_test and asdict(walk.direction_test),
            "no_pesaran_timmermann": walk.no_direction_test,
        },
        "backtest": walk.backtest,
        "no_backtest": walk.no_backtest,
        "volatility_timing": walk.timing and walk.timing.to_json(),
        "blocks": [_block(block) for block in walk.blocks],
        "winners": [_stability(each) for each in walk.stability],
    }
    found: dict[str, Any] = to_json_values(values)
    return found


def _block(block: Block) -> dict[str, Any]:
    return {
        "study": block.study,
        "first": when(block.dates[0]),
        "last": when(block.dates[-1]),
        "dates": len(block.dates),
        "winner": block.winner.number,
        "networks": block.networks,
        "config": block.config,
        "reference": block.reference,
        "loss": float(block.losses.mean()),
        "reference_loss": float(block.reference_losses.mean()),
        "skill": block.skill,
        "promised": block.promised,
        "obtained": block.obtained,
    }


def _stability(found: Stability) -> dict[str, Any]:
    return {
        "hyperparameter": found.name,
        "values": found.values,
        "step": found.step,
        "by_chance": found.by_chance,
    }
