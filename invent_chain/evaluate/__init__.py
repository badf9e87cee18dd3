"""Measure how well an uncertainty tells wrong answers from right ones, on a question file sampled once.

`Collector` fills a `SampleStore`; `metrics` judge any score computed from it; `baselines` are published rivals on the
same texts.
"""

from invent_chain.evaluate.dataset import Question, read_questions
from invent_chain.evaluate.runner import Collected, Collector
from invent_chain.evaluate.samples import SampledSibling, Samples, SampleStore
from invent_chain.evaluate.scored import Scored, score_samples

__all__ = [
    "Collected",
    "Collector",
    "Question",
    "SampleStore",
    "SampledSibling",
    "Samples",
    "Scored",
    "read_questions",
    "score_samples",
]
