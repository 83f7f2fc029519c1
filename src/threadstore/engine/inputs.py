"""What a user says: text and images, in the forms of the model, the history and the clients."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from threadstore.engine.events import UserMessage
from threadstore.errors import InvalidRequest
from threadstore.ids import new_thread_id

__all__ = ["Image", "LocalImage", "Said", "Text", "UserInput", "UserTurn", "said", "user_turn"]

Json = dict[str, Any]


class Text(msgspec.Struct, frozen=True):
    """Text."""

    text: str
    elements: tuple[Json, ...] = ()
    """Codex's ``text_elements``: spans with a meaning of their own."""


class Image(msgspec.Struct, frozen=True):
    """An image at a URL, ``data:`` URLs included."""

    url: str


class LocalImage(msgspec.Struct, frozen=True):
    """An image in a file, which is read when the turn starts."""

    path: str


Part: TypeAlias = Text | Image | LocalImage
UserInput: TypeAlias = str | Sequence[str | Text | Image | LocalImage]
"""A text, or several parts."""


class UserTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the user in its three forms."""

    message: Json
    """What the model gets."""
    item: Json
    """The turn's item."""
    event: UserMessage
    """The event of legacy threads."""


class Said(msgspec.Struct, frozen=True):
    """What a user said, checked, and not yet in any form."""

    parts: tuple[Part, ...]
    client_id: str | None = None
    """By which the one who sent it knows it again."""

    @property
    def reads_files(self) -> bool:
        """Whether :func:`user_turn` blocks."""
        return any(isinstance(part, LocalImage) for part in self.parts)


def said(given: UserInput, client_id: str | None = None) -> Said:
    """Check an input; :class:`InvalidRequest` if it is empty or of another type."""
    return Said(tuple(_parts(given)), client_id)


def user_turn(said: Said, turn_id: str) -> UserTurn:
    """What was said in its three forms; reads local images. Blocks as long as that takes.

    A file that cannot be read is told to the model instead (Codex 0.131).
    """
    parts, client_id = said.parts, said.client_id
    content: list[Json] = []
    numbers = iter(range(1, len(parts) + 1))
    for part in parts:
        content += _model_parts(part, numbers)
    texts = [part for part in parts if isinstance(part, Text)]
    event = UserMessage(
        turn_id=turn_id,
        message="".join(part.text for part in texts),
        images=[part.url for part in parts if isinstance(part, Image)],
        local_images=[_utf8(part.path) for part in parts if isinstance(part, LocalImage)],
        text_elements=[element for part in texts for element in part.elements],
        client_id=UNSET if client_id is None else client_id,
    )
    item: Json = {"type": "UserMessage", "id": new_thread_id()}
    if client_id is not None:
        item["client_id"] = client_id
    item["content"] = [_item_part(part) for part in parts]
    message = {"type": "message", "role": "user", "content": content}
    return UserTurn(message=message, item=item, event=event)


def _parts(given: UserInput) -> list[Part]:
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Sequence):
        raise InvalidRequest(f"input must be text or a list of parts, not {type(given).__name__}")
    parts = [_part(part) for part in given]
    if not parts or all(isinstance(part, Text) and not part.text.strip() for part in parts):
        raise InvalidRequest("input must not be empty", hint="say something")
    return parts


def _part(part: object) -> Part:
    if isinstance(part, str):
        return Text(_utf8(part))
    if isinstance(part, Text) and isinstance(part.text, str):
        return Text(_utf8(part.text), part.elements)
    if isinstance(part, Image) and isinstance(part.url, str):
        return Image(_utf8(part.url))
    if isinstance(part, LocalImage) and isinstance(part.path, str):
        return part
    raise InvalidRequest(
        f"no part of an input: {type(part).__name__}", hint="use str, Text, Image or LocalImage"
    )


def _utf8(text: str) -> str:
    """Arguments of a command can hold anything; a history holds UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _model_parts(part: Part, numbers: Any) -> list[Json]:
    if isinstance(part, Text):
        return [_text(part.text)]
    if isinstance(part, Image):
        return [_text("<image>"), _image(part.url), _text("</image>")]
    try:
        with open(part.path, "rb") as file:
            data = base64.b64encode(file.read()).decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return [_text(f"The local image at `{_utf8(part.path)}` could not be read: {reason}")]
    import mimetypes  # reads files of the system

    kind = mimetypes.guess_type(part.path)[0] or "image/png"
    opening = f"<image name=[Image #{next(numbers)}]>"
    return [_text(opening), _image(f"data:{kind};base64,{data}"), _text("</image>")]


def _text(text: str) -> Json:
    return {"type": "input_text", "text": text}


def _image(url: str) -> Json:
    return {"type": "input_image", "image_url": url, "detail": "high"}


def _item_part(part: Part) -> Json:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text, "text_elements": list(part.elements)}
    if isinstance(part, Image):
        return {"type": "image", "image_url": part.url}
    return {"type": "local_image", "path": _utf8(part.path)}
