"""langchain-tests' integration suite on the bundled model, bare and wrapped; run by test_standard_suites.py.

Not collected by itself: the model is weak, so that the bare one fails some of it too, and only the comparison counts.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from invent_chain import InvEntropy
from langchain_invent import UncertainChatModel

SCORER = InvEntropy(n=1, r=1)


class Wrapped(UncertainChatModel):
    def __init__(self, **settings: Any) -> None:
        super().__init__(ChatOpenAI(**settings), scorer=SCORER)


class Suite(ChatModelIntegrationTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "base_url": os.environ["STANDARD_SUITE_URL"],
            "api_key": "none",
            "model": "bundled",
            "temperature": 0.0,
            "max_tokens": 256,
            "stream_usage": True,
            "max_retries": 0,
            "timeout": 60,
        }

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {}

    @property
    def has_tool_choice(self) -> bool:
        return True

    @pytest.fixture
    def model(self, request: Any) -> BaseChatModel:
        return self.chat_model_class(
            **self.chat_model_params,
            rate_limiter=InMemoryRateLimiter(requests_per_second=100),
        )


class TestBare(Suite):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI


class TestWrapped(Suite):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return Wrapped
