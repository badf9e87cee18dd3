"""Wrap the RAG chain that you have: one more line, the same answers, and a report of their uncertainty.

python examples/03_langchain_rag.py
"""

from island import PROMPT, chat_model, island_notes, joined
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnablePassthrough

from invent_chain import InvEntropy
from invent_chain.demo import BundledModel
from invent_chain.embed import bundled_minilm
from langchain_invent import get_invent_callback, with_uncertainty

QUESTIONS = ("When does the ferry sail to the mainland?", "Who is the mayor of Velda?")

with BundledModel() as server:
    retriever = island_notes().as_retriever(search_kwargs={"k": 2})
    chain = (
        {"context": retriever | joined, "question": RunnablePassthrough()}
        | PROMPT
        | chat_model(server)
        | StrOutputParser()
    )
    scored = with_uncertainty(chain, scorer=InvEntropy(n=5, r=3, similarity=bundled_minilm(), max_tokens=32))

    for question in QUESTIONS:
        with get_invent_callback() as collected:
            answer = scored.invoke(question)  # the chain's own output, unchanged
        report = collected.last
        print(f"{question}\n  {answer.strip()}")
        print(f"  uncertainty {report.score:.2f}: {report.decision.action} ({report.usage.requests} requests)")

    print("\nStreamed, with the report at the end:")
    pair = with_uncertainty(chain, scorer=InvEntropy(n=3, r=2, similarity=bundled_minilm()), output="pair")
    for chunk in pair.stream(QUESTIONS[0]):
        if "output" in chunk:
            print(chunk["output"], end="", flush=True)
        else:
            print(f"\n  uncertainty {chunk['report'].score:.2f}")
