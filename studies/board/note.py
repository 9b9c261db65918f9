"""The notes of the dashboard as Markdown: what a study is, how far it is, why a trial failed."""

import shlex
from collections.abc import Iterable, Iterator

from optuna.trial import FrozenTrial, TrialState

from puffin.studies.advice import advice
from puffin.studies.overview import Overview, overview
from puffin.studies.records import TrialRecord, VerdictRecord, WalkRecord
from puffin.studies.report.markdown import plain
from puffin.studies.report.subject import series_name, target_in_words
from puffin.studies.sections import DataSection
from puffin.studies.spec import Spec
from puffin.studies.study import HOLDOUT_SUFFIX, StoredStudy, lowest_complete
from puffin.studies.summary import Status
from puffin.studies.text import configuration, counted, loss, printable, roughly, signed

# What stands above this line is ours, what stands below it a person's. Markdown does not show it.
MARKER = "[//]: # (Puffin Tuner writes what is above this line. Write below it.)"

_MOST_REASONS = 5
_SHORT_HASH = 12


def with_note_of_person(ours: str, theirs: str) -> str:
    """Return a note of ours followed by that of a person."""
    return f"{ours}\n\n{MARKER}\n\n{theirs}".rstrip() + "\n"


def note_of_person(note: str) -> str:
    """Return what a person wrote of a note: what stands below the marker, or all without it."""
    above, marker, below = note.partition(MARKER)
    return below.strip() if marker else above


def study_note(study: StoredStudy) -> str:
    """Return the note of a study."""
    if study.parent_name is not None:
        return _note_of_retraining(study)
    found, verdict = overview(study), VerdictRecord.read(study.optuna_study)
    is_judged = verdict is not None and verdict.winner == found.status.best_trial
    text = _join(
        [
            _headline(found),
            _progress(found.status),
            *(_verdict(study.name, verdict) if verdict and is_judged else ()),
            *_walk(study),
            _next(study, found.status, is_judged=is_judged),
            _facts(study, found),
            *_remarks(study, found),
        ]
    )
    # A no-break space keeps a number and its unit on one line.
    return text.replace(" %", "\u00a0%")


def _headline(found: Overview) -> str:
    state = found.status
    if state.best_loss is None or found.config is None:
        return "**No trial is complete yet.**"
    return (
        f"**Best so far: skill {signed(state.best_skill)}**, loss {loss(state.best_loss)}, "
        f"trial {state.best_trial}: {plain(configuration(found.config))}, "
        f"{counted(found.best_epoch or 0, 'epoch')}. Skill is 1 - loss / loss of persistence, so "
        "above 0 is better than a forecast of no change."
    )


def _progress(state: Status) -> str:
    counts = f"{state.complete} complete, {state.pruned} pruned, {state.failed} failed"
    parts = [f"{state.finished} of {counted(state.tickets, 'trial')} done: {counts}"]
    if not state.done:
        workers = counted(len(state.workers), "worker")
        parts.append("paused" if state.paused else f"{workers} at work")
        if state.seconds_left is not None and not state.paused:
            parts.append(f"{roughly(state.seconds_left)} left")
    return "; ".join(parts) + "."


def _verdict(name: str, verdict: VerdictRecord) -> Iterator[str]:
    yield "## Verdict on the sealed holdout"
    yield " ".join(map(plain, verdict.sentences))
    yield f"[The report]({report_path(name)})"


def _walk(study: StoredStudy) -> Iterator[str]:
    """Yield the verdict of the last walk, which is kept with this study."""
    if (verdict := WalkRecord.read(study.optuna_study)) is not None:
        yield "## Verdict of the walk"
        yield " ".join(map(plain, verdict.sentences))
        yield f"[The walk]({walk_path(study.name)})"


def walk_path(name: str) -> str:
    """Return the path of the page with the walk that is kept with a study, in the dashboard."""
    return f"/walks/{name}"


def report_path(name: str) -> str:
    """Return the path of the page with the report on a study, in the dashboard."""
    return f"/reports/{name}"


