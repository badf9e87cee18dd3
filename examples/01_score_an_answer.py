"""Score an answer that the application already has, with a model of its own. Runs offline with the bundled model.

python examples/01_score_an_answer.py
"""

from openai import OpenAI

from invent_chain import InvEntropy, OpenAIAsk, Thresholds
from invent_chain.demo import MODEL_NAME, MOST_CHOICES, BundledModel
from invent_chain.embed import bundled_minilm

QUESTION = "Which river flows through the old town of Prague?"
ANSWERS = ("The Vltava", "The Danube")

with BundledModel() as model, OpenAI(base_url=model.base_url, api_key="none") as client:
    template = "{question} Answer concisely and return only the name."
    ask = OpenAIAsk(client, model=MODEL_NAME, template=template, max_n=MOST_CHOICES)
    policy = Thresholds(answer=0.4, retrieve_more=None, fallback=None)  # of this example, from no data
    with InvEntropy(ask, similarity=bundled_minilm(), policy=policy, max_tokens=32) as scorer:
        for answer in ANSWERS:
            report = scorer.score(QUESTION, answer=answer)
            print(f"{report.answer}: uncertainty {report.score:.2f}, {report.decision.action}")
            print(f"  {report.explain()}")
