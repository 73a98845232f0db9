"""The run's page on the scheduler's dashboard, from the driver's side: states and pictures go out, no run waits for them."""

import getpass
import logging
import os
import shlex
import signal
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from distributed import Client
from jaxtyping import Float

from ...tasks.pictures.framing import coarse
from ..events.events import Event
from ..events.tally import ENDS, Tally

EVERY = 1.0
"""Seconds between two states, where there is news."""
HEARTBEAT = 5.0
"""Seconds after which the state is sent though nothing is new: a page that hears nothing for half a minute says so."""
PICTURE_EVERY = 4.0
"""Seconds between two pictures; more where reading one takes more than a tenth of it."""
PIXELS = 128
"""Longest side of a picture."""
PATIENCE = 5.0
"""Seconds for one message; the run's end waits at most this long for the page to show it."""

_LOG = logging.getLogger("cryovox.run")


class Page:
    """A listener that keeps the page up to date; it hears an event after the tally has.

    Hearing costs a few assignments: one thread sends the state, another reads and sends pictures. Nothing that fails there is
    more than a line in the log.
    """

    def __init__(self, link: str | None, note: str, talk: "_Talk | None" = None):
        self.link = link
        """Of the page, or None."""
        self.note = note
        """Why there is none; empty where there is."""
        self._talk = talk

    def hear(self, event: Event) -> None:
        """Takes note; after a kind of `ENDS` the state is sent at once."""
        if self._talk is not None:
            self._talk.hear(event)

    def close(self) -> None:
        """Sends the last state and ends the threads, in seconds at most."""
        if self._talk is not None:
            self._talk.close()
            self._talk = None


def open_page(client: Client, tally: Tally, run_folder: Path, dashboard: str | None = None) -> Page:
    """Puts the page on the dashboard of the client's scheduler, or says in `note` why it cannot: never raises.

    All of it rests on what Dask and Bokeh do not promise to keep, on a machine that may have another cryovox or none.
    """
    try:
        from .plugin import OPERATION, PATH, PROTOCOL, RunsPlugin

        dashboard = dashboard or client.dashboard_link
        if not dashboard:
            return Page(None, "the scheduler has no dashboard")
        client.register_plugin(RunsPlugin())
        talk = _Talk(client, OPERATION, PROTOCOL, tally, run_folder)
        trouble = talk.begin()
    except Exception as error:  # whatever moved: the run needs no page
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return Page(None, f"no page of the run on the dashboard ({text})")
    if trouble:
        return Page(None, f"no page of the run on the dashboard ({trouble})")
    talk.start()
    return Page(dashboard.removesuffix("/status") + PATH, "", talk)


