"""The text file through Debian's node-exporter into Debian's prometheus; rules and dashboard on it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import edgekit
from edgekit._monitor.device.monitor import Monitor
from tests.package.registry import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = Path(edgekit.__file__).parent / "_field" / "dashboards" / "rules.yml"
DASHBOARD = RULES.with_name("grafana.json")
DIGEST = "cd" * 32
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def find_program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install prometheus prometheus-node-exporter)")
    return found


@contextmanager
def run_program(*words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def ask(port: int, query: str) -> list[dict[str, Any]]:
    """The samples of an instant query; none while the server is not there yet."""
    address = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found
    except OSError:
        return []


def wait_for(port: int, query: str) -> list[dict[str, Any]]:
    until = time.monotonic() + 60
    while not (found := ask(port, query)) and time.monotonic() < until:
        time.sleep(0.2)
    return found


def observe(monitor: Monitor, path: Path, count: int) -> None:
    for _ in range(count):
        outputs = {"y": np.array([np.nan, 0.5], np.float32)}
        monitor.observe({"x": np.arange(100) / 100}, outputs, 0.02, 0.25)
    monitor.write_prometheus(str(path))


def test_prometheus_scrapes_it_through_node_exporter_and_its_rules_fire(tmp_path: Path) -> None:
    exporter, server = find_program("prometheus-node-exporter"), find_program("prometheus")
    ports = [free_port(), free_port()]
    config, texts = tmp_path / "prometheus.yml", tmp_path / "texts"
    texts.mkdir()
    config.write_text(CONFIG.format(rules=RULES, port=ports[0]))
    monitor = Monitor(DIGEST, variant="int8", device="unit-7", share=1.0)
    observe(monitor, texts / "edgekit.prom", 30)
    with ExitStack() as running:
        collect = (
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={texts}",
        )
        running.enter_context(run_program(exporter, f"--web.listen-address=127.0.0.1:{ports[0]}", *collect))
        store = (f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}")
        running.enter_context(run_program(server, *store, f"--web.listen-address=127.0.0.1:{ports[1]}"))
        (count,) = wait_for(ports[1], "edgekit_inference_latency_seconds_count")
        assert (count["value"][1], count["metric"]["bundle"]) == ("30", DIGEST[:12])
        assert ask(ports[1], "node_textfile_scrape_error")[0]["value"][1] == "0"
        observe(monitor, texts / "edgekit.prom", 30)
        (alert,) = wait_for(ports[1], 'ALERTS{alertname="EdgekitNotFinite"}')
        assert (alert["metric"]["side"], alert["metric"]["tensor"]) == ("output", "y")
        (median,) = wait_for(ports[1], "edgekit:inference_latency_seconds:p50 > 0")
        assert 0.0158 <= float(median["value"][1]) <= 0.0251  # the bucket that 0.02 s lies in
        for query in read_dashboard():
            assert wait_for(ports[1], query), query


def read_dashboard() -> list[str]:
    """The queries of its panels, over all that there is and five seconds."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) >= 6
    return [
        re.sub(r"\$(bundle|component|instance)", ".*", one).replace("$__rate_interval", "5m")
        for one in queries
    ]


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    done = subprocess.run(
        [find_program("promtool"), "check", "rules", RULES], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
