"""What to tell when no candidate keeps the budget: which limit binds, and the nearest miss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.budget import Limit, judge

from .ranking import Ranking, Record, gaps, shortfall, shortfalls

__all__ = ["explain"]


def explain(records: Sequence[Record], limits: Sequence[Limit], prefer: str) -> list[str]:
    """Return lines that say what keeps the candidates from the budget.

    A limit *binds* when the nearest miss breaks it; beside it stands what the best candidate would
    reach that keeps all other limits, so that one sees whether this limit alone is too tight.
    Limits that judging the nearest miss did not measure stand last: they fail it as well.

    Args:
        records: Of all candidates, those left out as well.
        limits: The budget.
        prefer: Decides between candidates that are equally near.
    """
    ranking = Ranking(limits=limits, prefer=prefer, corrections=gaps(records))
    known = [record for record in records if record.speed]
    # What was left out after screening has no accuracy: it can be near only as far as is known,
    # so what is known of in full comes first.
    trained = [record for record in known if record.accuracy]
    sound = [record for record in trained if not record.failure]
    full = [record for record in known if record.confirmed] or sound or trained or known
    if not full:
        return ["no candidate could be measured"]
    nearest = min(full, key=ranking.key)
    missing = _missing(nearest, ranking)
    binding = sorted((limit for limit in missing if missing[limit] > 0), key=missing.__getitem__)
    return [
        f"nearest miss: {nearest.candidate.name}{_how_known(nearest)}",
        *(_binding(limit, nearest, known, ranking) for limit in reversed(binding)),
        *_unmeasured(nearest),
    ]


def _unmeasured(nearest: Record) -> list[str]:
    verdicts = nearest.confirmed.verdicts if nearest.confirmed else ()
    return [f"{each.limit}: {each.reason}" for each in verdicts if each.measured is None]


def _binding(limit: Limit, nearest: Record, known: Sequence[Record], ranking: Ranking) -> str:
    text = f"binds: {limit}; the nearest miss has {_shown(nearest, limit, ranking)}"
    judged = _missing(nearest, ranking).keys()
    others = []
    for record in known:
        missing = _missing(record, ranking)
        # Only what is known as far: a limit that nobody measured is not kept.
        if missing.keys() >= judged and not any(missing[o] > 0 for o in judged if o != limit):
            others.append(record)
    if not others:
        return f"{text}; no candidate keeps all other limits"
    best = min(others, key=lambda record: shortfall(limit, _value(record, limit, ranking)))
    if best is nearest:
        return f"{text}, the best of those that keep all other limits"
    return (
        f"{text}; of those that keep all other limits, {best.candidate.name} comes nearest with "
        f"{_shown(best, limit, ranking)}"
    )


def _missing(record: Record, ranking: Ranking) -> Mapping[Limit, float]:
    return shortfalls(ranking.limits, record.values(ranking.corrections))


def _value(record: Record, limit: Limit, ranking: Ranking) -> float | None:
    measured = judge(record.values(ranking.corrections), [limit])[0].measured
    return measured.value if measured else None


def _shown(record: Record, limit: Limit, ranking: Ranking) -> str:
    value = _value(record, limit, ranking)
    exact = "" if value is None else f"{value:.4g}"
    latency = "" if record.latency_ms is None else f" at {record.latency_ms:.3g} ms"
    return f"{exact or 'no value'}{latency}"


def _how_known(record: Record) -> str:
    if record.confirmed is not None:
        return ""
    return ", judged by a short training" if record.accuracy else ", judged by its speed and size"
