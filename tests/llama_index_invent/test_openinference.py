"""The score stands on the span that OpenInference makes of the query, and siblings' spans lie below it."""

from __future__ import annotations

from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from invent_chain.sinks import OpenTelemetrySink
from llama_index.evaluation.invent import UncertaintyQueryEngine
from tests.llama_index_invent.test_engines import QUESTION, Scripted, engine_of, scorer


def test_openinference_carries_the_score() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        scored = scorer(sinks=[OpenTelemetrySink()])
        UncertaintyQueryEngine(engine_of(Scripted()), scorer=scored).query(QUESTION)
    finally:
        instrumentor.uninstrument()
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans if span.parent is None] == ["UncertaintyQueryEngine.query"]
    (carrying,) = [span for span in spans if "invent.score" in (span.attributes or {})]
    assert carrying.name == "UncertaintyQueryEngine._query"
    assert carrying.attributes is not None
    assert carrying.attributes["invent.score"] == 0.0
    assert sum(span.name == "CompactAndRefine.synthesize" for span in spans) == 1 + 5
