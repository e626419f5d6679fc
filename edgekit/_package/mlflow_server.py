"""What a push needs of an MLflow server, on mlflow's own client; every failure is told in one line."""

from __future__ import annotations

import http.client
import os
import re
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from edgekit.errors import MissingToolError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgekit._package.job import PackageWords

_SECONDS = 10
# What a name may not hold wherever it is sent; the server has rules of its own, and tells them.
_NAME = re.compile(r"[^/'\"\\\x00-\x1f\x7f]{1,250}")
_LOGIN = "a login is taken from MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN"
# mlflow's client would try a dead server for minutes, and reports its use to its makers.
_SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True)
class MlflowPlace:
    """`mlflow+http://HOST[:PORT][/PREFIX]/MODEL-NAME[?variant=V&component=C]`."""

    server: str
    name: str
    words: PackageWords

    def __str__(self) -> str:
        return f"mlflow+{self.server}/{self.name}"


def parse_mlflow_place(text: str) -> MlflowPlace:
    """UsageError for what is no such place."""
    parts = urlsplit(text.removeprefix("mlflow+"))
    path, _, name = parts.path.rpartition("/")
    name, query = unquote(name), dict(parse_qsl(parts.query))
    whole = parts.hostname and _NAME.fullmatch(name) and not parts.fragment and "@" not in parts.netloc
    if not whole or query.keys() - {"variant", "component"}:
        raise UsageError(
            f"'{text[:200]}' names no model on an MLflow server",
            fix=f"write mlflow+http://HOST:PORT/MODEL-NAME[?variant=V]; {_LOGIN}",
        )
    words: PackageWords = {}
    if "variant" in query:
        words["variants"] = query["variant"]
    if "component" in query:
        words["component"] = query["component"]
    return MlflowPlace(f"{parts.scheme}://{parts.netloc}{path}", name, words)


@contextmanager
def open_server(place: MlflowPlace) -> Iterator[MlflowServer]:
    """The server, once anything answers at its address.

    MissingToolError without mlflow; OutputError where it cannot be reached, refuses or breaks off.
    """
    with _settings():
        make_client, errors = _load_mlflow()
        _reach(place)
        with redirect_stdout(sys.stderr):  # its client prints where a run may be looked at
            client = make_client(tracking_uri=place.server, registry_uri=place.server)
            try:
                yield MlflowServer(client, place)
            except errors as error:
                raise OutputError(
                    f"{place}: {' '.join(str(error).split())[:300]}",
                    fix=f"mend what the server names and push again; {_LOGIN}",
                ) from error


@contextmanager
def _settings() -> Iterator[None]:
    """The settings that the user has not made, for as long as a push takes."""
    mine = [name for name in _SETTINGS if name not in os.environ]
    os.environ.update({name: _SETTINGS[name] for name in mine})
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)


def _load_mlflow() -> tuple[Any, tuple[type[Exception], ...]]:
    """mlflow's client, and what it raises where a server refuses or is gone."""
    try:
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]
        from requests import RequestException
    except ImportError as error:
        raise MissingToolError(
            "pushing to an MLflow server needs mlflow", fix="pip install mlflow-skinny"
        ) from error
    return MlflowClient, (MlflowException, RequestException)


def _reach(place: MlflowPlace) -> None:
    parts = urlsplit(place.server)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_SECONDS)
    try:
        connection.request("GET", f"{parts.path}/health")
        connection.getresponse().read(1)
    except (OSError, http.client.HTTPException) as error:
        raise OutputError(
            f"{place}: the server cannot be reached ({error})", fix="check the address, or start it"
        ) from error
    finally:
        connection.close()


class MlflowServer:
    """One registered model on one server; nothing of a push that fails is left on it."""

    def __init__(self, client: Any, place: MlflowPlace) -> None:
        self._client, self._name = client, place.name

    @contextmanager
    def model(self) -> Iterator[None]:
        """Within it the registered model is there; one that was made for it goes again on failure."""
        is_new = not self._client.search_registered_models(f"name='{self._name}'")
        if is_new:
            self._client.create_registered_model(self._name)
        try:
            yield
        except BaseException:
            if is_new:
                with suppress(Exception):
                    self._client.delete_registered_model(self._name)
            raise

    def find_version(self, tag: str, value: str) -> str | None:
        """The version that carries the tag with this value; None where there is none."""
        versions = self._client.search_model_versions(f"name='{self._name}'")
        return next((str(one.version) for one in versions if one.tags.get(tag) == value), None)

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str]) -> Iterator[Any]:
        """A new run of the experiment of the model's name; deleted again on failure."""
        found = self._client.get_experiment_by_name(self._name)
        where = found.experiment_id if found else self._client.create_experiment(self._name)
        run = self._client.create_run(where, run_name=name, tags=dict(tags))
        try:
            yield run
            self._client.set_terminated(run.info.run_id)
        except BaseException:
            with suppress(Exception):
                self._client.set_terminated(run.info.run_id, "FAILED")
                self._client.delete_run(run.info.run_id)
            raise

    def log_metrics(self, run: Any, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        rows = [Metric(name, value, run.info.start_time, 0) for name, value in values.items()]
        # A server takes at most 1000 of them at once.
        for start in range(0, len(rows), 1000):
            self._client.log_batch(run.info.run_id, metrics=rows[start : start + 1000])

    def log_file(self, run: Any, file: Path, folder: str) -> None:
        self._client.log_artifact(run.info.run_id, str(file), folder)

    def register(self, run: Any, folder: str, tags: Mapping[str, str]) -> str:
        """A new version of the model from a folder of the run; its number."""
        made = self._client.create_model_version(
            self._name, f"{run.info.artifact_uri}/{folder}", run.info.run_id, tags=dict(tags)
        )
        return str(made.version)
