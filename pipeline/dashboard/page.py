"""The page as Bokeh serves it: its parts in their places, the plot of speed over time, and a look again every second."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from bokeh.models import ColumnDataSource, DatetimeTickFormatter, Div, InlineStyleSheet
from bokeh.plotting import figure

from .figures import words
from .parts import DRAWN, title_of
from .plugin import Look
from .style import PARTS, TEMPLATE

EVERY = 1000
"""Milliseconds between two looks."""
LINE, FAINT = "#2f7de1", "#8a93a0"


def build(document: Any, look: Callable[[], Look]) -> Callable[[], None]:
    """Fills a Bokeh document and keeps it up to date. Returns what looks again at once."""
    sheet = InlineStyleSheet(css=PARTS)
    parts = {
        name: Div(name=name, sizing_mode="stretch_width", margin=0, stylesheets=[sheet], disable_math=True) for name in DRAWN
    }
    points = ColumnDataSource({"at": [], "speed": []})
    beat = Div(name="beat", visible=False)

    def refresh() -> None:
        now = look()
        for name, draw in DRAWN.items():
            html = draw(now)
            if parts[name].text != html:
                parts[name].text = html
        speeds = [] if now.run is None else now.run.speeds
        if len(speeds) != len(points.data["at"]) or (speeds and speeds[-1][1] != points.data["speed"][-1]):
            points.data = {"at": [_wall(at) for at, _ in speeds], "speed": [speed for _, speed in speeds]}
        title = title_of(now)
        if document.title != title:
            document.title = title
        # a list that is never drawn: the page's own script reads it
        beat.tags = [now.now, False, "", ""] if now.run is None else [now.now, now.run.over, words(now.run)[1], now.run.folder]

    refresh()
    for model in (*parts.values(), _plot(points), beat):
        document.add_root(model)
    document.template = TEMPLATE
    if hasattr(document, "config") and hasattr(document.config, "notify_connection_status"):
        document.config.notify_connection_status = False  # from Bokeh 3.8 on; the page says it in its own words
    document.add_periodic_callback(refresh, EVERY)
    return refresh


def _wall(at: float) -> float:
    """Milliseconds whose UTC reading is this machine's time of day: Bokeh's axes know no zone."""
    offset = datetime.fromtimestamp(at).astimezone().utcoffset()
    return 1000 * (at + (offset.total_seconds() if offset else 0.0))


def _plot(points: ColumnDataSource) -> Any:
    plot: Any = figure(
        name="speed", height=140, margin=0, sizing_mode="stretch_width", x_axis_type="datetime", toolbar_location=None, tools="",
        background_fill_alpha=0, border_fill_alpha=0, outline_line_color=None, min_border_left=44, min_border_right=12,
    )  # fmt: skip
    plot.varea(x="at", y1=0, y2="speed", source=points, fill_color=LINE, fill_alpha=0.14)
    plot.line(x="at", y="speed", source=points, line_color=LINE, line_width=2)
    plot.y_range.start = 0
    plot.xaxis.formatter = DatetimeTickFormatter(
        milliseconds="%H:%M:%S",
        seconds="%H:%M:%S",
        minsec="%H:%M:%S",
        minutes="%H:%M",
        hourmin="%H:%M",
        hours="%H:%M",
        days="%d %b",
    )
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.yaxis.ticker.desired_num_ticks = 4
    for axis in (plot.xaxis, plot.yaxis):
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = None
        axis.major_label_text_color, axis.major_label_text_font_size = FAINT, "11px"
    plot.xgrid.grid_line_color = None
    plot.ygrid.grid_line_color, plot.ygrid.grid_line_alpha = FAINT, 0.25
    return plot
