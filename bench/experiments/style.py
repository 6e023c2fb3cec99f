"""How the figures look: a subject differs in line, mark and grey value, so that paper without colour is enough."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PlotError(Exception):
    """The package that draws is not installed."""


@dataclass(frozen=True, slots=True)
class Look:
    """A subject's name in a figure, and its line. Dark colours are ours, light ones the others'."""

    label: str
    colour: str
    line: str | tuple[int, tuple[float, ...]]
    mark: str
    width: float = 1.6


LOOKS = {
    "direct": Look("application alone", "#000000", ":", "", 2.2),
    "interceptor-memory": Look("memory", "#9ecae1", "-", "o", 2.2),
    "interceptor-file-relaxed": Look("file relaxed", "#4292c6", "-", "s", 2.2),
    "interceptor-file-strict": Look("file strict", "#08306b", "-", "D", 2.2),
    "interceptor-postgresql-relaxed": Look("PostgreSQL relaxed", "#a1d99b", (0, (6, 1.5)), "^"),
    "interceptor-postgresql-strict": Look("PostgreSQL strict", "#00441b", (0, (6, 1.5)), "v"),
    "nginx": Look("nginx", "#e6550d", "--", "x"),
    "haproxy": Look("HAProxy", "#969696", "--", "+"),
    "envoy": Look("Envoy", "#756bb1", "-.", "1"),
    "aiohttp": Look("aiohttp", "#636363", "-.", "*"),
    "floor": Look("floor", "#bdbdbd", ":", "."),
    "tunnel": Look("tunnel", "#bdbdbd", ":", ","),
}
REPLAY_LOOKS = {
    "replay": Look("replay from version 1", "#08306b", "-", "D", 2.2),
    "http": Look("checkpoint (http) and a tail of 1 %", "#4292c6", "--", "o"),
    "criu": Look("checkpoint (criu) and a tail of 1 %", "#00441b", "-.", "^"),
}
THESIS_MARK: dict[str, Any] = {
    "marker": "P",
    "color": "#b2182b",
    "markerfacecolor": "white",
    "linestyle": "none",
    "markersize": 9,
}
# Words that lines would otherwise run through.
OVER_LINES: dict[str, Any] = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6}, "zorder": 9}


def new_figure(columns: int, width: float, height: float) -> "tuple[Figure, list[Axes]]":
    """An empty figure of so many panels side by side. Raises PlotError without matplotlib."""
    try:
        from matplotlib import rcParams  # noqa: PLC0415  only for drawing
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise PlotError("there is nothing to draw with: python -m pip install matplotlib") from error
    # Text stays text in an SVG, and the same figure is the same file.
    rcParams["svg.fonttype"], rcParams["svg.hashsalt"] = "none", "interceptor"
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
    return figure, panels


def save(figure: "Figure", directory: Path, name: str) -> None:
    """Write the figure as SVG and PNG. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    figure.savefig(directory / f"{name}.svg", metadata={"Date": None})
    figure.savefig(directory / f"{name}.png", dpi=150)


def draw_line(panel: "Axes", look: Look, x: "Sequence[float]", y: "Sequence[float]") -> None:
    """One subject's line with its marks."""
    panel.plot(
        x, y, color=look.colour, linestyle=look.line, marker=look.mark, linewidth=look.width, markersize=5.5,
        markeredgecolor=look.colour if look.mark in ("x", "+", "1") else "black", markeredgewidth=0.7,
    )  # fmt: skip


def label_ends(panel: "Axes", ends: "Sequence[tuple[Look, float, float]]", apart: float = 0.052) -> None:
    """Write each name beside its line's last point, pushed apart so that no two lie on each other (log y)."""
    ends = sorted(ends, key=lambda end: end[2])
    to_axes = panel.transAxes.inverted()
    heights = [float(to_axes.transform(panel.transData.transform((x, y)))[1]) for _, x, y in ends]
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + apart) if placed else height)
    # What was pushed over the top comes back down, and pushes those below.
    limit = 1.0
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - apart
    for (look, x, y), height in zip(ends, placed, strict=True):
        panel.annotate(
            look.label, xy=(x, y), xytext=(1.02, height), textcoords="axes fraction", fontsize=8.5, va="center",
            arrowprops={"arrowstyle": "-", "color": look.colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 2,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def plain_numbers(axis: object) -> None:
    """Write 50, 1,000, 0.5 and not powers of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415

    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.10g}"))  # type: ignore[attr-defined]
    axis.set_minor_formatter(NullFormatter())  # type: ignore[attr-defined]