def _next(study: StoredStudy, state: Status, *, is_judged: bool) -> str:
    if not state.done:
        command = "resume" if state.paused else "worker --study"
        effect = "continues the search" if state.paused or not state.workers else "adds a worker"
        return f"Next: `{_command(f'{command} {shlex.quote(study.name)}')}` {effect}."
    if lowest_complete(study.trials()) is None:
        return ""
    if is_judged:
        return f"Next: `{_command(f'export {shlex.quote(study.name)} DIR')}` writes the forecaster."
    return (
        f"Next: `{_command(f'report {shlex.quote(study.name)}')}` judges the best on the sealed "
        "holdout."
    )


def _command(arguments: str) -> str:
    return f"tuner {arguments}"


def _facts(study: StoredStudy, found: Overview) -> str:
    spec, data = study.spec, study.record.data
    section, walk = spec.data, spec.walk_forward
    hashes = ", ".join(f"`{value[:_SHORT_HASH]}`" for value in data.sha256.values())
    sealed = "opened" if found.openings else "sealed"
    rows = {
        "Forecast": plain(subject_in_words(section)),
        "From": plain(f"{', '.join(section.inputs)} of each bar"),
        "Prices": plain(
            f"{printable(data.origin)}, {data.bars} bars from {data.first} to {data.last}"
        ),
        "sha256": f"{hashes} (search part, holdout)",
        "Judged on": f"{walk.folds} folds of {walk.valid_bars} bars; "
        f"the holdout of {walk.holdout_bars} bars is {sealed}",
        "Search": f"{counted(found.status.tickets, 'trial')} of up to "
        f"{counted(spec.training.max_epochs, 'epoch')}, {budget_in_words(spec)}",
        "Hyperparameters": plain(", ".join(spec.space)),
    }
    lines = (f"| {name} | {value} |" for name, value in rows.items())
    return "\n".join(["| This study | |", "|---|---|", *lines])


def _remarks(study: StoredStudy, found: Overview) -> Iterator[str]:
    remarks = advice(study) if found.config is not None else []
    reasons = list(found.failures.items())
    remarks += [f"{counted(n, 'trial')} {reason}" for reason, n in reasons[:_MOST_REASONS]]
    if remarks:
        yield "## Worth knowing"
        yield "\n".join(f"* {plain(printable(remark))}" for remark in remarks)


def _note_of_retraining(study: StoredStudy) -> str:
    """Return what a retraining study is; it has no best trial."""
    parent, jobs = plain(study.parent_name), study.record.jobs
    configurations, seeds = len({j.trial for j in jobs}), len({j.seed for j in jobs})
    what = f"{counted(configurations, 'configuration')} with up to {counted(seeds, 'seed')}"
    done = _progress(overview(study).status)
    if study.name.endswith(HOLDOUT_SUFFIX):
        purpose = (
            f"**The best trials of study {parent}, trained again on all its search bars and scored "
            f"on its holdout**: {what}. The winner was fixed before, so this study has no best: "
            "the lowest of these losses is lowest by chance."
        )
    else:
        purpose = (
            f"**The best trials of study {parent}, trained again with other seeds**: {what}, on "
            "the folds of the search. It shows how much of a loss is the luck of the seed, so it "
            "has no best."
        )
    name = shlex.quote(str(study.parent_name))
    # The browser draws it, because the study has no direction (`names_no_best` of the dashboard).
    line = "The line in the history is at the loss of the first trial, and means nothing."
    return _join([purpose, done, line, f"`{_command(f'report {name}')}` says what came out."])


def trial_note(trial: FrozenTrial) -> str:
    """Return the note of a trial that failed or diverged; empty for any other."""
    record = TrialRecord.read(trial)
    if record.failure is not None:
        return f"**Failed**: {_code(record.failure)}"
    if trial.state == TrialState.PRUNED and trial.constraints:
        reason = plain((record.reason or "the loss is not finite").removeprefix("diverged: "))
        return f"**Diverged**: {reason}. A lower `space.lr` may help."
    return ""


def _code(text: str) -> str:
    """Return a text from outside as a block of code, whatever it contains."""
    return f"\n\n    {printable(text)}"


def subject_in_words(section: DataSection) -> str:
    """Return what a study forecasts, for a table of studies."""
    return target_in_words(section, series_name(section))


def budget_in_words(spec: Spec) -> str:
    """Return how a study searches, in one line."""
    search = spec.search
    return f"sampler {search.sampler}, pruner {search.pruner}, seed {search.seed}"


def _join(parts: Iterable[str]) -> str:
    """Join paragraphs, leaving out empty ones."""
    return "\n\n".join(part for part in parts if part)
