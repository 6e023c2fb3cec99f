"""The regression guard: ratios of this run against those in bench/baseline.json, each with a band for its own noise.

Ratios only. Microseconds of one machine say nothing on another; what a request costs beside nginx, and beside a
forwarder on the same event loop, does. The band is measured with the ratio, from its spread over the rounds.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.cost import Measurement, Plan, Progress, Slice, measure_cost

BASELINE = Path(__file__).parents[1] / "baseline.json"
SUBJECTS = ("nginx", "floor", "interceptor-memory", "interceptor-file-relaxed", "interceptor-file-strict")
REFERENCES = ("nginx", "floor")
CONNECTIONS = 50
# A median of few rounds on a shared machine is not known better than this.
BAND_MIN = 0.12
# Three median deviations hold nearly every run of the same code.
_DEVIATIONS = 3.0


class GuardError(Exception):
    """There is no baseline that could be compared with."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU a request of `subject` as a multiple of the reference's, and the share by which it may differ by chance."""

    subject: str
    reference: str
    ratio: float
    band: float

    @property
    def name(self) -> str:
        return f"{self.subject} ÷ {self.reference}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ratio of the baseline beside the one of this run; worse by more than the noise of both is a regression."""

    before: Ratio
    now: Ratio

    @property
    def change(self) -> float:
        return self.now.ratio / self.before.ratio - 1

    @property
    def band(self) -> float:
        return max(self.before.band, self.now.band)

    @property
    def is_regression(self) -> bool:
        return self.change > self.band


def measure_ratios(seconds: int, rounds: int, directory: Path, progress: Progress) -> list[Ratio]:
    """Load all subjects by turns. Raises ProcessError, LoadError, PipelineError, GuardError or OSError."""
    return ratios(measure_cost(Plan(SUBJECTS, CONNECTIONS, seconds, rounds), directory, progress))


def ratios(measurement: Measurement) -> list[Ratio]:
    """Each of ours against each reference. Raises GuardError where a subject answered with errors."""
    slices: dict[str, list[Slice]] = {name: [] for name in measurement.plan.subjects}
    for measured in measurement.slices:
        slices[measured.subject].append(measured)
        if measured.load.errors_total:
            raise GuardError(f"{measured.subject} had {measured.load.errors_total} errors: that is no measurement")
    ours = [name for name in slices if name not in REFERENCES]
    return [
        _ratio(name, reference, slices[name], slices[reference])
        for name in ours
        for reference in REFERENCES
        if slices.get(reference)
    ]


def _ratio(subject: str, reference: str, own: Sequence[Slice], others: Sequence[Slice]) -> Ratio:
    found = [
        one.proxy_cpu_us / other.proxy_cpu_us
        for one, other in zip(own, others, strict=True)
        if one.proxy_cpu_us and other.proxy_cpu_us
    ]
    middle = median(found)
    deviation = median(abs(ratio - middle) for ratio in found) / middle
    return Ratio(subject, reference, round(middle, 3), round(max(BAND_MIN, _DEVIATIONS * deviation), 3))


def compare(before: Sequence[Ratio], now: Sequence[Ratio]) -> list[Verdict]:
    """Pair what is in both. Raises GuardError where nothing is."""
    known = {ratio.name: ratio for ratio in before}
    verdicts = [Verdict(known[ratio.name], ratio) for ratio in now if ratio.name in known]
    if not verdicts:
        raise GuardError("the baseline holds none of the ratios that were measured; write it anew with --update")
    return verdicts


def describe_verdicts(verdicts: Sequence[Verdict]) -> str:
    """One line for each ratio."""
    lines = [f"{'CPU a request':<36}{'baseline':>9}{'now':>8}{'change':>9}{'band':>8}"]
    for verdict in verdicts:
        line = f"{verdict.now.name:<36}{verdict.before.ratio:>9.2f}{verdict.now.ratio:>8.2f}"
        line += f"{verdict.change:>+9.0%}{verdict.band:>8.0%}"
        lines.append(line + ("  WORSE" if verdict.is_regression else ""))
    return "\n".join(lines)


def read_baseline(path: Path) -> list[Ratio]:
    """The ratios of a baseline. Raises GuardError."""
    try:
        return [Ratio(**entry) for entry in json.loads(path.read_text())["ratios"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GuardError(f"{path} is no baseline ({error!r}); write one with --update") from error


def write_baseline(path: Path, found: Sequence[Ratio]) -> None:
    """Make these ratios the ones to compare with. Raises OSError."""
    path.write_text(json.dumps({"ratios": [asdict(ratio) for ratio in found]}, indent=1) + "\n")
