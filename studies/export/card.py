"""The model card of an export: description, scores, and use without this program."""

from puffin.models.cells import CELLS
from puffin.models.evaluation.metrics import skill
from puffin.models.features import TARGETS
from puffin.studies.export.record import ExportRecord, Opening, Scores
from puffin.studies.report.subject import loss_in_words
from puffin.studies.text import counted, in_words, loss, minute, percent, signed

_PLAIN_TORCH = """\
import tomllib, torch
from safetensors.torch import load_file
from torch.nn import {layer}, Linear, ModuleDict, ModuleList
{imports}
record, weights = tomllib.load(open("config.toml", "rb")), load_file("model.safetensors")
widths = [len(record["input"]["features"]), *record["config"]["hidden_dims"]]
members = ModuleList()
for seed in record["refit"]["seeds"]:
    layers = ModuleList({layer}(a, b, batch_first=True) for a, b in zip(widths, widths[1:]))
    members.append(ModuleDict({{"{layers}": layers, "fc": Linear(widths[-1], {outputs})}}))
ModuleDict({{"members": members}}).load_state_dict(weights)
x = torch.zeros(1, record["config"]["lookback"], widths[0])  # bars, standardised as "input" says
forecasts = []
for network in members:
    y = x
    for layer in network["{layers}"]: y = layer(y)[0]
{append}
print(sum(forecasts) / len(forecasts))  # {what}"""
_APPEND = """\
    forecasts.append(network["fc"](y[:, -1]))"""
# What turns the outputs of a network into quantiles, as `QuantileHead` does.
_APPEND_QUANTILES = """\
    y = network["fc"](y[:, -1])
    gaps, m = softplus(y), {middle}  # m is the place of the median
    below = y[:, m:m + 1] - gaps[:, :m].flip(1).cumsum(1).flip(1)
    above = y[:, m:m + 1] + gaps[:, m + 1:].cumsum(1)
    forecasts.append(torch.cat([below, y[:, m:m + 1], above], 1))"""


def model_card(record: ExportRecord) -> str:
    """Return the description of an export as Markdown."""
    parts = (_head, _scores, _holdout, _data, _use)
    return "\n".join(part(record) for part in parts)


def _head(record: ExportRecord) -> str:
    config, inputs, refit = record.config, record.input, record.refit
    symbols = len(record.scalers)
    each = f" of each of {symbols} symbols" if record.is_basket else ""
    widths = ", ".join(map(str, config.hidden_dims))
    seeds = ", ".join(map(str, refit.seeds))
    bars = "all bars, the holdout included" if refit.data == "all" else "the search data"
    return f"""# {record.study}: {config.cell.upper()} [{widths}]

Trial {record.trial} of study `{record.study}`, trained again on {bars}:
{refit.targets} targets up to {refit.last}, {counted(record.epochs, "epoch")}. The forecast is the
mean of {counted(len(refit.seeds), "network")}, trained with seed {seeds}. It is of the
{TARGETS[inputs.target].unit}{each} {counted(inputs.horizon, "bar")} ahead, from
{counted(config.lookback, "bar")} of {", ".join(inputs.features)}.
"""


def _scores(record: ExportRecord) -> str:
    scores = record.scores
    folds = "\n".join(
        f"| {i + 1} | {f.train_first} to {f.train_last} "
        f"| {f.valid_first} to {f.valid_last} | {loss(value)} |"
        for i, (f, value) in enumerate(zip(record.folds, scores.fold_losses, strict=True))
    )
    low, high = scores.direction_interval
    return f"""## Scores of the search

Walk-forward validation; the loss is the {loss_in_words(record.spec.training)}.
Each fold is standardised by its own training part. These scores are optimistic, because the
configuration was chosen by them.

| fold | trained on | validated on | loss |
|---|---|---|---|
{folds}

| | |
|---|---|
| mean loss | {loss(scores.loss)} |
| loss of persistence | {loss(scores.persistence_loss)} |
| loss of the training mean | {loss(scores.mean_loss)} |
| skill against persistence | {signed(scores.skill)} |
| direction accuracy | {percent(scores.direction_accuracy)} ({percent(low)} to {percent(high)}) |
| direction accuracy of the training mean | {percent(scores.mean_direction_accuracy)} |
{_symbols(scores)}"""