class _Talk:
    """The two threads, and what they share with the driver's own."""

    def __init__(self, client: Client, operation: str, protocol: int, tally: Tally, folder: Path):
        self._client, self._operation, self._tally, self._folder = client, operation, tally, folder
        self._constant = {"run": uuid.uuid4().hex[:12], "protocol": protocol, "client": client.id, "folder": str(folder)}
        self._news = False
        self._shard: int | None = None
        self._over = threading.Event()
        self._complained: set[str] = set()
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), name=f"cryovox-{loop.__name__}", daemon=True)
            for loop in (self._states, self._pictures)
        ]

    def hear(self, event: Event) -> None:
        self._news = True
        if event.kind == "shard":
            self._shard = event.facts.get("shard")
        elif event.kind in ENDS:
            self._over.set()

    def begin(self) -> str:
        """The first word. Returns the scheduler's trouble, empty where there is none; raises what the client raises."""
        return self._send(state=self._state())["trouble"]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for thread, patience in zip(self._threads, (PATIENCE, 0.5), strict=True):
            thread.join(patience)  # a long read may outlast this; it is a daemon and writes nothing

    def _guarded(self, loop: Any) -> None:
        # Ctrl-C is for the main thread: taken here, it would only be noticed when that one next wakes
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1})
        try:
            loop()
        except Exception as error:  # of a page: told, and the run goes on
            self._complain(f"the dashboard page is not kept up any more: {type(error).__name__}: {error}")

    def _states(self) -> None:
        sent = time.monotonic()
        while not self._over.wait(EVERY):
            if self._news or time.monotonic() - sent >= HEARTBEAT:
                self._news, sent = False, time.monotonic()
                self._tell(state=self._state())
        self._tell(state=self._state(), closed=True)

    def _pictures(self) -> None:
        pause = EVERY
        while not self._over.wait(pause):
            shard, self._shard, pause = self._shard, None, EVERY
            if shard is None:
                continue
            began, picture = time.monotonic(), None
            try:
                picture = newest_picture(Path(self._tally.state["store"]), shard)
            except Exception as error:  # a damaged shard or a slow disk is the run's business, not the page's
                text = f"no picture: {type(error).__name__}: {error}".splitlines()[0]
                self._complain(text)
                self._tell(no_pictures=text)
            pause = max(PICTURE_EVERY, 10 * (time.monotonic() - began))
            if picture is not None:
                frame, png = picture
                self._tell(picture={"frame": frame, "png": png}, no_pictures="")

    def _state(self) -> dict[str, Any]:
        # the driver's thread goes on counting: copies that the interpreter makes in one step
        state = dict(self._tally.state)
        return state | {"seconds": dict(state["seconds"])}

    def _send(self, **message: Any) -> dict[str, Any]:
        client: Any = self._client  # Dask's types know of coroutines only
        return client.sync(getattr(client.scheduler, self._operation), callback_timeout=PATIENCE, **self._constant, **message)

    def _tell(self, **message: Any) -> None:
        try:
            self._send(**message)
        except Exception as error:  # the run notices a lost scheduler by itself
            self._complain(f"the dashboard page was not told: {type(error).__name__}: {error}")

    def _complain(self, text: str) -> None:
        kind = text[:24]
        if kind not in self._complained and self._client.status == "running":
            self._complained.add(kind)
            _LOG.warning(text)


def newest_picture(store: Path, shard: int) -> tuple[int, bytes] | None:
    """The shard's last frame that is done and its projection as a PNG, 0 (or the lowest value) white and the highest dark.

    None where the shard has no such frame. Raises `OSError`, `StoreDamage` and `Refusal` as `read_projection` does.
    """
    # only a thread comes here: what it imports costs the first shard nothing
    from ...tasks.pictures.png import png
    from ...tasks.store import ledger
    from ...tasks.store.layout import read_layout
    from ...tasks.store.read import read_projection
    from ...tasks.values import FrameStatus

    layout, _ = read_layout(store)
    record = ledger.read(store, layout, shard)
    statuses = [] if record is None else [one.status for one in record.frames]
    done = [frame for frame, status in zip(layout.frames_of(shard), statuses, strict=False) if status is FrameStatus.DONE]
    if not done:
        return None
    image = small(read_projection(store, done[-1]))
    return done[-1], png(image, min(0.0, float(image.min())), max(0.0, float(image.max())))


def small(projection: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "h w"]:
    """At most `PIXELS` a side: means over k × k pixels, with 0 beyond the edge and for what is not finite."""
    finite = np.nan_to_num(projection, nan=0.0, posinf=0.0, neginf=0.0)
    return coarse(finite, max(1, -(-max(projection.shape) // PIXELS)))


def tunnel(link: str) -> str | None:
    """`ssh_line` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        user = "USER"
    return ssh_line(link, os.environ, socket.gethostname(), user)


def ssh_line(link: str, environment: Mapping[str, str], host: str, user: str) -> str | None:
    """The command that brings the page to a laptop's own browser, under the link's port on 127.0.0.1.

    None at a desk (neither an SSH session nor a SLURM job). `host` is this machine; inside a job it is reached through the
    machine that submitted it.
    """
    in_job = "SLURM_JOB_ID" in environment
    if not in_job and "SSH_CONNECTION" not in environment:
        return None
    parts = urlsplit(link)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    target = parts.hostname or "127.0.0.1"
    if target in ("localhost", "0.0.0.0"):
        target = "127.0.0.1"
    login = environment.get("SLURM_SUBMIT_HOST", host) if in_job else host
    jump = [] if login == host else ["-J", f"{user}@{login}"]
    return shlex.join(["ssh", "-N", "-L", f"{port}:{target}:{port}", *jump, f"{user}@{host}"])
