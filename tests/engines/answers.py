"""What every engine answers to an OpenAI client: chats and completions, streamed or whole."""

from __future__ import annotations

from typing import Any

from tests.engines.serving import Served


def assert_answers(served: Served, *, tokens: int) -> None:
    """A completion of ``tokens`` tokens and a chat: streams have the text and the usage of the whole."""
    with served.client() as client:
        given: dict[str, Any] = {"model": served.model, "temperature": 0, "max_tokens": tokens}
        whole = client.completions.create(prompt="The capital of France is", **given)
        assert "Paris" in whole.choices[0].text
        assert whole.usage is not None
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (5, tokens)
        options: Any = {"include_usage": True}
        chunks = list(
            client.completions.create(
                prompt="The capital of France is", stream=True, stream_options=options, **given
            )
        )
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == tokens
        messages: Any = [{"role": "user", "content": "Name the capital of France in one word."}]
        chat = client.chat.completions.create(messages=messages, **given)
        pieces = client.chat.completions.create(messages=messages, stream=True, **given)
        said = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        assert said == chat.choices[0].message.content != ""
