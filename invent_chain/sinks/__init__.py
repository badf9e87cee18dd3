"""Where reports are logged: `InvEntropy(ask, sinks=[LogSink(), JsonlSink("reports.jsonl")])`.

A sink is any object with a method `emit(report)`. None of these writes the question, an answer or a reason unless it
is constructed with `text=True`.
"""

from invent_chain.protocols import Sink
from invent_chain.sinks.attributes import attributes
from invent_chain.sinks.jsonl import JsonlSink
from invent_chain.sinks.log import LogSink
from invent_chain.sinks.otel import OpenTelemetrySink

__all__ = ["JsonlSink", "LogSink", "OpenTelemetrySink", "Sink", "attributes"]
