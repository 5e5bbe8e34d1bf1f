"""Traces and metrics of runs, by OpenTelemetry, to wherever its own environment variables say.

A trace is one attempt of a job, with a span for each thing that took time: upload, submit, render, download. Metrics
count jobs, credits, requests and waits. What is sent is what the events tell (docs/events.md), and of requests their
method, host, status and time: no text of a person's, no address with a query, no key.

Sent in the background, and lost rather than waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import importlib
import logging
import threading
from typing import Any, Final, Protocol

from batchrunner import __version__
from batchrunner.core import events
from batchrunner.core.events import Event
from batchrunner.core.job import FINAL, Job
from batchrunner.core.retry import Again
from batchrunner.errors import UsageError
from batchrunner.provider.watched import Exchange

ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
"""One of these, and telemetry is sent (OpenTelemetry specification, "OTLP exporter configuration")."""

TIMEOUT_S: Final = 5.0
"""Seconds that sending may take, and that the end of a run waits for it."""

_ENDS: Final[Mapping[type[Event], str]] = {
    events.Uploaded: "upload",
    events.Accepted: "submit",
    events.Refused: "submit",
    events.AnswerLost: "submit",
    events.Rendered: "render",
    events.RenderFailed: "render",
    events.Canceled: "render",
    events.Downloaded: "download",
}
"""What is over with an event: it took the time since the event before."""

_KEEPS_TIME: Final = (events.Looked, events.StepFailed, events.AddressExpired, events.Corrected)
"""Events in the middle of a step, after which it goes on."""


class Telemetry(Protocol):
    """Hears of a run."""

    def told(self, entries: Sequence[tuple[Event, Job]]) -> None:
        """Events that are on disk."""

    def heard(self, exchange: Exchange) -> None:
        """A request that has ended."""

    def close(self) -> None:
        """Send what is left, for a short while."""


def opened(environ: Mapping[str, str], *, tell: Callable[[str], None]) -> Telemetry | None:
    """What sends telemetry, if the environment asks for it.

    Raises:
        UsageError: it asks, and OpenTelemetry is not installed.
    """
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or not any(environ.get(name, "").strip() for name in ENDPOINTS):
        return None
    try:
        parts = {name: importlib.import_module(f"opentelemetry.{path}") for name, path in _PARTS.items()}
    except ImportError as error:
        asking = next(name for name in ENDPOINTS if environ.get(name, "").strip())
        raise UsageError(
            f"{asking} asks for telemetry, and OpenTelemetry is not installed",
            hint="pip install 'batchrunner[telemetry]', or unset it",
        ) from error
    try:
        return _Otlp(parts, tell=tell)
    except Exception as error:  # of another project, about what stands in its variables
        raise UsageError(
            f"OpenTelemetry does not take its settings: {error}", hint="look at the variables that begin with OTEL_"
        ) from error


_PARTS: Final[Mapping[str, str]] = {
    "trace": "trace",
    "resources": "sdk.resources",
    "sdk_trace": "sdk.trace",
    "trace_export": "sdk.trace.export",
    "sdk_metrics": "sdk.metrics",
    "metrics_export": "sdk.metrics.export",
    "spans": "exporter.otlp.proto.http.trace_exporter",
    "figures": "exporter.otlp.proto.http.metric_exporter",
}


class _Otlp:
    """Sends by OTLP over HTTP."""

    def __init__(self, parts: Mapping[str, Any], *, tell: Callable[[str], None]) -> None:
        self._trace = parts["trace"]
        self._tell = tell
        self._open: dict[tuple[str, int], tuple[Any, float]] = {}
        self._charged: dict[tuple[str, int], int] = {}
        quiet = logging.getLogger("opentelemetry")  # a collector that is gone is told once, at the end, and not by it
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        resource = parts["resources"].Resource.create({"service.name": "batchrunner", "service.version": __version__})
        self._spans = parts["sdk_trace"].TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = parts["spans"].OTLPSpanExporter(timeout=TIMEOUT_S)
        self._spans.add_span_processor(parts["trace_export"].BatchSpanProcessor(exporter))
        self._tracer = self._spans.get_tracer("batchrunner", __version__)
        reader = parts["metrics_export"].PeriodicExportingMetricReader(
            parts["figures"].OTLPMetricExporter(timeout=TIMEOUT_S)
        )
        self._figures = parts["sdk_metrics"].MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._figures.get_meter("batchrunner", __version__)
        self._jobs = meter.create_counter("batchrunner.jobs", "{job}", "Attempts that have ended, by state")
        self._credits = meter.create_up_down_counter("batchrunner.credits", "{credit}", "Credits charged")
        self._requests = meter.create_histogram("batchrunner.request.duration", "s", "Requests, by how they ended")
        self._waits = meter.create_histogram("batchrunner.wait", "s", "Waits before something is tried again")

    def told(self, entries: Sequence[tuple[Event, Job]]) -> None:
        for event, job in entries:
            about = {"job.kind": str(job.kind), "job.model": job.spec.model or ""}
            self._count(event, job, about)
            self._follow(event, job, about)

    def heard(self, exchange: Exchange) -> None:
        about = {
            "http.request.method": exchange.method,
            "server.address": exchange.host,
            "http.response.status_code": exchange.status or 0,
            "error.type": exchange.trouble or "",
        }
        self._requests.record(exchange.ms / 1000, about)

    def close(self) -> None:
        # Its own time limits add up, and a collector may take connections and never answer.
        sent = threading.Event()
        threading.Thread(target=self._send_the_rest, args=(sent,), name="telemetry", daemon=True).start()
        if not sent.wait(TIMEOUT_S):
            self._tell("warning: not all telemetry could be sent; the run is not touched by it")

    def _send_the_rest(self, sent: threading.Event) -> None:
        for span, last in self._open.values():
            span.end(_ns(last))
        self._open.clear()
        milliseconds = round(TIMEOUT_S * 1000)
        if self._spans.force_flush(milliseconds) and self._figures.force_flush(milliseconds):
            sent.set()
        self._spans.shutdown()
        self._figures.shutdown(milliseconds)

    # --- metrics ---

    def _count(self, event: Event, job: Job, about: Mapping[str, str]) -> None:
        key = job.id, job.attempt
        before = self._charged.get(key, 0 if isinstance(event, events.Accepted) else job.charged or 0)
        if (job.charged or 0) != before:
            self._credits.add((job.charged or 0) - before, about)
        self._charged[key] = job.charged or 0
        verdict = getattr(event, "verdict", None)
        if isinstance(verdict, Again):
            failure = getattr(event, "failure", None)
            why = failure.code if failure is not None else type(event).__name__
            self._waits.record(max(0.0, verdict.at - event.at), {**about, "error.type": why})
        if job.state in FINAL and not isinstance(event, events.Corrected):
            self._jobs.add(1, {**about, "job.state": str(job.state)})

    # --- traces ---

    def _follow(self, event: Event, job: Job, about: Mapping[str, str]) -> None:
        key = job.id, job.attempt
        if isinstance(event, events.Corrected):
            return
        if key not in self._open:
            span = self._tracer.start_span(
                f"{job.kind} {job.id}",
                start_time=_ns(event.at),
                attributes={**about, "job.id": job.id, "job.attempt": job.attempt},
            )
            self._open[key] = span, event.at
        span, since = self._open[key]
        step = _ENDS.get(type(event))
        if step is not None:
            self._child(span, step, since, event, job)
        if not isinstance(event, _KEEPS_TIME):
            self._open[key] = span, event.at
        if job.state in FINAL:
            self._end(span, event, job)
            del self._open[key]

    def _child(self, parent: Any, step: str, since: float, event: Event, job: Job) -> None:
        inside = self._trace.set_span_in_context(parent)
        span = self._tracer.start_span(step, context=inside, start_time=_ns(min(since, event.at)))
        if job.project_id is not None:
            span.set_attribute("project.id", job.project_id)
        failure = getattr(event, "failure", None)
        if failure is not None:
            span.set_attribute("error.type", failure.code)
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(_ns(event.at))

    def _end(self, span: Any, event: Event, job: Job) -> None:
        span.set_attribute("job.state", str(job.state))
        span.set_attribute("credits.charged", job.charged or 0)
        if job.trouble is not None:
            span.set_attribute("error.type", job.trouble.code)
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(_ns(event.at))


def _ns(at: float) -> int:
    return round(at * 1e9)
