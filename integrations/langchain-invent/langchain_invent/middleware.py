"""`InvEntropyMiddleware`: the answers of an agent, each with a report of its uncertainty, and an exit for weak ones."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, NotRequired, get_args

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import get_callback_manager_for_config

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError, InventError
from langchain_invent.ask import ChatModelAsk, model_name, unbound
from langchain_invent.messages import KEY, QuestionSelector, answer_text, last_human_text, uncertainty_of, with_question
from langchain_invent.scoring import Answered, Judge, scoring, with_remark
from langchain_invent.trace import role

try:
    from langchain.agents.middleware import (
        AgentMiddleware,
        AgentState,
        ExtendedModelResponse,
        ModelRequest,
        ModelResponse,
    )
    from langchain.agents.middleware.internal_call_transformer import InternalCallTransformer, internal_call_metadata
    from langchain.agents.middleware.types import ContextT, OmitFromInput, ResponseT, hook_config
    from langchain.agents.structured_output import OutputToolBinding, ProviderStrategy, ToolStrategy
    from langgraph.runtime import Runtime
    from langgraph.types import Command
except ImportError as error:
    raise ImportError(
        f"InvEntropyMiddleware needs langchain ({error}): pip install 'langchain-invent[agents]'"
    ) from error

ExitBehavior = Literal["annotate", "abstain", "raise"]


class UncertainAnswerError(InventError):
    """An answer was too uncertain to be given.

    Attributes:
        report: The report of the answer; the answer itself is `report.answer`.
    """

    def __init__(self, report: UncertaintyReport) -> None:
        super().__init__(
            f"the answer of {report.fingerprint.model} has uncertainty {report.score:.2f} (status {report.status}), "
            f"decision {report.decision.action!r}: list a ModelFallbackMiddleware before InvEntropyMiddleware, choose "
            "another exit_behavior, or give its scorer a policy with other thresholds"
        )
        self.report = report

    def __reduce__(self) -> tuple[type[UncertainAnswerError], tuple[UncertaintyReport]]:
        return type(self), (self.report,)


class UncertaintyState(AgentState[ResponseT]):
    """State of an agent whose answers are scored.

    Attributes:
        uncertainty: The report of the last answer, as plain JSON types; None while there is no answer yet.
    """

    uncertainty: NotRequired[Annotated[dict[str, Any] | None, OmitFromInput]]


class InvEntropyMiddleware(AgentMiddleware[UncertaintyState[ResponseT], ContextT, ResponseT]):
    """Scores the answers of an agent by asking its model rewordings of the question, and acts on the decision.

    The report is in the agent's state (`uncertainty`) and on the answer (`response_metadata["invent"]`). Turns in which
    the model calls tools are left alone; structured output is an answer, and the report's `structure` says how far
    siblings agree on its fields. Siblings see the same instructions, history and tools, but never act: a tool that
    one of them chooses counts as what it answered.

    Siblings ask the model, with the request, that this middleware is given. List it last, after everything that changes
    the request. Listed before a `ModelFallbackMiddleware` it cannot know which model gave the answer.

    Exit behaviors, for answers that the scorer's policy does not let through. The default policy does not let through
    what could not be scored either, so that an outage of scoring is an outage of the agent unless `policy` says other:

    - `"annotate"`: The answer is given with its report.
    - `"abstain"`: On the decision "abstain" the agent ends with `abstain_message` in place of the answer, which then
      stands nowhere in the history.
    - `"raise"`: On the decisions "fallback" and "abstain" `UncertainAnswerError` is raised, upon which a
      `ModelFallbackMiddleware` listed before this one asks its next model.

    With the last two, whoever streams the agent's tokens has seen the weak answer by the time it is judged.

    Example:
        ```python
        agent = create_agent(
            "openai:gpt-5.5",
            tools=[search],
            middleware=[InvEntropyMiddleware(scorer=InvEntropy(n=5, r=2), exit_behavior="abstain")],
        )
        state = agent.invoke({"messages": [("user", "What is the capital of Palau?")]})
        print(state["messages"][-1].text, state["uncertainty"]["score"])
        ```

    Args:
        scorer: How to score: `InvEntropy(n=..., r=..., similarity=..., policy=...)`, without a model.
        question: Finds the question in the messages; by default the text of the last human message.
        exit_behavior: What becomes of an answer that is too uncertain, as above.
        abstain_message: What the agent says instead of such an answer.
        text: Whether reports on messages, in the state and on traces quote questions and answers. If so, a withheld
            answer is kept on the message that took its place, in `response_metadata["invent"]["withheld"]`.
        feedback: Whether the score is sent to LangSmith as feedback too.

    Raises:
        ConfigurationError: An argument is out of its range.
    """

    state_schema = UncertaintyState  # type: ignore[assignment]
    transformers = (InternalCallTransformer,)

    def __init__(
        self,
        *,
        scorer: InvEntropy | None = None,
        question: QuestionSelector = last_human_text,
        exit_behavior: ExitBehavior = "annotate",
        abstain_message: str = "I am not certain enough to answer that.",
        text: bool = False,
        feedback: bool = False,
    ) -> None:
        super().__init__()
        given: dict[str, object] = {"question": question, "abstain_message": abstain_message}
        if exit_behavior not in get_args(ExitBehavior):
            raise ConfigurationError(f"exit_behavior={exit_behavior!r}: choose 'annotate', 'abstain' or 'raise'")
        if not callable(given["question"]):
            raise ConfigurationError(f"question={question!r}: pass a function that finds it in messages, such as after")
        if not isinstance(given["abstain_message"], str) or not abstain_message.strip():
            raise ConfigurationError(f"abstain_message={abstain_message!r}: must be a text that is not empty")
        metadata = {"lc_source": "invent", **internal_call_metadata()}
        self._scoring = scoring(scorer, text=text, feedback=feedback, metadata=metadata)
        self._question = question
        self._exit_behavior = exit_behavior
        self._abstain_message = abstain_message

    def wrap_model_call(
        self,
        request: ModelRequest[ContextT],
        handler: Callable[[ModelRequest[ContextT]], ModelResponse[ResponseT]],
    ) -> ModelResponse[ResponseT] | ExtendedModelResponse[ResponseT]:
        """Call the model, and score what it says if that is an answer.

        Raises:
            UncertainAnswerError: With `exit_behavior="raise"`, the answer is too uncertain.
        """
        response = handler(request)
        config = ensure_config()
        message = _answer(response)
        if message is None or _below_wrapper(config):
            return _without_report(request, response)
        report = self._scoring.score(*self._plan(request, response, message, config))
        return self._exit(response, message, report)

    async def awrap_model_call(
        self,
        request: ModelRequest[ContextT],
        handler: Callable[[ModelRequest[ContextT]], Awaitable[ModelResponse[ResponseT]]],
    ) -> ModelResponse[ResponseT] | ExtendedModelResponse[ResponseT]:
        """Do what `wrap_model_call` does, for async code."""
        response = await handler(request)
        config = ensure_config()
        message = _answer(response)
        if message is None or _below_wrapper(config):
            return _without_report(request, response)
        report = await self._scoring.ascore(*self._plan(request, response, message, config))
        return self._exit(response, message, report)

    @hook_config(can_jump_to=["end"])
    def after_model(self, state: UncertaintyState[Any], runtime: Runtime[ContextT]) -> dict[str, Any] | None:
        """End the agent if it abstains: without the structured output it wants, it would ask the model again."""
        # The message is asked, not the state: a middleware before this one may have answered without this one.
        report = uncertainty_of(state["messages"][-1]) if state["messages"] else None
        if self._exit_behavior == "abstain" and report is not None and report["decision"]["action"] == "abstain":
            return {"jump_to": "end"}
        return None

    @hook_config(can_jump_to=["end"])
    async def aafter_model(self, state: UncertaintyState[Any], runtime: Runtime[ContextT]) -> dict[str, Any] | None:
        """Do what `after_model` does, for async code."""
        return self.after_model(state, runtime)

    def _plan(
        self,
        request: ModelRequest[ContextT],
        response: ModelResponse[ResponseT],
        message: AIMessage,
        config: RunnableConfig,
    ) -> tuple[Answered, Judge]:
        answer = answer_text(message)
        try:
            known = self._question(request.messages)
        except Exception:  # noqa: BLE001 - raised again in `judge`, where it fails the report and not the agent
            known = ""

        async def judge(config: RunnableConfig, sync: bool) -> UncertaintyReport:
            question = self._question(request.messages)
            with_question(request.messages, question, question)  # raises now, not when siblings are asked
            system = [] if request.system_message is None else [request.system_message]

            def messages(sibling: str) -> Sequence[BaseMessage]:
                return [*system, *with_question(request.messages, question, sibling)]

            model, settings = unbound(_bound_model(request, response, message))
            if model is None:
                raise ConfigurationError(
                    f"{type(request.model).__name__}.bind_tools hides the chat model, so that it cannot be asked for "
                    "siblings: give the agent a bare chat model"
                )
            ask = ChatModelAsk(model, messages=messages, config=config, settings=settings, sync=sync)
            report = await self._scoring.scorer.ascore(question, answer=answer, ask=ask)
            return with_remark(report, question, self._question)

        return Answered(known, answer, model_name(request.model), config), judge

    def _exit(
        self,
        response: ModelResponse[ResponseT],
        message: AIMessage,
        report: UncertaintyReport,
    ) -> ExtendedModelResponse[ResponseT]:
        action = report.decision.action
        if self._exit_behavior == "raise" and action in ("fallback", "abstain"):
            raise UncertainAnswerError(report)
        command: Command[Any] = Command(update={"uncertainty": self._scoring.payload(report)})
        if self._exit_behavior == "abstain" and action == "abstain":
            response = self._abstention(response, message, report)
        else:
            metadata = {**message.response_metadata, KEY: self._scoring.payload(report)}
            scored = message.model_copy(update={"response_metadata": metadata})
            result = [scored if each is message else each for each in response.result]
            response = ModelResponse(result=result, structured_response=response.structured_response)
        return ExtendedModelResponse(model_response=response, command=command)

    def _abstention(
        self, response: ModelResponse[ResponseT], message: AIMessage, report: UncertaintyReport
    ) -> ModelResponse[ResponseT]:
        payload = self._scoring.payload(report)
        if self._scoring.text:
            payload["withheld"] = report.answer
        # A message of its own: anything else on the weak one (log probabilities, reasoning, calls) may quote the
        # answer, and under the weak one's id a stream of messages would take it for shown already.
        abstention = AIMessage(
            self._abstain_message,
            id=str(uuid.uuid4()),
            name=message.name,
            usage_metadata=message.usage_metadata,
            response_metadata={KEY: payload},
        )
        calls = {call["id"] for call in message.tool_calls}
        result = [
            abstention if each is message else each
            for each in response.result
            if not (isinstance(each, ToolMessage) and each.tool_call_id in calls)
        ]
        return ModelResponse(result=result)


def _below_wrapper(config: RunnableConfig) -> bool:
    """Whether the agent runs below a wrapper of this package, which scores the agent's answer itself."""
    return role(get_callback_manager_for_config(config).metadata) is not None


