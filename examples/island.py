"""Parts that the LangChain examples share: documents about an island that does not exist, and the bundled model."""

from __future__ import annotations

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI

from invent_chain.demo import MODEL_NAME, BundledModel
from invent_chain.embed import bundled_minilm

TEXTS = (
    "Orrin is an island of 4,200 people in the northern sea. Its only town is Velda, on the east coast.",
    "The ferry from Velda to the mainland sails every Tuesday and Friday at nine in the morning.",
    "The lighthouse of Orrin stands on Cape Marrow and was built in 1874 by the engineer Ida Brandt.",
    "Smoked char is the dish of the island. It is served with barley bread and cloudberries.",
    "Velda has one school, two bakeries and a harbour for forty boats.",
    "The highest hill of Orrin is Mount Tarn, 312 metres, an hour's walk from Velda.",
)

PROMPT = ChatPromptTemplate.from_messages(
    [("system", "Answer in a few words, from these notes:\n{context}"), ("human", "{question}")]
)


class MiniLM(Embeddings):
    """The bundled sentence encoder, in LangChain's form."""

    def __init__(self) -> None:
        self._encoder = bundled_minilm()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._encoder.encode(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def island_notes() -> InMemoryVectorStore:
    store = InMemoryVectorStore(MiniLM())
    store.add_documents([Document(text) for text in TEXTS])
    return store


def joined(documents: list[Document]) -> str:
    return "\n".join(document.page_content for document in documents)


def chat_model(server: BundledModel) -> ChatOpenAI:
    return ChatOpenAI(base_url=server.base_url, api_key="none", model=MODEL_NAME, temperature=0, max_tokens=32)
