"""Pay for a score only as long as it can still change the decision, within a budget, and never twice.

python examples/08_cheap_scores.py
"""

import openai

from invent_chain import InvEntropy, OpenAIAsk, Thresholds
from invent_chain.cache import MemoryCache
from invent_chain.demo import MODEL_NAME, MOST_CHOICES, BundledModel
from invent_chain.embed import bundled_minilm
from invent_chain.types import Price

QUESTIONS = {"What is the capital of France?": "Paris", "Which element has the atomic number 91?": "Gold"}

with BundledModel() as server, openai.OpenAI(base_url=server.base_url, api_key="none") as client:
    ask = OpenAIAsk(client, model=MODEL_NAME, template="{question} Answer concisely.", max_n=MOST_CHOICES)
    scorer = InvEntropy(
        ask,
        similarity=bundled_minilm(),
        max_tokens=32,
        policy=Thresholds(answer=0.5, retrieve_more=None, fallback=None),
        mode="adaptive",
        max_total_tokens=20_000,
        prices={MODEL_NAME: Price(prompt=0.15, completion=0.60)},  # for a million tokens
        cache=MemoryCache(),  # SqliteCache() is on disk, RedisCache(url) is for several machines
    )
    for question, answer in QUESTIONS.items():
        estimate = scorer.estimate(question, answer=answer)
        print(f"{question} {answer}?")
        print(f"  at most  {estimate.answers} answers, {estimate.requests} requests, {estimate.cost:.4f} $")
        for attempt in ("first", "again"):
            report = scorer.score(question, answer=answer)
            asked = sum(len(sibling.answers) for sibling in report.siblings) - 1
            print(f"  {attempt}    uncertainty {report.score:.2f}, {report.decision.action}: {asked} answers,", end=" ")
            print(f"{report.usage.requests} requests, {report.usage.cache_hits} out of the cache")
