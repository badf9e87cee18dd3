"""A LlamaIndex query engine that says how uncertain it is, and one that acts on it.

python examples/07_llama_index_routes.py
"""

from island_notes import TEXTS
from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.embeddings import BaseEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import PrivateAttr

from invent_chain import InvEntropy, Thresholds
from invent_chain.demo import MODEL_NAME, BundledModel
from invent_chain.embed import SentenceTransformerEncoder, bundled_minilm
from llama_index.evaluation.invent import RoutingQueryEngine, UncertaintyQueryEngine

PROMPT = PromptTemplate("Answer in a few words, from these notes:\n{context_str}\n\n{query_str}")
QUESTIONS = ("On which days does the ferry sail to the mainland?", "Who is the mayor of Velda?")


class MiniLM(BaseEmbedding):
    """The bundled sentence encoder, in LlamaIndex's form."""

    _encoder: SentenceTransformerEncoder = PrivateAttr(default_factory=bundled_minilm)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._encoder.encode([text])[0].tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


with BundledModel() as server:
    llm = OpenAILike(
        model=MODEL_NAME, api_base=server.base_url, api_key="none", is_chat_model=True,
        context_window=8192, temperature=0.0, max_tokens=32,
    )  # fmt: skip
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=MiniLM())

    def engine_with(k: int, **settings: bool) -> BaseQueryEngine:
        return index.as_query_engine(llm=llm, similarity_top_k=k, text_qa_template=PROMPT, **settings)

    # Thresholds of this example, from no data: fit your own to scored answers of your application.
    scorer = InvEntropy(
        n=4,
        r=2,
        similarity=bundled_minilm(),
        max_tokens=32,
        policy=Thresholds(answer=0.35, retrieve_more=0.8, fallback=None),
    )
    engine = UncertaintyQueryEngine(engine_with(1), scorer=scorer)
    router = RoutingQueryEngine(
        engine_with(1),
        scorer=scorer,
        retrieve_more=[engine_with(3)],
        abstain_message="I do not know.",
    )
    for question in QUESTIONS:
        response = engine.query(question)  # the engine's own answer, unchanged
        report = response.metadata["invent"]
        print(f"{question}\n  {str(response).strip()}")
        print(f"  uncertainty {report['score']:.2f}: {report['decision']['action']}")
        routed = router.query(question)
        way = " -> ".join(step["action"] for step in routed.metadata["invent_route"])
        print(f"  routed: {way}: {str(routed).strip()}")

    print("\nStreamed, scored after the last token:")
    streaming = UncertaintyQueryEngine(engine_with(2, streaming=True), scorer=scorer)
    response = streaming.query(QUESTIONS[0])
    for token in response.response_gen:
        print(token, end="", flush=True)
    print(f"\n  uncertainty {response.metadata['invent']['score']:.2f}")
