"""The scheduler's side of the page: it keeps what each run says and serves it as a page, as JSON and as metrics.

Runs where the scheduler runs, next to Dask's own dashboard and on its port: `/cryovox`, `/cryovox/progress.json`, `/metrics`.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from .figures import Picture, Run, WorkerRow, complaints, words

PROTOCOL = 1
"""Of the messages below. A standing scheduler keeps the plugin that it got first, perhaps of another version."""
OPERATION = "cryovox_page"
RUNS = 8
"""A standing scheduler shows so many runs; the oldest that are over go first."""
PATH, JSON_PATH = "/cryovox", "/cryovox/progress.json"
FLUSH = 0.25
"""Seconds that the last word waits so that open pages show it before the scheduler ends."""
FAREWELL = 5.0
"""Seconds that open pages have for letting go: as a rule milliseconds, more where the machine is busy or the way is long."""


@dataclass(frozen=True)
class Look:
    """What a page shows at one moment."""

    now: float
    run: Run | None
    others: list[Run]
    """The newest first."""
    workers: list[WorkerRow]


class RunsPlugin(SchedulerPlugin):
    """Holds the runs. Travels by reference: the scheduler imports this very module, or the client is told why it cannot."""

    name = "cryovox-page"
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        """Called by Dask. What fails here costs the page and nothing else: the first message is answered with the reason."""
        self.scheduler, self.trouble = scheduler, ""
        self.runs: dict[str, Run] = {}
        self.refreshers: set[Callable[[], None]] = set()
        scheduler.handlers[OPERATION] = self.hear
        try:
            self._serve()
            _show(self)
        except Exception as error:  # internals of Dask and Bokeh move: whatever they then raise
            self.trouble = f"{type(error).__name__}: {error}"

    def _serve(self) -> None:
        from distributed.dashboard.core import BokehApplication

        served: Any = self.scheduler
        application = BokehApplication({PATH: self._document}, served, prefix="")
        served.http_application.add_handlers(r".*", [(JSON_PATH, ProgressJson, {"plugin": self})])
        served.http_application.add_application(application)
        application.initialize(IOLoop.current())  # without both, closing the scheduler fails in Bokeh
        application.start()

    def _document(self, scheduler: Scheduler, extra: dict[str, Any], document: Any) -> None:  # noqa: ARG002  (Dask's signature)
        # models of Bokeh, imported when the first page is opened
        from .page import build

        asked = document.session_context.request.arguments.get("run", [b""])[0].decode("utf-8", "replace")
        refresh = build(document, lambda: self.look(asked))

        def push() -> None:
            document.add_next_tick_callback(refresh)

        self.refreshers.add(push)
        document.on_session_destroyed(lambda _: self.refreshers.discard(push))

    async def hear(
        self,
        run: str,
        protocol: int,
        client: str = "",
        folder: str = "",
        state: dict[str, Any] | None = None,
        picture: dict[str, Any] | None = None,
        no_pictures: str | None = None,
        closed: bool = False,
    ) -> dict[str, Any]:
        """One message of a driver (not through Dask's events: these are kept by the thousand). Answers with any trouble."""
        if protocol != PROTOCOL:
            return {"trouble": "the scheduler holds the page of another version of cryovox; restart it for this one"}
        now = time.time()
        one = self.runs.setdefault(run, Run(run, client, now, folder))
        self._forget()
        if state is not None:
            one.hear(state, closed, now)
        if picture is not None:
            one.pictures.append(Picture(picture["frame"], now, picture["png"]))
        if no_pictures is not None:
            one.no_pictures = no_pictures
        if one.over and self.refreshers:
            for push in list(self.refreshers):
                push()
            await asyncio.sleep(FLUSH)
        return {"trouble": self.trouble}

    def _forget(self) -> None:
        while len(self.runs) > RUNS:
            over = [key for key, run in self.runs.items() if run.over]
            del self.runs[(over or list(self.runs))[0]]

    def remove_client(self, scheduler: Scheduler, client: str) -> None:  # noqa: ARG002  (Dask's signature)
        """Called by Dask when a client is gone: its run ends with it, whatever it said last."""
        for run in self.runs.values():
            run.gone = run.gone or run.client == client

    async def close(self) -> None:
        """Called by Dask when the scheduler closes.

        Browsers are let go in order, those on Dask's own pages too: Bokeh prints a traceback for each that its end cuts off, and
        for each that its ping finds half closed.
        """
        _hide(self)
        scheduler: Any = self.scheduler
        scheduler.http_server.stop()  # as Dask does next; before, a page that is let go would come back at once
        for application in scheduler.http_application.applications:
            if ping := getattr(application, "_ping_job", None):
                ping.stop()
        until = time.monotonic() + FAREWELL
        for connection in _connections(scheduler):
            connection._socket.close()
        while _connections(scheduler) and time.monotonic() < until:
            await asyncio.sleep(0.01)

    def look(self, asked: str = "") -> Look:
        """The run of that key; without one the newest that is not over, else the newest."""
        newest = list(reversed(self.runs.values()))
        run = self.runs.get(asked) or next((one for one in newest if not one.over), newest[0] if newest else None)
        now = time.time()
        return Look(now, run, [one for one in newest if one is not run], worker_rows(self.scheduler, now))


def _connections(scheduler: Any) -> list[Any]:
    """Bokeh's, of all pages that are open in browsers."""
    found = [connection for one in scheduler.http_application.applications for connection in getattr(one, "_clients", ())]
    return [connection for connection in found if hasattr(connection, "_socket")]


def worker_rows(scheduler: Any, now: float) -> list[WorkerRow]:
    """The scheduler's workers by name; what a version of Dask does not tell is None."""
    rows = [_row(worker, now) for worker in list(scheduler.workers.values())]
    return sorted(rows, key=lambda row: (len(row.name), row.name))


def _row(worker: Any, now: float) -> WorkerRow:
    metrics, extra = worker.metrics, worker.extra
    counts = metrics.get("task_counts", {})
    working = int(counts.get("executing", 0))
    gpu, card = metrics.get("gpu") or {}, extra.get("gpu") or {}
    return WorkerRow(
        name=str(worker.name),
        host=str(worker.host),
        state=str(worker.status.name),
        working=working,
        waiting=max(0, len(worker.processing) - working),
        cpu=_float(metrics.get("cpu")),
        memory=_int(metrics.get("memory")),
        limit=_int(worker.memory_limit or None),
        silent=max(0.0, now - worker.last_seen),
        gpu=_float(gpu.get("utilization", metrics.get("gpu_utilization"))),
        gpu_memory=_int(gpu.get("memory-used", metrics.get("gpu_memory_used"))),
        gpu_memory_limit=_int(card.get("memory-total", extra.get("gpu_memory_total"))),
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def document_of(look: Look) -> dict[str, Any]:
    """What the JSON says."""
    run = look.run
    shown: dict[str, Any] = {"now": look.now, "runs": [_brief(one) for one in ([run] if run else []) + look.others]}
    shown["workers"] = [asdict(row) for row in look.workers]
    if run is not None:
        shown |= _brief(run) | {
            "state": run.state,
            "folder": run.folder,
            "heard": run.heard,
            "ends_at": run.ends_at,
            "complaints": [asdict(one) for one in complaints(run, look.workers, look.now)],
            "pictures": [{"frame": picture.frame, "at": picture.at} for picture in run.pictures],
        }
    return shown


def _brief(run: Run) -> dict[str, Any]:
    return {"run": run.key, "store": str(run.state["store"]), "words": words(run)[1], "over": run.over}


def finite(value: Any) -> Any:
    """The same for JSON, which knows no NaN: null in its place."""
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ProgressJson(RequestHandler):
    """`/cryovox/progress.json?run=KEY`."""

    def initialize(self, plugin: RunsPlugin) -> None:
        """Called by Tornado."""
        self._plugin = plugin

    def get(self) -> None:
        """Answers with `document_of`."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Connection", "close")  # a kept one would outlive the server's end unnoticed
        look = self._plugin.look(self.get_query_argument("run", ""))
        self.write(json.dumps(finite(document_of(look)), allow_nan=False))


class Gauges:
    """Of all runs that are not over, for Prometheus; one for each process, however many schedulers it holds."""

    def __init__(self) -> None:
        self.plugins: list[RunsPlugin] = []

    def describe(self) -> list[Any]:
        """Nothing in advance: the registry would collect to find out."""
        return []

    def collect(self) -> Iterator[Any]:
        """Called at each scrape."""
        from prometheus_client.core import GaugeMetricFamily

        runs = {str(run.state["store"]): run for plugin in self.plugins for run in list(plugin.runs.values()) if not run.over}
        frames = GaugeMetricFamily("cryovox_frames", "Frames of the ensemble, by what became of them", labels=["store", "status"])
        for store, run in runs.items():
            for status in ("done", "skipped", "failed"):
                frames.add_metric([store, status], run.state[status])
            frames.add_metric([store, "pending"], run.pending)
        yield frames
        for name, key, text in GAUGES:
            family = GaugeMetricFamily(f"cryovox_{name}", text, labels=["store"])
            for store, run in runs.items():
                if run.state[key] is not None:
                    family.add_metric([store], run.state[key])
            yield family


GAUGES = (
    ("frames_per_second", "frames_per_second", "Speed of late"),
    ("seconds_left", "seconds_left", "Until the last frame is done, at that speed"),
    ("written_bytes", "bytes", "Bytes of shards that this run wrote"),
    ("free_bytes", "free_bytes", "Bytes left on the store's disk"),
    ("needed_bytes", "needed_bytes", "Bytes that the pending frames will take"),
    ("workers", "workers", "Workers that the run has"),
    ("workers_gone", "workers_gone", "Workers that went during the run, whatever for"),
    ("warnings", "n_warnings", "Warnings that the run said"),
)
_GAUGES = Gauges()


def _show(plugin: RunsPlugin) -> None:
    try:
        from prometheus_client import REGISTRY
    except ModuleNotFoundError:  # it is no dependency; Dask's own /metrics says what is missing
        return
    if not _GAUGES.plugins:
        REGISTRY.register(_GAUGES)  # pyright: ignore[reportArgumentType]
    _GAUGES.plugins.append(plugin)


def _hide(plugin: RunsPlugin) -> None:
    if plugin in _GAUGES.plugins:
        from prometheus_client import REGISTRY

        _GAUGES.plugins.remove(plugin)
        if not _GAUGES.plugins:
            REGISTRY.unregister(_GAUGES)  # pyright: ignore[reportArgumentType]
