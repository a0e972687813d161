"""The request fields that the server accepts. A field that is not listed is refused, so every accepted one
has an effect."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tacho_server.backend import Abilities, Sampling
from tacho_server.errors import bad

MAX_CHOICES = 16
MAX_STOPS = 16
SEED_LIMIT = 2**63
LEAST_TEMPERATURE = 1e-5
"""Temperature below which the most likely token is taken, as 32-bit floats overflow."""
LEAST_TOP_P = 1e-6
"""Least top-p that engines get. A smaller one may be 0 as a 32-bit float, which leaves no token."""

ENTRY_LIMIT = 64
"""Most entries of an object whose entries are validated one by one."""

# Each wrong value would be an error, and 500 KB of them took 640 MB: so a list ends at its first one.
Token = Annotated[int, Field(ge=0)]
Tokens = Annotated[list[Token], Field(fail_fast=True)]
Name = Annotated[str, Field(max_length=512)]


def _few(value: Any) -> Any:
    """``value``, unless it is an object of more than ENTRY_LIMIT entries."""
    if isinstance(value, dict) and len(value) > ENTRY_LIMIT:
        raise ValueError(f"an object of {len(value)} entries; at most {ENTRY_LIMIT} are read")
    return value


class _Strict(BaseModel):
    """An object whose fields are all known. Null stands for a field's default, as in OpenAI's API."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        if not isinstance(value := _few(value), dict):
            return value
        return {name: each for name, each in value.items() if each is not None}


class StreamOptions(_Strict):
    include_usage: bool = False
    """Whether a last chunk has the token counts of the whole request."""
    continuous_usage_stats: bool = False
    """Whether every chunk has the token counts so far."""


class GenerationRequest(_Strict):
    """The fields that completions and chat requests share; names and defaults are OpenAI's."""

    model: Name = ""
    max_tokens: int | None = Field(default=None, ge=0)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-SEED_LIMIT, lt=SEED_LIMIT)
    n: int = Field(default=1, ge=1, le=MAX_CHOICES)
    stop: Name | Annotated[list[Name], Field(max_length=MAX_STOPS)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    # Extensions that many servers share.
    top_k: int = Field(default=0, ge=-1)
    min_tokens: int = Field(default=0, ge=0)
    ignore_eos: bool = False
    # Only their neutral values: nothing here computes penalties.
    presence_penalty: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    logit_bias: Annotated[dict[str, float], Field(max_length=0), BeforeValidator(_few)] | None = None
    # Metadata of the request; no effect.
    user: Name | None = None
    metadata: Annotated[dict[Name, Name], BeforeValidator(_few)] | None = None
    store: Literal[False] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        stop = self.stop or ()
        return (stop,) if isinstance(stop, str) else tuple(stop)


class CompletionRequest(GenerationRequest):
    """The body of POST /v1/completions."""

    prompt: (
        str
        | Tokens
        | Annotated[list[str], Field(fail_fast=True)]
        | Annotated[list[Tokens], Field(fail_fast=True)]
    )
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0)
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None


class Part(_Strict):
    """One part of a chat message; only text is accepted."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One chat message, which is passed to the model's chat template unchanged."""

    model_config = ConfigDict(extra="allow")
    role: Name
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None


class TextFormat(_Strict):
    type: Literal["text"] = "text"


class ChatRequest(GenerationRequest):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0)
    chat_template_kwargs: dict[str, Any] = {}
    response_format: TextFormat | None = None
    tool_choice: Literal["none"] | None = None


def prompts_of(prompt: str | list[int] | list[str] | list[list[int]]) -> list[str | list[int]]:
    """The prompts of a request as a list: from one text, one list of tokens, or a list of either. Raises
    RequestError."""
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise bad("prompt is empty", "prompt")
    if isinstance(prompt[0], int):
        return [prompt]
    return list(prompt)


def messages_of(request: ChatRequest) -> list[dict[str, Any]]:
    """The chat messages in the form that templates expect: content as text."""
    messages = []
    for message in request.messages:
        document = message.model_dump(exclude_unset=True)
        if isinstance(message.content, list):
            document["content"] = "".join(part.text for part in message.content)
        messages.append(document)
    return messages


def template_variables_of(request: ChatRequest, reserved: Set[str]) -> dict[str, Any]:
    """The variables that a request passes to the chat template: single values under names that the template
    uses.

    ``reserved`` are parameters of the library that renders the template. One of them is a template of the
    client's, which could loop for ever. Raises RequestError.
    """
    for name, value in request.chat_template_kwargs.items():
        if name in reserved:
            message = f"chat_template_kwargs: {name!r} is not a variable of the template and cannot be set"
            raise bad(message, "chat_template_kwargs")
        if not isinstance(value, str | int | float | None):
            message = f"chat_template_kwargs: {name!r} must be text, a number, true, false or null"
            raise bad(message, "chat_template_kwargs")
    return request.chat_template_kwargs


def sampling_of(
    request: GenerationRequest, abilities: Abilities, prompt: int, top_logprobs: int | None
) -> Sampling:
    """The sampling settings for a generation after ``prompt`` prompt tokens. Raises RequestError."""
    limit = request.max_tokens
    if isinstance(request, ChatRequest):
        limit = request.max_completion_tokens or limit
    elif limit is None:
        limit = 16  # OpenAI's default for completions
    left = abilities.max_model_len - prompt
    if limit is None:
        limit = left
    if limit > left or left < 0:
        raise bad(
            f"This model's maximum context length is {abilities.max_model_len} tokens. The request has "
            f"{prompt} tokens in its prompt and asks for {limit} more: shorten one of them.",
            "max_tokens" if left > 0 else None,
            "context_length_exceeded",
        )
    if request.min_tokens > limit:
        raise bad(f"min_tokens is {request.min_tokens}, more than max_tokens ({limit})", "min_tokens")
    if request.min_tokens and not request.ignore_eos and not abilities.min_tokens:
        raise bad("this engine does not support min_tokens; set ignore_eos for an exact length", "min_tokens")
    if request.seed is not None and not abilities.seed and request.temperature > 0:
        raise bad("this engine does not support a seed for one request", "seed")
    if top_logprobs is not None and top_logprobs > abilities.top_logprobs:
        most = abilities.top_logprobs
        message = f"gives at most {most} alternatives" if most >= 0 else "gives no log-probabilities"
        raise bad(f"this engine {message}", "logprobs")
    return Sampling(
        max_tokens=limit,
        min_tokens=request.min_tokens,
        temperature=request.temperature if request.temperature >= LEAST_TEMPERATURE else 0.0,
        top_p=max(request.top_p, LEAST_TOP_P),
        top_k=min(max(0, request.top_k), abilities.vocabulary),
        seed=request.seed,
        ignore_eos=request.ignore_eos,
        top_logprobs=top_logprobs,
    )
