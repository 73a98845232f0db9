"""A person who opens only the page can say how far the run is, when it ends and whether anything is wrong: asked of a browser."""

import asyncio
import base64
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security
from tornado.websocket import websocket_connect

from cryovox.pipeline.dashboard import feed as dashboard
from cryovox.pipeline.dashboard import page as page_module
from cryovox.pipeline.dashboard.style import TEMPLATE
from cryovox.pipeline.events.events import Event
from cryovox.pipeline.events.tally import Tally
from cryovox.tasks.pictures.png import png

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TEXT = """(() => { const walk = (node) => [...node.childNodes].map((child) =>
  child.nodeType === 3 ? child.data : ["SCRIPT", "STYLE"].includes(child.tagName) || child.hidden ? "" :
  walk(child.shadowRoot ?? child)).join(" "); return walk(document.body).replace(/\\s+/g, " "); })()"""
"""What the page says, through Bokeh's shadow roots."""
COUNT = """(() => { const walk = (node) => [node, ...[...(node.shadowRoot ?? node).children].flatMap(walk)];
  return walk(document.documentElement).filter((one) => one.matches(SELECTOR)).length; })()"""


class Browser:
    """A headless Chromium, spoken to over its DevTools socket."""

    def __init__(self, folder: Path, program: str = str(CHROMIUM), patience: float = 30):
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command += [
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
        self._loop = asyncio.new_event_loop()
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self._number, self._session, self.errors = 0, "", []
        try:
            port = folder / "DevToolsActivePort"
            wait_for(lambda: port.exists() and len(port.read_text().splitlines()) == 2, patience)
            number, path = port.read_text().splitlines()
            self._socket = self._loop.run_until_complete(self._connect(f"ws://127.0.0.1:{number}{path}"))
        except BaseException:
            self._end()
            raise

    async def _connect(self, address: str) -> Any:
        # a screenshot is larger than Tornado's ordinary message
        return await websocket_connect(address, max_message_size=64 * 2**20)

    def open(self, link: str, width: int = 1280, height: int = 800) -> None:
        """A tab of its own at that address."""
        target = self.say("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.say("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.size(width, height)
        self.say("Runtime.enable")
        self.say("Page.enable")
        self.say("Page.navigate", url=link)

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """Of the window, in CSS pixels."""
        mobile = width < 600
        self.say("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.say("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def say(self, method: str, **parameters: Any) -> Any:
        """One command and its answer."""
        return self._loop.run_until_complete(self._say(method, parameters))

    async def _say(self, method: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": parameters, **session}))
        while True:
            answer = json.loads(await asyncio.wait_for(self._socket.read_message(), 20))
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"]["text"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def asks(self, script: str) -> Any:
        """What a line of JavaScript comes to on the page."""
        return self.say("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """All that the page says."""
        return self.asks(TEXT) or ""

    def count(self, selector: str) -> int:
        """Elements that the selector finds, in shadow roots too."""
        return self.asks(COUNT.replace("SELECTOR", json.dumps(selector)))

    def reads(self, *wanted: str, patience: float = 15) -> str:
        """Waits until the page says all of it."""
        try:
            wait_for(lambda: all(one in self.text() for one in wanted), patience)
        except AssertionError:
            raise AssertionError(f"{[one for one in wanted if one not in self.text()]} not on the page: {self.text()}") from None
        return self.text()

    @contextmanager
    def asleep(self, seconds: float) -> Iterator[None]:
        """None of its processes runs for so long from now on, whatever is done meanwhile."""
        os.killpg(self._process.pid, signal.SIGSTOP)
        waking = Timer(seconds, os.killpg, (self._process.pid, signal.SIGCONT))
        waking.start()
        try:
            yield
        finally:
            waking.join()

    def picture(self, file: Path, whole: bool = False) -> bytes:
        """A screenshot, of the window or of the whole page."""
        image = base64.b64decode(self.say("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])
        file.write_bytes(image)
        return image

    def close(self) -> None:
        """Ends Chromium, by force where it does not hear."""
        try:
            self._session = ""
            self.say("Browser.close")
            self._loop.run_until_complete(self._farewell())
            self._process.wait(20)
        finally:
            self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session of its own, and has children
            self._process.wait(20)
        self._loop.close()

    async def _farewell(self) -> None:
        self._socket.close()
        await asyncio.sleep(0.1)


def wait_for(is_so, patience: float) -> None:
    until = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")

EVIL = "<img src=nowhere onerror='window.struck = 1'>&lt;b&gt;\"'$$x$$"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@contextmanager
def scheduler() -> Iterator[Client]:
    """A TLS cluster in this process, with a dashboard on any free port."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tls://", host="127.0.0.1",
            security=Security.temporary(), dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield client


class Driver:
    """What the run's own process does: events to the tally, then to the page."""

    def __init__(self, client: Client, store: Path, recipe: str = "quickstart"):
        self.tally = Tally(store, recipe)
        self.page = dashboard.open_page(client, self.tally, store.with_name(store.name + ".run"))
        assert self.page.link, self.page.note

    def say(self, kind: str, text: str = "", **facts: Any) -> None:
        event = Event(kind, text, facts)
        self.tally.hear(event)
        self.page.hear(event)

    def shard(self, shard: int, done: int = 1000, skipped: int = 0, failed: int = 0) -> None:
        seconds = {"read": 0.5, "render": 3.0, "check": 0.5, "write": 1.0}
        self.say("shard", shard=shard, done=done, skipped=skipped, failed=failed, bytes=10**7, seconds=seconds, mass_error=3e-7)


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(dashboard, "EVERY", 0.2)
    monkeypatch.setattr(dashboard, "PICTURE_EVERY", 0.3)
    monkeypatch.setattr(page_module, "EVERY", 200)
    assert "EVERY = 3000" in TEMPLATE
    monkeypatch.setattr(page_module, "TEMPLATE", TEMPLATE.replace("EVERY = 3000", "EVERY = 300"))


def test_the_page_tells_a_run_from_its_first_minute_to_its_end(browser, tmp_path, monkeypatch, caplog):
    blob = np.exp(-((np.indices((40, 40)) - 20) ** 2).sum(0) / 50)
    monkeypatch.setattr(dashboard, "newest_picture", lambda store, shard: (shard, png(np.roll(blob, shard, 1), 0.0, 1.0)))
    with scheduler() as client:
        driver = Driver(client, tmp_path / "adk.zarr")
        browser.open(driver.page.link)
        browser.reads("adk.zarr", "recipe quickstart", "starting", "the frames are not counted yet", "Nothing is wrong")
        driver.say("waiting", "two jobs are in the queue")
        browser.reads("waiting for workers", "two jobs are in the queue")

        driver.say("survey", done=3, of=64)
        browser.reads("finding the box", "3 of 64 parts")

        driver.say("started", frames=10_000, done=2000)
        driver.say("workers", workers=1)
        for shard in range(3):
            driver.shard(shard)
            time.sleep(0.6)
        text = browser.reads(
            "5,000 of 10,000 frames done", "2,000 were there before", "50.0 %", "running", "frame 2", "render 60 %"
        )
        assert "Nothing is wrong" in text
        state = driver.tally.state
        left, ends = re.search(r"time left (\d+) s .*ends at (\d\d:\d\d:\d\d)", text).groups()
        assert 0 < int(left) <= state["seconds_left"] + 2
        expected = {
            time.strftime("%H:%M:%S", time.localtime(state["updated"] + state["seconds_left"] + d)) for d in (-1, 0, 1, 2)
        }
        assert ends in expected
        assert time.tzname[0] in text  # whose clock that is
        assert browser.count("img[alt^='frame']") == 3
        assert browser.asks("document.title") == "50.0 % · adk.zarr · cryovox"
        assert browser.picture(tmp_path / "running.png")[:4] == b"\x89PNG"

        driver.say("warning", EVIL)
        driver.shard(4, done=997, skipped=3)
        browser.reads("Worth a look; the run goes on", "3 frames skipped", EVIL)
        driver.tally.state["needed_bytes"] = 10**17
        driver.say("stage")
        browser.reads("Something is wrong", "the disk is too small")
        assert browser.count(".tile.bad") == 1
        browser.size(390, 844)
        assert browser.asks("document.documentElement.scrollWidth") <= 390

        driver.tally.state.update(needed_bytes=None, done=9997)
        driver.say("finished")
        driver.page.close()
        browser.reads("finished, without 3 frames", "time taken", patience=3)  # before the scheduler goes with the run
    # a page that is open when the scheduler ends prints nothing over the run's last lines
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    browser.reads("The run is over and its scheduler has gone: finished, without 3 frames", str(tmp_path / "adk.zarr.run"))
    assert "Reconnection" not in browser.text()  # Bokeh's own notice would lie over ours
    assert browser.errors == []
    assert browser.asks("window.struck") is None


def test_a_browser_that_is_slow_to_let_go_prints_nothing(browser, tmp_path, caplog):
    with ExitStack() as run:
        driver = Driver(run.enter_context(scheduler()), tmp_path / "adk.zarr")
        browser.open(driver.page.link)
        browser.reads("recipe quickstart")
        driver.page.close()
        with browser.asleep(1.5):
            run.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_text_from_files_and_errors_stays_text(browser, tmp_path):
    with scheduler() as client:
        driver = Driver(client, tmp_path / EVIL.replace("/", ""), EVIL)
        driver.tally.state.update(host=EVIL, pid=EVIL, slurm_job=EVIL, reason=EVIL, seconds={EVIL: 1.0})
        driver.say("stopping", EVIL)
        browser.open(driver.page.link)
        browser.reads("stopping in order", f"stopping in order {EVIL}")
        driver.say("stopped", reason=EVIL)
        browser.open(driver.page.link)
        browser.reads("cannot be done", f"recipe {EVIL}", f"SLURM job {EVIL}", f"{EVIL} 100 %")
        assert browser.count("img[src=nowhere]") == 0
        assert browser.asks("window.struck") is None
        driver.page.close()


def test_nobody_who_answers_is_said_and_the_page_comes_back(browser, tmp_path):
    with scheduler() as client:
        driver = Driver(client, tmp_path / "adk.zarr")
        driver.say("started", frames=1000, done=0)
        browser.open(driver.page.link)
        browser.reads("1,000 to do")
        browser.say("Network.enable")
        browser.say("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        browser.reads("Nobody answers since", "how it stood then: running")
        browser.say("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        driver.say("waiting")
        wait_for(lambda: "Nobody answers" not in browser.text() and "waiting for workers" in browser.text(), 15)
        # as after a laptop's sleep: HTTP answers, Bokeh's own connection has fallen behind
        browser.asks("window.old = 1; window.beat = () => [1, false, '', '']")
        wait_for(lambda: browser.asks("window.old") is None and "waiting for workers" in browser.text(), 15)
        driver.page.close()


def test_a_browser_that_does_not_come_up_or_go_is_ended(tmp_path, monkeypatch):
    deaf = tmp_path / "deaf"
    deaf.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 600\n")
    deaf.chmod(0o700)
    with pytest.raises(AssertionError, match="in vain"):
        Browser(tmp_path, str(deaf), patience=2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    stuck = Browser(tmp_path / "profile")
    monkeypatch.setattr(stuck, "say", lambda *_: wait_for(lambda: False, 0.1))
    with pytest.raises(AssertionError, match="in vain"):
        stuck.close()
    assert stuck._process.poll() is not None
