"""A LangGraph that acts on uncertainty: answer, retrieve more, fall back to a longer prompt, or abstain.

python examples/04_langgraph_routes.py
"""

from island import PROMPT, chat_model, island_notes
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import END, START, StateGraph

from invent_chain import InvEntropy, Thresholds
from invent_chain.demo import BundledModel
from invent_chain.embed import bundled_minilm
from langchain_invent.graph import UncertainState, abstain_node, fallback_node, make_router, retrieve_node, score_node

QUESTIONS = (
    "On which days does the ferry sail to the mainland?",
    "Who built the lighthouse on Cape Marrow?",
    "Who is the mayor of Velda?",
)
CAREFUL = ChatPromptTemplate.from_messages(
    [("system", "Notes:\n{context}\n\nQuote the one note that answers the question."), ("human", "{question}")]
)


def with_context(state: dict) -> dict:
    context = "\n".join(document.page_content for document in state["documents"])
    return {"context": context, "question": state["question"]}


with BundledModel() as server:
    model = chat_model(server)
    # Thresholds of this example, from no data: fit your own to scored answers of your application.
    scorer = InvEntropy(
        n=4,
        r=2,
        similarity=bundled_minilm(),
        max_tokens=32,
        policy=Thresholds(answer=0.35, retrieve_more=0.5, fallback=0.7),
    )
    graph = StateGraph(UncertainState)
    graph.add_node("retrieve_more", retrieve_node(island_notes().as_retriever(), k=1, widen=2))
    graph.add_node("score", score_node(PROMPT | model | StrOutputParser(), scorer=scorer, inputs=with_context))
    graph.add_node("fallback", fallback_node(CAREFUL | model | StrOutputParser(), scorer=scorer, inputs=with_context))
    graph.add_node("abstain", abstain_node("I do not know."))
    graph.add_edge(START, "retrieve_more")
    graph.add_edge("retrieve_more", "score")
    first = make_router(answer=END, max_hops=1)
    graph.add_conditional_edges("score", first, first.path_map)
    last = make_router(answer=END, retrieve_more=None, fallback=None, name="on_last_uncertainty")
    graph.add_conditional_edges("fallback", last, last.path_map)
    graph.add_edge("abstain", END)
    app = graph.compile()

    for question in QUESTIONS:
        print(question)
        state = {}
        for step in app.stream({"question": question}, stream_mode="updates"):
            for node, update in step.items():
                state |= update
                told = f"uncertainty {update['history'][-1]:.2f}" if update.get("uncertainty") else ""
                print(f"  {node} {told}".rstrip())
        print(f"  -> {state['answer'].strip()} ({state['answered_by']})")
