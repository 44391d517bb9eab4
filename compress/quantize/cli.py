"""Decide the INT8 form: ``python -m compress.quantize CHECKPOINT --calibration LIST --output DIR``.

One set of decisions serves every engine (``placement``); ranges come from the user's own crops, and
where calibration costs too much, from a training through the roundings (``--qat-steps``). Layers
that cost a head or a reading more than its budget, or change more answers than the exporters' gate
lets pass, go back to float, the most harmful first. The result is a checkpoint whose ``int8.onnx``
exporters translate into the form that their engine runs fastest.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.command import require_packages, run_command, say
from benchmarks.compare import flips
from benchmarks.metrics import evaluate
from benchmarks.operating_point import fit_operating_point
from benchmarks.report import Rows, show_table
from compress.inheritance import trained_as_before
from runtime.arrays import Logits
from runtime.decode import Decoded, decode
from runtime.scores import OperatingPoint
from runtime.staging import check_free, scratch_folder
from train.checkpoint import OWN_FILE, QUANTISED_FILE, Checkpoint, load_checkpoint, save_checkpoint
from train.data import CropSet, load_crops
from train.int8.placement import weighted_nodes
from train.lineage import lineage_entry, step_name
from train.network import Network
from train.readiness import Target, require_ready
from train.scoring import score
from train.threads import use_threads

from .calibration import Calibration
from .config import QuantizeConfig
from .decisions import Decisions
from .drops import Changed, Drop, Verdict, allowed_drops, divergence, drop_rows, measure_drops
from .harm import Outcome, fit_budget
from .int8_speed import Speed, compare_speed, score_on
from .own_decisions import decide_for_openvino
from .qat import Tuned, train_quantised

__all__ = ["QuantizeConfig", "main", "quantize"]

PROG: Final = "python -m compress.quantize"
_STRICTEST: Final[Target] = "10.3"
"""The oldest TensorRT that reads our opset; what it takes, the newer ones take."""
_SHARED: Final = "int8"
_OWN: Final = "OpenVINO's own"
_FILES: Final = {_SHARED: QUANTISED_FILE, _OWN: OWN_FILE}


@dataclass(frozen=True, slots=True)
class _Bench:
    """What a quantisation works on."""

    config: QuantizeConfig
    source: Checkpoint
    calibration: Calibration
    crops: CropSet
    expected: Logits
    """Of the float checkpoint on the validation crops."""
    answers: Decoded
    """What the float checkpoint makes of them with its own thresholds: those of a network that was
    trained on belong to that one's scores."""
    budgets: Mapping[str, float]

    def decide(self, decisions: Decisions, judge: _Judge) -> Outcome:
        """Choose the layers that run in INT8."""
        return fit_budget(
            decisions,
            judge,
            lambda names: decisions.score(names, self.crops),
            self.calibration.images,
            lost=judge.lost,
        )

    def drops(self, answers: Decoded) -> list[Drop]:
        """Measure what answers for the validation crops lose against the float checkpoint's."""
        schema, targets = self.source.schema, self.crops.targets
        return measure_drops(schema, self.answers, answers, targets, self.budgets)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says what scores in INT8 lose and change."""

    bench: _Bench
    operating: OperatingPoint
    """Of the checkpoint to be made."""
    answers: Decoded
    """What its float weights make of the validation crops: what the exporters' gate compares with.
    After a training they are not those of the checkpoint that it started from."""
    lost: Sequence[Drop] = ()
    """Budgets that its float weights themselves exceed."""

    def __call__(self, logits: Logits) -> Verdict:
        bench = self.bench
        answers = decode(bench.source.schema, logits, self.operating)
        changed = Changed(flips(self.answers, answers), bench.config.max_flips)
        return Verdict(bench.drops(answers), changed)


def quantize(config: QuantizeConfig) -> Checkpoint:
    """Quantise as ``config`` says and write a new checkpoint.

    Raises:
        ParityError: the budgets hold for no layer in INT8; nothing is written, and the same call
            with other budgets does not train again.
        HeadlightError: bad options, data or checkpoint.
        KeyboardInterrupt: interrupted; the same call goes on.
    """
    check_free(config.output, overwrite=config.overwrite)
    require_packages("compress", "onnx", "onnxscript")
    use_threads(config.threads)
    bench = _open(config)
    source, schema, spec = bench.source, bench.source.schema, bench.source.input
    network, tuned = source.build(), None
    judge = _Judge(bench, source.operating, bench.answers)
    if config.qat.steps:
        tuned = _tune(bench)
        network, decisions = tuned.network, tuned.decisions
        judge = _refitted(bench, network)
    else:
        decisions = Decisions.measure(network, schema, spec, bench.calibration.images)
    outcome = bench.decide(decisions, judge)
    forms = _forms(bench, decisions, outcome)
    engine = config.timed_engine
    models = {"float": decisions.model, **forms}
    speed = compare_speed(engine, models, schema, spec, bench.calibration.images[:1])
    scores = {
        f"{name} on {engine}": score_on(engine, form, schema, spec, bench.crops)
        for name, form in forms.items()
    }
    report = {
        **_report(bench, decisions, outcome, judge, scores),
        "calibration": bench.calibration.to_object(),
        "speed": speed.to_object(),
        "history": list(tuned.history) if tuned else [],
    }
    _show(outcome, report, speed)
    metrics = {**source.metrics, **_accuracies(bench, outcome.logits), "quantize": report}
    checkpoint = _write(bench, network, forms, judge.operating, metrics, tuned)
    shutil.rmtree(_run_folder(config), ignore_errors=True)
    return checkpoint


def _run_folder(config: QuantizeConfig) -> Path:
    """Where a training lives until its result is written."""
    return config.output.with_name(config.output.name + ".run")


def _forms(bench: _Bench, decisions: Decisions, outcome: Outcome) -> dict[str, Any]:
    """Return the INT8 graphs to keep, by their names in the report.

    Raises:
        EngineError: we placed a quantiser where TensorRT, the strictest engine, misreads it.
    """
    forms = {_SHARED: decisions.graph(outcome.names)}
    require_ready(forms[_SHARED], _STRICTEST, "the INT8 graph (an error of Headlight: report it)")
    if bench.config.engine_best:
        say("NNCF decides for OpenVINO")
        kept = [name for name in decisions.names if name not in outcome.names]
        forms[_OWN] = decide_for_openvino(decisions.model, bench.calibration.images, kept)
    return forms


def _open(config: QuantizeConfig) -> _Bench:
    source = load_checkpoint(config.checkpoint)
    schema, spec = source.schema, source.input
    budgets = allowed_drops(schema, config.max_drop, config.max_drops)
    calibration = config.draw(schema, spec)
    for head, labels in calibration.missing.items():
        shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
        say(f"no calibration crop shows {len(labels)} labels of {head}: {shown}")
    crops = load_crops(config.validation, schema, spec, skip_bad=config.skip_bad)
    say(f"calibrating on {len(calibration.images)} crops")
    expected = score(source.build(), crops)
    answers = decode(schema, expected, source.operating)
    return _Bench(config, source, calibration, crops, expected, answers, budgets)


def _tune(bench: _Bench) -> Tuned:
    config = bench.config
    return train_quantised(
        config.qat,
        bench.source,
        bench.calibration.images,
        bench.crops,
        _run_folder(config),
        seed=config.seed,
        skip_bad=config.skip_bad,
    )


def _refitted(bench: _Bench, network: Network) -> _Judge:
    """Judge a network that was trained on, with temperatures and thresholds of its own."""
    schema, crops = bench.source.schema, bench.crops
    logits = score(network, crops)
    operating = fit_operating_point(schema, logits, crops.targets, fitted_on=crops.origin)
    answers = decode(schema, logits, operating)
    lost = [drop for drop in bench.drops(answers) if not drop.within]
    return _Judge(bench, operating, answers, lost)


def _accuracies(bench: _Bench, logits: Logits) -> dict[str, Any]:
    """Return what every checkpoint says of its network, measured as ``evaluate_network`` does."""
    answers = decode(bench.source.schema, logits, OperatingPoint())
    found = evaluate(bench.source.schema, answers, bench.crops.targets)
    heads = {name: head.accuracy.value for name, head in found.heads.items()}
    return {"exact": found.exact.value, "heads": heads}


def _report(
    bench: _Bench,
    decisions: Decisions,
    outcome: Outcome,
    judge: _Judge,
    ported: Mapping[str, Logits],
) -> dict[str, Any]:
    """Return what was measured, as JSON values."""
    schema = bench.source.schema
    forms = {}
    for name, logits in {_SHARED: outcome.logits, **ported}.items():
        verdict = judge(logits)
        forms[name] = {
            "flips": verdict.changed.flips.share.to_object(),
            "divergence": divergence(schema, bench.expected, logits),
            "exceeded": [*map(str, verdict.exceeded)],
        }
    names = [node.name for node in weighted_nodes(decisions.model)]
    return {
        "crops": len(bench.crops),
        "drops": {drop.name: drop.to_object() for drop in outcome.verdict.drops},
        "forms": forms,
        "int8_layers": list(outcome.names),
        "returned": [layer.to_object() for layer in outcome.returned],
        "never_int8": [name for name in names if name not in decisions.names],
    }


def _form_rows(report: Mapping[str, Any]) -> Rows:
    return [
        {
            "form": name,
            "answers that differ from float": f"{form['flips']['value']:.2%} of "
            f"{form['flips']['total']}",
            "divergence of a head, nats": f"{np.mean([*form['divergence'].values()]):.2e}",
            "budgets": "EXCEEDED" if form["exceeded"] else "kept",
        }
        for name, form in report["forms"].items()
    ]


def _show(outcome: Outcome, report: Mapping[str, Any], speed: Speed) -> None:
    show_table("INT8 against float", drop_rows(outcome.verdict.drops))
    show_table("Forms", _form_rows(report))
    for name, form in report["forms"].items():
        for each in form["exceeded"]:
            print(f"{name}: {each}")
    show_table("Layers back in float", outcome.rows())
    total = len(outcome.names) + len(outcome.returned)
    never = report["never_int8"]
    print(
        f"{len(outcome.names)} of {total} layers in INT8"
        + (
            f"; {len(never)} on pooled maps never are: {', '.join(never[:4])}"
            + (", ..." if len(never) > 4 else "")
            if never
            else ""
        )
    )
    print(speed.verdict())


def _write(
    bench: _Bench,
    network: Network,
    forms: Mapping[str, Any],
    operating: OperatingPoint,
    metrics: Mapping[str, Any],
    tuned: Tuned | None,
) -> Checkpoint:
    import onnx

    config, source = bench.config, bench.source
    inputs = {"checkpoint": source.digest, "calibration": bench.calibration.digest}
    inputs |= {"validation": bench.crops.digest, **(tuned.digests if tuned else {})}
    with scratch_folder() as scratch:
        files = {_FILES[name]: scratch / _FILES[name] for name in forms}
        for form, path in zip(forms.values(), files.values(), strict=True):
            onnx.checker.check_model(form, full_check=True)
            onnx.save(form, path)
        return save_checkpoint(
            config.output,
            network,
            schema=source.schema,
            spec=source.input,
            config=source.network,
            slimmed=source.channels is not None,
            operating=operating,
            metrics=metrics,
            lineage={
                **source.lineage,
                step_name(source.lineage, "quantize"): lineage_entry(config, inputs),
            },
            extra_files=files,
            overwrite=config.overwrite,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(argv, QuantizeConfig, _work, prog=PROG, defaults=_inherited)


def _inherited(config: QuantizeConfig) -> QuantizeConfig:
    """Let a training in INT8 be as that of the checkpoint was."""
    return trained_as_before(config, below="qat") if config.qat.steps else config


def _work(config: QuantizeConfig) -> int:
    checkpoint = quantize(config)
    print(f"wrote {checkpoint.folder}; next: python -m export.openvino {checkpoint.folder} --help")
    return 0
