"""The page never costs a run anything: not its time, not its end; and what a scheduler shows is what the tally counted."""

import builtins
import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

from cryovox.pipeline.dashboard import feed as dashboard
from cryovox.pipeline.dashboard import plugin
from cryovox.pipeline.dashboard.feed import open_page
from cryovox.pipeline.events.events import Event
from cryovox.pipeline.events.tally import ENDS, Tally


@contextmanager
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tls://", host="127.0.0.1",
        security=Security.temporary(), dashboard_address="127.0.0.1:0",
    ) as one:  # fmt: skip
        yield one


@pytest.fixture(scope="module")
def standing() -> Iterator[LocalCluster]:
    with cluster() as one:
        yield one


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(dashboard, "EVERY", 0.05)
    monkeypatch.setattr(plugin, "FLUSH", 0.0)


@pytest.fixture
def client(standing) -> Iterator[Client]:
    with Client(standing, set_as_default=False) as one:
        yield one


@pytest.fixture
def opened(client, tmp_path) -> Iterator[tuple[Tally, dashboard.Page]]:
    tally = Tally(tmp_path / "a.zarr", "quickstart")
    page = open_page(client, tally, tmp_path / "a.zarr.run")
    assert (page.note, page.link is None) == ("", False)
    yield tally, page
    page.close()


def tell(tally: Tally, page: dashboard.Page, kind: str, text: str = "", **facts: Any) -> None:
    event = Event(kind, text, facts)
    tally.hear(event)
    page.hear(event)


def shard(number: int, **changes: Any) -> dict[str, Any]:
    return {"shard": number, "done": 1, "skipped": 0, "failed": 0, "bytes": 10, "seconds": {}, "mass_error": None} | changes


