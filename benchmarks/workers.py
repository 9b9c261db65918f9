"""Two workers against one on the same trials: wall time of the search, and equal losses.

The sampler is random and nothing is pruned, so both run the same configurations. Runs alternate.

    python benchmarks/workers.py --trials 16 --rounds 3
"""

import argparse
import statistics
import tempfile
import time

from puffin.studies.records import Scores, ticket_of
from puffin.studies.study import StoredStudy
from puffin.tuner.pool import Pool
from puffin.tuner.submit import open_study

SETTINGS = ["search.sampler=random", "search.pruner=none", "training.max_epochs=8"]


def search(url: str, workers: int, trials: int) -> tuple[float, dict[int, tuple[float, ...]]]:
    """Run a study; return the seconds between its first start and last end, and fold losses."""
    study = open_study("demo", [*SETTINGS, f"search.trials={trials}"], url)
    with Pool(url, study.name, ["cpu"] * workers, print) as pool:
        while pool.poll():
            time.sleep(0.2)
    return span(study), losses(study)


def span(study: StoredStudy) -> float:
    """Return the seconds from the first start to the last end of a trial."""
    starts = [t.datetime_start for t in study.trials() if t.datetime_start]
    ends = [t.datetime_complete for t in study.trials() if t.datetime_complete]
    return (max(ends) - min(starts)).total_seconds()


def losses(study: StoredStudy) -> dict[int, tuple[float, ...]]:
    """Return the loss of each fold by ticket."""
    return {ticket_of(t): Scores.read(t).fold_losses for t in study.trials()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            one, first = search(f"sqlite:///{folder}/one-{number}.db", 1, options.trials)
            two, second = search(f"sqlite:///{folder}/two-{number}.db", 2, options.trials)
            ratios.append(one / two)
            equal = "equal to the last bit" if first == second else "NOT EQUAL"
            print(
                f"{options.trials} trials: one worker {one:.1f} s, two {two:.1f} s, "
                f"ratio {ratios[-1]:.2f}; losses {equal}",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
