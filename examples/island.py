"""Parts that the LangChain examples share: documents about an island that does not exist, and the bundled model."""

from __future__ import annotations

from island_notes import TEXTS
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI

from invent_chain.demo import MODEL_NAME, BundledModel
from invent_chain.embed import bundled_minilm

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
