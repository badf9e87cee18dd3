"""What LangSmith is told: scores on the right run, siblings below it. A server on loopback stands in for LangSmith.

python examples/06_langsmith_traces.py
"""

from island import PROMPT, chat_model, island_notes, joined
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tracers import LangChainTracer

from invent_chain import InvEntropy
from invent_chain.demo import BundledModel
from invent_chain.embed import bundled_minilm
from langchain_invent import with_uncertainty
from langchain_invent.testing import LangSmithCollector

with BundledModel() as server, LangSmithCollector() as langsmith:
    retriever = island_notes().as_retriever(search_kwargs={"k": 2})
    generate = with_uncertainty(
        PROMPT | chat_model(server),
        scorer=InvEntropy(n=2, r=2, similarity=bundled_minilm(), max_tokens=32),
        feedback=True,
    )
    chain = {"context": retriever | joined, "question": RunnablePassthrough()} | generate

    # An application sets LANGSMITH_TRACING=true and its key instead of this line.
    tracer = LangChainTracer(client=langsmith.client())
    chain.invoke("How high is Mount Tarn?", {"callbacks": [tracer], "run_name": "ask the island"})

    langsmith.collect()
    print(langsmith.tree())
    for feedback in langsmith.feedback():
        print(f"feedback {feedback.key}: {feedback.score:.2f}")
    print(f"runs without a parent: {len(langsmith.orphans())}; higher uncertainty = less certain")
