"""What OpenAI's Python client reads from the server of the first argument, as JSON. The second argument is the API key."""

import json
import sys

from openai import NotFoundError, OpenAI

client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
chat = {
    "model": "mine@0.7",
    "messages": [{"role": "user", "content": "hello world"}],
    "max_tokens": 12,
    "temperature": 0,
}
text = {"model": "mine@0.7", "prompt": "hello world", "max_tokens": 12, "temperature": 0}

whole = client.chat.completions.create(**chat)
pieces = client.chat.completions.create(**chat, stream=True)
try:
    client.chat.completions.create(**{**chat, "model": "nobody"})
    refused = None
except NotFoundError as error:
    refused = error.code

json.dump(
    {
        "models": [model.id for model in client.models.list()],
        "chat": whole.choices[0].message.content,
        "usage": [whole.usage.prompt_tokens, whole.usage.completion_tokens],
        "streamed_chat": "".join(piece.choices[0].delta.content or "" for piece in pieces),
        "text": client.completions.create(**text).choices[0].text,
        "streamed_text": "".join(piece.choices[0].text for piece in client.completions.create(**text, stream=True)),
        "refused": refused,
    },
    sys.stdout,
)