def _answer(response: ModelResponse[Any]) -> AIMessage | None:
    """Return the message that answers; None if the model calls tools instead."""
    message = next((each for each in reversed(response.result) if isinstance(each, AIMessage)), None)
    if message is None or (message.tool_calls and response.structured_response is None):
        return None
    return message


def _without_report(
    request: ModelRequest[Any], response: ModelResponse[ResponseT]
) -> ModelResponse[ResponseT] | ExtendedModelResponse[ResponseT]:
    """Clear the report of an earlier answer: an agent may end on a tool's result, which nobody has scored."""
    if request.state.get("uncertainty") is None:
        return response
    return ExtendedModelResponse(model_response=response, command=Command(update={"uncertainty": None}))


def _bound_model(request: ModelRequest[Any], response: ModelResponse[Any], message: AIMessage) -> Any:
    """Bind tools, structured output and settings as the agent does, which keeps its own binding to itself."""
    model, settings, wanted = request.model, request.model_settings, request.response_format
    tools: list[Any] = list(request.tools)
    if wanted is None:
        if not tools:
            return model.bind(**settings)
        return model.bind_tools(tools, tool_choice=request.tool_choice, **settings)
    schema: Any = getattr(wanted, "schema", wanted)
    native = response.structured_response is not None and not message.tool_calls
    if isinstance(wanted, ProviderStrategy) or (native and not isinstance(wanted, ToolStrategy)):
        strategy = wanted if isinstance(wanted, ProviderStrategy) else ProviderStrategy(schema)
        settings = {**strategy.to_model_kwargs(), **settings}
        # Tools stand beside a native schema in OpenAI's older interface only if they are strict too.
        openai = any(base.__name__ == "BaseChatOpenAI" for base in type(model).__mro__)
        if openai and not getattr(model, "use_responses_api", False):
            settings["strict"] = True
        return model.bind_tools(tools, **settings)
    specs = (wanted if isinstance(wanted, ToolStrategy) else ToolStrategy(schema)).schema_specs
    for spec in specs:
        binding = OutputToolBinding.from_schema_spec(spec)
        if len(specs) == 1 and len(message.tool_calls) == 1:
            # A schema without a title is given a random name each time, and siblings must be able to agree on it.
            binding.tool.name = message.tool_calls[0]["name"]
        tools.append(binding.tool)
    return model.bind_tools(tools, tool_choice="any", **settings)
