"""Traces, when a collector is configured: BentoML opens a span for each request, here it gets the
route's template for a name, the request's id, and the stages of a feed below it.

Paths, queries and addresses hold who asks, so they do not leave this process: spans have the
template in their place. While tracing is off nothing of OpenTelemetry's SDK is imported here, and
a call costs a comparison.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from time import time_ns
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.types import Scope

from serving.http.request_ids import request_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SHARE = "OTEL_TRACES_SAMPLER_ARG"
"""Variable with the share of requests that are traced, from 0 to 1; OpenTelemetry's own name."""
UNTRACED = [r"/(healthz|livez|readyz|metrics)$"]
_WHAT_WAS_ASKED = ("http.target", "http.url", "url.path", "url.query", "url.full")
_WHO_ASKED = ("net.peer.ip", "net.peer.port", "client.address", "client.port")

_provider: TracerProvider | None = None
_trace: Any = None
_tracer: Any = None


def prepare() -> None:
    """Have BentoML's middleware make spans of which those of its own plumbing are left out.

    Call it when the service is imported; ``start`` has them sent.
    """
    global _provider, _trace, _tracer
    from opentelemetry import trace
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider

    from serving.bentoml_internals import trace_with

    share = float(os.environ.get(SHARE) or 1.0)
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "feedwright"}
    _provider = TracerProvider(sampler=_sampler(share), resource=Resource.create(named))
    trace_with(_provider)
    _trace, _tracer = trace, _provider.get_tracer("feedwright")


def start(endpoint: str) -> None:
    """Send spans to a collector, from this process, in the background.

    Args:
        endpoint: of OTLP over HTTP; ``/v1/traces`` is added to an address without a path.
    """
    if _provider is None:  # the service was not started by BentoML
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    base, _, path = endpoint.partition("://")[2].partition("/")
    address = endpoint if path else f"{endpoint.partition('://')[0]}://{base}/v1/traces"
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))


def stop() -> None:
    """Send what waits. Blocks for some seconds at most."""
    if _provider is not None:
        _provider.shutdown()


def on() -> bool:
    return _provider is not None


def begun(scope: Scope) -> None:
    """Before the route is known: nothing of the path may be in the span if it ends here."""
    if _provider is None:
        return
    span = _trace.get_current_span()
    if not span.is_recording():
        return
    span.update_name(scope["method"])
    for name in (*_WHAT_WAS_ASKED, *_WHO_ASKED):
        if name in span.attributes:
            span.set_attribute(name, "")


def answered(scope: Scope, route: str) -> None:
    """The route is known."""
    if _provider is None:
        return
    span = _trace.get_current_span()
    if not span.is_recording():
        return
    span.update_name(f"{scope['method']} {route}")
    span.set_attribute("http.route", route)
    span.set_attribute("feedwright.request_id", request_id_of(Request(scope)))
    for name in _WHAT_WAS_ASKED[:3]:
        if name in span.attributes:
            span.set_attribute(name, route)


def stages(seconds: Mapping[str, float]) -> None:
    """The stages that ended just now, one after the other, as spans below the current one."""
    if _provider is None or not _trace.get_current_span().is_recording():
        return
    at = time_ns() - round(sum(seconds.values()) * 1e9)
    for stage, took in seconds.items():
        span = _tracer.start_span(stage, start_time=at)
        at += round(took * 1e9)
        span.end(at)


def _sampler(share: float) -> Any:
    from opentelemetry.sdk.trace.sampling import (
        Decision,
        ParentBased,
        Sampler,
        SamplingResult,
        TraceIdRatioBased,
    )

    class WithoutPlumbing(Sampler):
        """No spans for the parts of a request and an answer: they have paths for names."""

        def __init__(self) -> None:
            self._rest = ParentBased(TraceIdRatioBased(share))

        def should_sample(self, parent_context: Any, trace_id: int, name: str, *rest: Any,
                          **more: Any) -> SamplingResult:  # fmt: skip
            if name.endswith((" http receive", " http send")):
                return SamplingResult(Decision.DROP)
            return self._rest.should_sample(parent_context, trace_id, name, *rest, **more)

        def get_description(self) -> str:
            return f"WithoutPlumbing({share:g})"

    return WithoutPlumbing()