def get(link: str, path: str = "/progress.json") -> Any:
    with urllib.request.urlopen(link + path, timeout=10) as answer:
        return json.loads(answer.read(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def becomes(ask: Callable[[], Any], wanted: Any, patience: float = 5) -> None:
    until = time.monotonic() + patience
    while (got := ask()) != wanted:
        assert time.monotonic() < until, f"{got}, not {wanted}"
        time.sleep(0.02)


# --- what the scheduler shows


def test_the_json_says_what_the_tally_counted_and_what_the_workers_do(opened):
    tally, page = opened
    tell(tally, page, "started", frames=10, done=4)
    tell(tally, page, "shard", **shard(1, mass_error=float("nan"), seconds={"read": 0.5}))
    tell(tally, page, "warning", "a <b>warning</b>")
    becomes(lambda: get(page.link)["state"]["n_warnings"], 1)
    shown = get(page.link)
    assert shown["state"] | {"mass_error": 0} == json.loads(json.dumps(tally.state)) | {"mass_error": 0}
    assert (shown["words"], shown["over"], shown["state"]["done"], shown["state"]["mass_error"]) == ("running", False, 5, None)
    assert [one["text"] for one in shown["complaints"]] == ["a <b>warning</b>"]
    (worker,) = shown["workers"]
    assert (worker["name"], worker["host"], worker["state"], worker["gpu"]) == ("0", "127.0.0.1", "running", None)
    assert worker["memory"] > 0
    with urllib.request.urlopen(page.link + "/progress.json", timeout=10) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"].startswith("application/json")
    with urllib.request.urlopen(page.link, timeout=10) as answer:
        assert b"static/js/bokeh" in answer.read()  # Bokeh's own script, from this very server


@pytest.mark.parametrize("kind", ENDS)
def test_an_end_is_sent_at_once(client, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(dashboard, "EVERY", 30.0)
    tally = Tally(tmp_path / "a.zarr")
    page = open_page(client, tally, tmp_path)
    tell(tally, page, kind, reason="why", frames=1, done=1)
    becomes(lambda: get(page.link)["state"]["state"], kind)
    assert get(page.link)["over"] is True
    page.close()


def test_states_go_once_a_period_however_many_events_there_are(client, tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "EVERY", 0.3)
    tally = Tally(tmp_path / "a.zarr")
    page = open_page(client, tally, tmp_path)
    sent = []
    monkeypatch.setattr(page._talk, "_send", lambda **message: sent.append(message) or {"trouble": ""})
    until, n = time.monotonic() + 1, 0
    tell(tally, page, "started", frames=10**6, done=0)
    while time.monotonic() < until:
        n += 1
        tell(tally, page, "shard", **shard(n))
        time.sleep(0.001)
    page.close()
    assert n > 100
    assert 2 <= sum("state" in message for message in sent) <= 5
    assert sent[-1]["state"]["done"] == n  # the last word is whole


def test_a_silent_run_is_sent_again_so_that_silence_means_a_lost_driver(opened, monkeypatch):
    monkeypatch.setattr(dashboard, "HEARTBEAT", 0.1)
    _, page = opened
    heard = get(page.link)["heard"]
    becomes(lambda: get(page.link)["heard"] > heard + 0.3, True)


def test_two_runs_on_one_scheduler_keep_apart(standing, opened, tmp_path):
    _, page = opened
    with Client(standing, set_as_default=False) as other_client:
        other_tally = Tally(tmp_path / "b.zarr")
        other = open_page(other_client, other_tally, tmp_path)
        assert (other.link, other.note) == (page.link, "")
        shown = get(other.link)
        assert shown["state"]["store"].endswith("b.zarr")  # the newest
        (first,) = [one for one in shown["runs"] if one["store"].endswith(f"{tmp_path.name}/a.zarr")]
        assert get(page.link, f"/progress.json?run={first['run']}")["state"]["store"].endswith("a.zarr")
        tell(other_tally, other, "finished", frames=1, done=1)
        other.close()
        assert get(page.link)["state"]["store"].endswith("a.zarr")  # the newest that is not over


def test_a_driver_that_is_killed_is_missed(standing, tmp_path):
    client = Client(standing, set_as_default=False)
    page = open_page(client, Tally(tmp_path / "killed.zarr"), tmp_path)
    key = get(page.link)["run"]
    client.close()
    becomes(lambda: get(page.link, f"/progress.json?run={key}")["over"], True)
    assert "gone without a last word" in get(page.link, f"/progress.json?run={key}")["words"]
    page.close()


def test_a_standing_scheduler_forgets_old_runs(standing, client, tmp_path):
    for n in range(plugin.RUNS + 3):
        page = open_page(client, Tally(tmp_path / f"{n}.zarr"), tmp_path)
        page.close()
    names = [Path(run["store"]).name for run in get(page.link)["runs"]]
    assert len(names) == plugin.RUNS
    assert names[0] == f"{n}.zarr"


def test_metrics_are_there_while_it_runs_and_gone_with_the_scheduler(tmp_path):
    def exposed() -> str:
        return prometheus_client.generate_latest().decode()

    for _ in range(2):  # two runs in one process
        with cluster() as one, Client(one, set_as_default=False) as client:
            store = tmp_path / "metered.zarr"
            tally = Tally(store)
            tally.hear(Event("started", "", {"frames": 10, "done": 4}))
            tally.hear(Event("shard", "", shard(0, failed=1)))
            tally.hear(Event("gone"))
            page = open_page(client, tally, tmp_path)
            with urllib.request.urlopen(page.link.replace("/cryovox", "/metrics"), timeout=10) as answer:
                text = answer.read().decode()
            assert f'cryovox_frames{{status="pending",store="{store}"}} 4.0' in text
            assert f'cryovox_frames{{status="failed",store="{store}"}} 1.0' in text
            assert f'cryovox_written_bytes{{store="{store}"}} 10.0' in text
            assert f'cryovox_workers_gone{{store="{store}"}} 1.0' in text
            assert text.count("# HELP cryovox_frames ") == 1
            page.close()
            assert "metered.zarr" not in exposed()
    assert "metered.zarr" not in exposed()


# --- what cannot be had costs the page only


def test_internals_that_moved_cost_the_page_only(client, tmp_path, monkeypatch):
    importing = builtins.__import__

    def moved(name, *rest, **more):
        if name == "plugin":
            raise ImportError("No module named 'distributed.diagnostics.plugin'")
        return importing(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", moved)
    page = open_page(client, Tally(tmp_path), tmp_path)
    assert page.link is None
    assert page.note == "no page of the run on the dashboard (ImportError: No module named 'distributed.diagnostics.plugin')"
    page.hear(Event("finished"))
    page.close()


def test_a_bokeh_that_moved_is_told_by_the_scheduler(tmp_path, monkeypatch):
    monkeypatch.delattr("distributed.dashboard.core.BokehApplication")
    with cluster() as one, Client(one, set_as_default=False) as client:
        page = open_page(client, Tally(tmp_path), tmp_path)
    assert page.link is None
    assert "BokehApplication" in page.note


def test_a_scheduler_without_a_dashboard_has_no_page(client, tmp_path, monkeypatch):
    monkeypatch.setattr(Client, "dashboard_link", None)
    page = open_page(client, Tally(tmp_path), tmp_path)
    assert (page.link, page.note) == (None, "the scheduler has no dashboard")


def test_a_scheduler_that_cannot_import_us_is_one_line(client, tmp_path, monkeypatch):
    def refused(*_):
        raise ModuleNotFoundError("No module named 'cryovox'\nand a traceback")

    monkeypatch.setattr(client, "register_plugin", refused)
    page = open_page(client, Tally(tmp_path), tmp_path)
    assert (page.link, page.note) == (
        None,
        "no page of the run on the dashboard (ModuleNotFoundError: No module named 'cryovox')",
    )


def test_a_scheduler_with_the_page_of_another_version_says_so(client, tmp_path, monkeypatch):
    assert open_page(client, Tally(tmp_path), tmp_path).link
    monkeypatch.setattr(plugin, "PROTOCOL", 99)
    real = dashboard._Talk.begin
    monkeypatch.setattr(dashboard._Talk, "begin", lambda talk: monkeypatch.undo() or real(talk))
    page = open_page(client, Tally(tmp_path), tmp_path)
    assert page.link is None
    assert "another version" in page.note


def test_a_scheduler_that_hangs_holds_up_neither_hearing_nor_much_of_the_end(opened, monkeypatch):
    tally, page = opened
    stuck = threading.Event()
    monkeypatch.setattr(dashboard, "PATIENCE", 0.3)
    monkeypatch.setattr(page._talk._client, "sync", lambda *_, **__: stuck.wait(30))
    began = time.monotonic()
    for n in range(1000):
        page.hear(Event("shard", "", shard(n)))
    assert time.monotonic() - began < 0.5
    tell(tally, page, "finished", frames=1, done=1)
    page.close()
    assert time.monotonic() - began < 2
    stuck.set()


def test_a_scheduler_that_is_lost_is_one_line_in_the_log(opened, monkeypatch, caplog):
    monkeypatch.setattr(dashboard, "HEARTBEAT", 0.02)
    _, page = opened

    def lost(*_, **__):
        raise OSError("the scheduler is lost")

    with caplog.at_level(logging.WARNING, "cryovox.run"):
        monkeypatch.setattr(page._talk._client, "sync", lost)
        time.sleep(0.6)  # many periods
    said = [record.message for record in caplog.records if "lost" in record.message]
    assert said == ["the dashboard page was not told: OSError: the scheduler is lost"]


# --- pictures


def test_pictures_reach_the_page_by_themselves(client, tmp_path, two_frames):
    two_frames(tmp_path / "a.zarr")
    tally = Tally(tmp_path / "a.zarr")
    page = open_page(client, tally, tmp_path)
    tell(tally, page, "shard", **shard(0))
    becomes(lambda: [one["frame"] for one in get(page.link)["pictures"]], [1])
    page.close()


def test_a_damaged_shard_costs_its_picture_only(client, tmp_path, two_frames, monkeypatch, caplog):
    monkeypatch.setattr(dashboard, "PICTURE_EVERY", 0.05)
    two_frames(tmp_path / "a.zarr", damaged=True)
    tally = Tally(tmp_path / "a.zarr")
    page = open_page(client, tally, tmp_path)
    with caplog.at_level(logging.WARNING, "cryovox.run"):
        for _ in range(3):
            tell(tally, page, "shard", **shard(0))
            time.sleep(0.2)
        becomes(lambda: get(page.link)["state"]["shards"], 3)
    said = [record.message for record in caplog.records if record.name == "cryovox.run"]
    assert len(said) == 1
    assert said[0].startswith("no picture: StoreDamage")
    page.close()
