"""LangGraph graphs that route on uncertainty, with a scripted model and a real vector store."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from fakes import scripted
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from invent_chain import InvEntropy, Thresholds
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.types import Decision
from langchain_invent import with_uncertainty
from langchain_invent.graph import (
    StateKeys,
    UncertainState,
    abstain_node,
    ask_human_node,
    begin,
    fallback_node,
    make_router,
    retrieve_node,
    score_node,
)

QUESTION = "What is the capital of France?"
ASKED = 7
PROMPT = ChatPromptTemplate.from_messages([("system", "Context: {documents}"), ("human", "{question}")])


def scorer(**settings: Any) -> InvEntropy:
    policy = Thresholds(answer=0.2, retrieve_more=0.6, fallback=0.8)
    return InvEntropy(**{"n": 3, "r": 2, "score": "support", "policy": policy, **settings})


def always(action: Any) -> Any:
    return lambda _score, _status: Decision(action, "told to")


class Notes(BaseRetriever):
    """Finds as many notes as it is asked for, and remembers what it was asked."""

    k: int = 4
    asked: list[tuple[str, int]]

    def _get_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        self.asked.append((query, self.k))
        return [Document(f"note {i}") for i in range(self.k)]


@dataclass
class App:
    """The usual graph, and its parts."""

    graph: Any
    weak: Any
    strong: Any
    notes: Notes

    def run(self, how: str = "invoke", given: Any = None, **config: Any) -> dict[str, Any]:
        given = {"question": QUESTION} if given is None else given
        if how == "invoke":
            return self.graph.invoke(given, config)
        return asyncio.run(self.graph.ainvoke(given, config))

    def steps(self) -> list[str]:
        return [name for step in self.graph.stream({"question": QUESTION}, stream_mode="updates") for name in step]


def app(weak: Any = "Paris", strong: Any = "Paris", *, policy: Any = None, saver: Any = None, **router: Any) -> App:
    model, better, notes = scripted(weak), scripted(strong), Notes(k=2, asked=[])
    how = scorer() if policy is None else scorer(policy=policy)
    builder = StateGraph(UncertainState)
    builder.add_node("retrieve_more", retrieve_node(notes, k=2, widen=3))
    builder.add_node("score", score_node(PROMPT | model | StrOutputParser(), scorer=how))
    builder.add_node("fallback", fallback_node(PROMPT | better | StrOutputParser(), scorer=scorer()))
    builder.add_node("abstain", abstain_node("I do not know."))
    builder.add_edge(START, "retrieve_more")
    builder.add_edge("retrieve_more", "score")
    first = make_router(**{"answer": END, **router})
    builder.add_conditional_edges("score", first, first.path_map)
    last = make_router(answer=END, retrieve_more=None, fallback=None, name="on_last_uncertainty")
    builder.add_conditional_edges("fallback", last, last.path_map)
    builder.add_edge("abstain", END)
    return App(builder.compile(checkpointer=saver), model, better, notes)


def scattered(_messages: Any, number: int) -> str:
    return chr(ord("a") + number) * 4


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_certain_answer_is_given(how: str) -> None:
    one = app()
    state = one.run(how)
    assert (state["answer"], state["answered_by"], state["hops"]) == ("Paris", "model", 0)
    assert state["uncertainty"]["decision"]["action"] == "answer"
    assert state["history"] == [state["uncertainty"]["score"]]
    assert one.notes.asked == [(QUESTION, 2)]
    assert len(one.weak.record.calls) == 1 + ASKED
    assert one.strong.record.calls == []


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_hopeless_answer_is_withheld(how: str) -> None:
    state = app(scattered).run(how)
    assert (state["answer"], state["answered_by"]) == ("I do not know.", "abstain")
    assert state["uncertainty"]["answer"].startswith("bbbb")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_the_fallback_answers_once_and_is_judged_itself(how: str) -> None:
    one = app(scattered, "Paris", policy=always("fallback"))
    state = one.run(how)
    assert (state["answer"], state["answered_by"], state["fallback_used"]) == ("Paris", "fallback", True)
    assert len(one.strong.record.calls) == 1 + ASKED
    assert app(scattered, scattered, policy=always("fallback")).run(how)["answered_by"] == "abstain"


def test_more_is_retrieved_while_it_helps() -> None:
    def better_with_more(messages: Any, number: int) -> str:
        return "Paris" if "note 5" in messages[0].text else f"Paris guess{number}"

    one = app(better_with_more, policy=Thresholds(answer=0.2, retrieve_more=1.0, fallback=None))
    state = one.run()
    assert one.notes.asked == [(QUESTION, 2), (QUESTION, 6)]
    assert (state["answer"], state["hops"]) == ("Paris", 1)
    assert len(state["documents"]) == 6  # two of the six were known
    assert state["history"][1] < state["history"][0]


def test_hops_end_at_their_budget_and_when_nothing_is_gained() -> None:
    retrieving = ["retrieve_more", "score"]
    steady = app(scattered, policy=always("retrieve_more"), max_hops=5)
    assert steady.steps() == [*retrieving, *retrieving, "fallback"]  # the second score was no better

    falling = iter([0.9, 0.6, 0.5, 0.4, 0.3])

    def score(state: Any) -> dict[str, Any]:
        report = {"score": next(falling), "status": "ok", "decision": {"action": "retrieve_more", "reason": ""}}
        return {"uncertainty": report, "history": [*state.get("history", []), report["score"]]}

    router = make_router(answer=END, fallback=None, max_hops=2, min_gain=0.05)
    state: dict[str, Any] = {"question": QUESTION, "hops": 0, "fallback_used": False}
    ways = []
    for hop in range(4):
        state |= score(state) | {"hops": hop}
        ways.append(router(state))
    assert ways == ["retrieve_more", "retrieve_more", "abstain", "abstain"]


def test_a_small_gain_that_is_enough_counts_in_spite_of_rounding() -> None:
    report = {"score": 0.28, "status": "ok", "decision": {"action": "retrieve_more", "reason": ""}}
    state = {"uncertainty": report, "history": [0.3, 0.28], "hops": 1, "fallback_used": False}
    assert make_router(min_gain=0.02)(state) == "retrieve_more"
    assert make_router(min_gain=0.03)(state) == "fallback"


def test_a_failed_report_abstains_whatever_the_policy() -> None:
    def breaks(_messages: Any, number: int) -> Any:
        return "Paris" if number == 1 else RuntimeError("down")

    state = app(breaks, policy=always("answer")).run()
    assert state["uncertainty"]["status"] == "failed"
    assert state["answered_by"] == "abstain"


def test_the_drawing_has_the_edges() -> None:
    edges = {(edge.source, edge.target, edge.conditional) for edge in app().graph.get_graph().edges}
    assert edges == {
        ("__start__", "retrieve_more", False),
        ("retrieve_more", "score", False),
        ("score", "__end__", True),
        ("score", "retrieve_more", True),
        ("score", "fallback", True),
        ("score", "abstain", True),
        ("fallback", "__end__", True),
        ("fallback", "abstain", True),
        ("abstain", "__end__", False),
    }


def test_thresholds_of_one_call_come_by_the_context() -> None:
    @dataclass
    class Context:
        policy: Any = None

    model = scripted(scattered)
    builder = StateGraph(UncertainState, context_schema=Context)
    builder.add_node("score", score_node(model | StrOutputParser(), scorer=scorer(), inputs=lambda s: s["question"]))
    builder.add_node("abstain", abstain_node(lambda state: f"Unsure about {state['question']}"))
    router = make_router(answer=END, retrieve_more=None, fallback=None)
    builder.add_edge(START, "score")
    builder.add_conditional_edges("score", router, router.path_map)
    graph = builder.compile()
    assert graph.invoke({"question": QUESTION}, context=Context())["answer"] == f"Unsure about {QUESTION}"
    lenient = Context(Thresholds(answer=1.0, retrieve_more=None, fallback=None))
    assert graph.invoke({"question": QUESTION}, context=lenient)["answered_by"] == "model"
    with pytest.raises(ConfigurationError, match="the context's policy is a int"):
        graph.invoke({"question": QUESTION}, context=Context(3))


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_person_is_asked_and_resuming_asks_no_model(how: str) -> None:
    model = scripted(scattered)
    builder = StateGraph(UncertainState)
    builder.add_node("score", score_node(model | StrOutputParser(), scorer=scorer(), inputs=lambda s: s["question"]))
    builder.add_node("ask_human", ask_human_node())
    router = make_router(answer=END, retrieve_more=None, fallback=None, abstain="ask_human")
    builder.add_edge(START, "score")
    builder.add_conditional_edges("score", router, router.path_map)
    one = App(builder.compile(checkpointer=InMemorySaver()), model, None, Notes(asked=[]))
    thread = {"configurable": {"thread_id": "1"}}
    (told,) = one.run(how, **thread)["__interrupt__"]
    assert told.value["question"] == QUESTION
    assert told.value["answer"].startswith("bbbb")
    assert told.value["score"] > 0.6
    assert json.loads(json.dumps(told.value)) == told.value
    calls = len(model.record.calls)
    (again,) = one.run(how, Command(resume={"nothing": 1}), **thread)["__interrupt__"]
    assert "resume with the answer" in again.value["problem"]
    state = one.run(how, Command(resume={"answer": "Paris"}), **thread)
    assert (state["answer"], state["answered_by"]) == ("Paris", "human")
    assert len(model.record.calls) == calls


def test_the_state_survives_checkpoints_and_a_thread_asks_anew() -> None:
    saver = InMemorySaver()
    one = app(saver=saver)
    thread = {"configurable": {"thread_id": "1"}}
    state = one.run(**thread)
    kept = one.graph.get_state(thread).values
    assert kept == state
    assert json.loads(json.dumps(kept["uncertainty"])) == state["uncertainty"]
    other = one.run(given={"question": "What is the capital of Spain?"}, **thread)
    assert (len(other["history"]), other["hops"], other["uncertainty"]["question"]) == (
        1,
        0,
        "What is the capital of Spain?",
    )
    same = one.run(given=begin("What is the capital of Spain?"), **thread)
    assert (len(same["history"]), same["hops"]) == (1, 0)


def test_streams_show_the_score_and_no_sibling() -> None:
    one = app("Paris it is")
    messages, scores = [], []
    for mode, part in one.graph.stream({"question": QUESTION}, stream_mode=["messages", "custom"]):
        (messages if mode == "messages" else scores).append(part)
    assert "".join(message.text for message, _ in messages).strip() == "Paris it is"
    (told,) = scores
    assert told["invent"]["action"] == "answer"
    assert told["invent"]["answered_by"] == "model"
    assert len(one.weak.record.calls) == 1 + ASKED


def test_a_query_by_the_sibling_that_agrees_least() -> None:
    notes = Notes(asked=[])
    node = retrieve_node(notes, rewrite="sibling", plain=True)
    siblings = [
        {"question": QUESTION, "operator": "original", "agreement": 0.0},
        {"question": "near", "operator": "substitution", "agreement": 0.9},
        {"question": "far", "operator": "mutation", "agreement": 0.1},
        {"question": "silent", "operator": "mutation", "agreement": None},
    ]
    scored = {
        "question": QUESTION,
        "asked": QUESTION,
        "history": [0.5],
        "hops": 0,
        "uncertainty": {"siblings": siblings},
    }
    update = node.invoke(scored)
    assert notes.asked == [("far", 8)]
    assert update["hops"] == 1
    assert json.loads(json.dumps(update["documents"])) == update["documents"]
    node.invoke({**scored, "uncertainty": {}})
    node.invoke({**scored, "query": "mine"})
    node.invoke({"question": QUESTION})
    assert [query for query, _ in notes.asked[1:]] == [QUESTION, "mine", QUESTION]
    assert notes.k == 4


def test_vector_stores_and_functions_search_wider() -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([Document(f"note {i}") for i in range(12)])
    retriever = store.as_retriever(search_kwargs={"k": 1})
    hop = {"question": QUESTION, "asked": QUESTION, "history": [0.5], "hops": 0}
    for each in (retriever, lambda k: store.as_retriever(search_kwargs={"k": k})):
        node = retrieve_node(each, k=2, widen=3)
        assert [len(node.invoke(state)["documents"]) for state in ({"question": QUESTION}, hop)] == [2, 6]
    assert retriever.search_kwargs == {"k": 1}


def test_an_answer_that_is_there_can_be_scored() -> None:
    model = scripted("Paris")
    node = score_node(PROMPT | model | StrOutputParser(), scorer=scorer(), existing=True)
    update = node.invoke({"question": QUESTION, "documents": [], "answer": "Lyon"})
    assert (update["answer"], update["uncertainty"]["answer"]) == ("Lyon", "Lyon")
    assert update["uncertainty"]["score"] > 0.5
    assert len(model.record.calls) == ASKED
    with pytest.raises(InputError, match="the state has no answer at 'answer'"):
        node.invoke({"question": QUESTION})


def test_wrapped_chains_and_other_names_fit() -> None:
    keys = StateKeys(question="ask", answer="say", uncertainty="doubt")
    chain = with_uncertainty(
        RunnableLambda(lambda s: [HumanMessage(s["ask"])]) | scripted("Paris"), scorer=scorer(), input_key="ask"
    )
    update = score_node(chain, keys=keys, text=False).invoke({"ask": QUESTION})
    assert update["say"] == "Paris"
    assert "siblings" not in update["doubt"]
    assert make_router(keys=keys)({**update, "ask": QUESTION}) == "answer"


def test_an_unscored_fallback_leaves_no_report_behind() -> None:
    node = fallback_node(PROMPT | scripted("Paris") | StrOutputParser(), score=False)
    update = node.invoke({"question": QUESTION, "documents": [], "uncertainty": {"score": 0.9}})
    assert (update["answer"], update["uncertainty"], update["fallback_used"]) == ("Paris", {}, True)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "no report at 'uncertainty'"),
        ({"uncertainty": {"score": 0.3}}, "is no report"),
        ({"uncertainty": {"score": float("nan"), "status": "ok", "decision": {"action": "answer"}}}, "is no report"),
        (
            {"uncertainty": {"score": 0.3, "status": "ok", "decision": {"action": "retrieve_more"}}, "history": []},
            "has None at 'hops'",
        ),
        (3, "the state is a int"),
    ],
)
def test_a_state_that_cannot_be_routed_is_told(state: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_router()(state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_router(max_hops=-1), "max_hops=-1"),
        (lambda: make_router(min_gain=2), "min_gain=2"),
        (lambda: make_router(answer=None), "answer=None"),  # type: ignore[arg-type]
        (lambda: make_router(policy=3), "policy is a int"),  # type: ignore[arg-type]
        (lambda: retrieve_node("notes"), "retriever is a str"),  # type: ignore[arg-type]
        (lambda: retrieve_node(Notes(asked=[]), k=0), "k=0"),
        (lambda: retrieve_node(Notes(asked=[]), rewrite="best"), "rewrite='best'"),  # type: ignore[arg-type]
        (lambda: abstain_node(" "), "message=' '"),
        (lambda: StateKeys(answer="question"), "both called 'question'"),
        (lambda: fallback_node(scripted(), score=False, scorer=InvEntropy()), "score=False asks no siblings"),
        (lambda: score_node(scripted(), model=scripted(), existing=True), "existing=True"),
        (lambda: score_node(with_uncertainty(scripted()), scorer=InvEntropy()), "comes from with_uncertainty already"),
    ],
)
def test_wrong_settings_are_told_at_construction(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()
