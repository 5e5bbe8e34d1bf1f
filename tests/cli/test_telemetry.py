"""Telemetry of a run, as a collector receives it: over HTTP, as protobuf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import gzip
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
import pytest

from batchrunner.sandbox.settings import API_KEY
from tests.support.posts import taking

TWO = """\
version: 1
jobs:
  - {id: clip, kind: video-to-video, input: a.mp4, end_seconds: 0.5, style: {art_style: Ink}}
  - {id: still, kind: image-to-video, end_seconds: 3, model: kling-3.0, resolution: 720p, input: a.png,
     style: {prompt: a secret of the film}}
"""
BUSY = [{"step": "create", "job": "*/still *", "status": 429, "retry_after": 1, "count": 1}]


class Collector:
    def __init__(self) -> None:
        self.port = 0
        self.bodies: list[tuple[str, bytes]] = []

    def spans(self) -> list[Any]:
        found = []
        for path, body in self.bodies:
            if path == "/v1/traces":
                for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                    found += [span for scope in each.scope_spans for span in scope.spans]
        return found

    def points(self, name: str) -> list[Any]:
        """The data points of a metric as it was sent last."""
        found: list[Any] = []
        for path, body in self.bodies:
            if path == "/v1/metrics":
                for each in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for metric in (metric for scope in each.scope_metrics for metric in scope.metrics):
                        if metric.name == name:
                            data = metric.sum if metric.HasField("sum") else metric.histogram
                            found = list(data.data_points)
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    def took(path: str, headers: Mapping[str, str], body: bytes) -> int:
        is_packed = headers.get("content-encoding") == "gzip"
        collector.bodies.append((path, gzip.decompress(body) if is_packed else body))
        return 200

    with taking(took) as collector.port:
        yield collector


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in of.attributes}


@pytest.mark.parametrize("own", [BUSY], indirect=True)
def test_a_run_is_a_trace_of_each_job_and_figures_that_agree_with_its_record(own):
    manifest = own.folder / "night.yaml"
    manifest.write_text(TWO)
    with collecting() as collector:
        own.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.port}"
        ended = own.run("run", manifest.name)
    assert ended.code == 0, ended.err

    spans = collector.spans()
    roots = {attributes(span)["job.id"]: span for span in spans if not span.parent_span_id}
    assert set(roots) == {"clip", "still"}
    for job, root in roots.items():
        inside = [span for span in spans if span.parent_span_id == root.span_id]
        names = [span.name for span in sorted(inside, key=lambda span: span.end_time_unix_nano)]
        assert names == ["upload", *(["submit"] if job == "still" else []), "submit", "render", "download"]
        assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in inside)
        assert root.end_time_unix_nano == max(span.end_time_unix_nano for span in inside)

    status = own.status(manifest)
    charged = {job["id"]: job["credits"]["charged"] for job in status["jobs"]}
    assert {job: attributes(root)["credits.charged"] for job, root in roots.items()} == charged
    assert sum(point.as_int for point in collector.points("batchrunner.credits")) == sum(charged.values())
    assert sum(point.as_int for point in collector.points("batchrunner.jobs")) == 2
    waits = [point for point in collector.points("batchrunner.wait") if point.count]
    assert {attributes(point)["error.type"] for point in waits} == {"too_many_requests"}
    assert sum(point.count for point in collector.points("batchrunner.request.duration")) >= 8

    sent = b"".join(body for _, body in collector.bodies)
    assert API_KEY.encode() not in sent
    assert b"a secret of the film" not in sent


def test_a_collector_that_is_gone_costs_a_line_and_no_more(own):
    manifest = own.folder / "night.yaml"
    manifest.write_text(TWO)
    own.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    ended = own.run("run", manifest.name)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert own.status(manifest)["totals"]["by_state"] == {"done": 2}


def test_settings_that_opentelemetry_does_not_take_are_told(own):
    (own.folder / "night.yaml").write_text(TWO)
    own.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_METRIC_EXPORT_INTERVAL": "0"}
    ended = own.run("run", "night.yaml")
    assert ended.code == 2
    assert "OpenTelemetry does not take its settings" in ended.err
    assert own.provider.creates("night") == []


def test_without_an_endpoint_nothing_is_loaded(own):
    manifest = own.folder / "night.yaml"
    manifest.write_text(TWO)
    code = (
        "import sys; from batchrunner.cli.app import main; code = main(['run', 'night.yaml', '--yes', '-q']);"
        " assert code == 0, code; assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    ended = own.python(code)
    assert ended.code == 0, ended.err