def _symbols(scores: Scores) -> str:
    """Return the table of symbols; nothing if there is one."""
    if not scores.symbol_losses:
        return ""
    rows = "\n".join(
        f"| {symbol} | {loss(value)} | {loss(persistence)} | {signed(skill(value, persistence))} |"
        for symbol, value in scores.symbol_losses.items()
        for persistence in [scores.symbol_persistence[symbol]]
    )
    return f"""
| symbol | loss | loss of persistence | skill |
|---|---|---|---|
{rows}
"""


def _holdout(record: ExportRecord) -> str:
    holdout = record.holdout
    if holdout is None:
        sealed = "" if record.seal else "The holdout is sealed: "
        return f"""## Holdout

{sealed}{record.unjudged}.
"""
    rows = "\n".join(
        f"| {b.label} | {loss(b.search_loss)} | {loss(b.holdout_loss)} |" for b in holdout.baselines
    )
    older = (
        "These are the scores of the older fit, which was trained without the holdout. The weights "
        "here were trained on all bars, so no bar is left to score them on.\n\n"
        if record.refit.data == "all"
        else ""
    )
    looks = "\n".join(map(_look, record.seal.openings if record.seal else ()))
    sentences = "\n".join(f"* {sentence}" for sentence in holdout.sentences)
    return f"""## Holdout

{older}{sentences}

| | search loss | holdout loss |
|---|---|---|
| this configuration | {loss(record.scores.loss)} | {loss(holdout.loss)} |
{rows}

The bars of the holdout were looked at:

{looks}

`report.html` is the whole report.
"""


def _look(opening: Opening) -> str:
    study = f"study `{opening.study}`, " if opening.study else ""
    of = f"outside forecast {opening.outside}" if opening.outside else f"trial {opening.trial}"
    return f"* {minute(opening.time)}: {study}{of}"


def _data(record: ExportRecord) -> str:
    data = record.data
    hashes = "\n".join(f"* `{name}`: `{value}`" for name, value in data.sha256.items())
    return f"""## Data

{data.origin}: {data.bars} bars from {data.first} to {data.last};
the search used the bars up to {data.search_last}. sha256 of the files:

{hashes}
"""


def _use(record: ExportRecord) -> str:
    cell = CELLS[record.config.cell]
    block = _plain_torch(record)
    return f"""## Use

* `tuner predict DIR` forecasts with this model.
* `sha256sum --check SHA256SUMS` shows whether a file was changed.
* `tuner reproduce DIR` trains the model again from these files alone and compares scores,
  forecasts, scalers, weights, this card and the verdict. It cannot reproduce the files of the
  report and the third sentence of the verdict, because they depend on every trial of the search,
  nor a sentence on outside forecasts.
* `config.toml`: configuration, scores, folds, seeds, scalers, machines and the whole study file
* `model.safetensors`: weights of the networks, each a `puffin.models.networks.rnn.{cell.network}`
* `prices-search.csv` and, once the seal is open, `prices-holdout.csv`: the prices of the study
* `forecasts.csv`, `forecasts-holdout.csv`: out-of-sample forecasts in the target's unit

In plain torch:

```python
{block}
```
"""


def _plain_torch(record: ExportRecord) -> str:
    """Return code that loads the networks and forecasts without this program."""
    cell, criterion = CELLS[record.config.cell], record.spec.criterion
    names = {"layer": cell.torch_layer, "layers": cell.layers}
    if not criterion.levels:
        return _PLAIN_TORCH.format(
            **names, imports="", outputs=1, append=_APPEND, what="the target, standardised"
        )
    levels = in_words([f"{level:g}" for level in criterion.levels])
    return _PLAIN_TORCH.format(
        **names,
        imports="from torch.nn.functional import softplus\n",
        outputs=len(criterion.levels),
        append=_APPEND_QUANTILES.format(middle=criterion.middle),
        what=f"quantiles {levels} of the target, standardised",
    )
