"""An agent that abstains where it is not certain. Notes reach the prompt through a middleware of its own.

python examples/05_agent_middleware.py
"""

from island import chat_model, island_notes, joined
from langchain.agents import create_agent
from langchain.agents.middleware import dynamic_prompt

from invent_chain import InvEntropy, Thresholds
from invent_chain.demo import BundledModel
from invent_chain.embed import bundled_minilm
from langchain_invent.middleware import InvEntropyMiddleware

QUESTIONS = ("On which days does the ferry sail to the mainland?", "Who is the mayor of Velda?")
notes = island_notes()


@dynamic_prompt
def from_notes(request) -> str:
    question = request.messages[-1].text
    return f"Answer in a few words, from these notes:\n{joined(notes.similarity_search(question, k=2))}"


with BundledModel() as server:
    policy = Thresholds(answer=0.6, retrieve_more=None, fallback=None)  # of this example, from no data
    scorer = InvEntropy(n=4, r=2, similarity=bundled_minilm(), max_tokens=32, policy=policy)
    abstaining = InvEntropyMiddleware(scorer=scorer, exit_behavior="abstain", abstain_message="I do not know.")
    agent = create_agent(chat_model(server), tools=[], middleware=[from_notes, abstaining])

    for question in QUESTIONS:
        state = agent.invoke({"messages": [("user", question)]})
        report = state["uncertainty"]
        print(f"{question}\n  {state['messages'][-1].text.strip()}")
        print(f"  uncertainty {report['score']:.2f}, so: {report['decision']['action']}")
