"""Measure how well an uncertainty tells wrong answers from right ones, on a question file sampled once.

`Collector` fills a `SampleStore`; `metrics` judge any score computed from it; `baselines` are published rivals on the
same texts.
"""

from invent_chain.evaluate.dataset import Question, read_questions
from invent_chain.evaluate.on_ray import Cluster, collect_on_ray, score_on_ray
from invent_chain.evaluate.runner import Collected, Collector
from invent_chain.evaluate.samples import SampledSibling, Samples, SampleStore
from invent_chain.evaluate.scored import Scored, score_samples

__all__ = [
    "Cluster",
    "Collected",
    "Collector",
    "Question",
    "SampleStore",
    "SampledSibling",
    "Samples",
    "Scored",
    "collect_on_ray",
    "read_questions",
    "score_on_ray",
    "score_samples",
]
