"""Attachments: bytes beside the payloads that name them, kept once for each owner, by their digest.

A payload names one by a string, `attachment:sha256:<64 hex digits>`, anywhere within. Records of three kinds:

    attachment/<owner>/<digest>    the note: how many bytes, of which type, where they lie, when it was last asked for
    attachment-bytes/<place>/<n>   the bytes in pieces; a place is drawn anew each time, and never used again
    attached/<job>                 the notes that the payload of a job names

    upload     the note, coming ─▶ the bytes ─▶ the note, kept
    submit     the note, young again ─▶ what the job names ─▶ the job
    removal    the note, going ─▶ the bytes dropped ─▶ the note, gone, which expires      (unused.py)

A note is only ever written over the version that was read. So of a submit and a removal at once one fails, and begins
anew with what it finds. Whoever dies on the way leaves an attachment that can be used, or a note that leads to what is
to be removed; and nothing young is removed, so that a job may be stored a while after all it names was found.
"""

import json
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal, NamedTuple, NoReturn

from outlast.errors import InvalidRequest
from outlast.job import Job
from outlast.notation import digest, pointer_part
from outlast.policy import NO_LIMIT, Limits
from outlast.stores.base import Record, Records, Store

MARK = "attachment:sha256:"
REFERENCE = re.compile(MARK + "([0-9a-f]{64})")

BYTES = "application/octet-stream"
MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~\w-]+/[!#$%&'*+.^_`|~\w-]+([ \t]*;[ -~]*)?", re.ASCII)
LONGEST_MEDIA_TYPE = 128

NOTES, PIECES, NAMED = "attachment/", "attachment-bytes/", "attached/"

PIECE = 3 << 20
"""Bytes of a record: as much as a store writes without keeping others waiting, and whole in base64."""

LEAST = 16 << 10
"""What an attachment counts for at least, so that its owner cannot have any number of notes."""

YOUNG = 24 * 3600.0
"""Seconds for which an attachment stays that was uploaded or asked for, whether or not a job names it."""


class Attachment(NamedTuple):
    """What a handler reads: the bytes, and the media type that they were last uploaded with."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Attached:
    """What an upload answers: `reference` is the string by which payloads name it; `size` in bytes."""

    reference: str
    size: int
    media_type: str

    @property
    def digest(self) -> str:
        """`sha256:` and 64 hex digits."""
        return self.reference.partition(":")[2]

    def wire(self) -> dict[str, Any]:
        return {
            "attachment": self.reference,
            "digest": self.digest,
            "size": self.size,
            "mediaType": self.media_type,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is known of one owner's attachment, and the version of the record that says so (0: there is none)."""

    key: str
    version: int = 0
    state: Literal["coming", "kept", "going", "gone"] = "gone"
    place: str = ""
    count: int = 0
    size: int = 0
    media_type: str = ""
    at: float = 0.0

    @property
    def pieces(self) -> Sequence[str]:
        """The keys of the records that hold the bytes."""
        return [f"{PIECES}{self.place}/{n}" for n in range(self.count)]


# -- upload ---------------------------------------------------------------------------------------------------------


async def keep(store: Store, owner: str | None, data: bytes, media_type: str, limits: Limits) -> Attached:
    """Keep bytes for an owner; of those that are kept already only the type and the time change.

    Raises InvalidRequest: `validation`, `payload_too_large`, or `quota_exceeded` if the owner has too much.
    """
    _require_fit(data, media_type, limits)
    sha = sha256(data).hexdigest()
    while True:
        note = await _found(store, _key(owner, sha))
        if note.state == "kept":
            done = await _written(store, note, media_type=media_type, at=store.now()) is not None
        else:
            done = await _uploaded(store, note, data, media_type, limits)
        if done:
            return Attached(MARK + sha, len(data), media_type)


def is_media_type(text: str) -> bool:
    """True for `type/subtype`, and parameters behind it."""
    return len(text) <= LONGEST_MEDIA_TYPE and MEDIA_TYPE.fullmatch(text) is not None


def _require_fit(data: bytes, media_type: str, limits: Limits) -> None:
    if not data:
        raise InvalidRequest("an attachment has at least one byte")
    if len(data) > limits.attachment:
        raise InvalidRequest(f"the attachment is larger than {limits.attachment} bytes", code="payload_too_large")
    if not is_media_type(media_type):
        detail = f"a media type such as image/png, at most {LONGEST_MEDIA_TYPE} characters"
        raise InvalidRequest(detail, errors=[{"pointer": "/mediaType", "detail": detail}])


async def _uploaded(store: Store, note: Note, data: bytes, media_type: str, limits: Limits) -> bool:
    """False if somebody else wrote to the note. What two write to one place is the same, for it has one digest."""
    place = note.place if note.state == "coming" else secrets.token_hex(16)
    if note.state == "going":
        await store.drop(note.pieces)
    pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
    came: dict[str, Any] = {"count": len(pieces), "size": len(data), "media_type": media_type, "at": store.now()}
    coming = await _written(store, note, state="coming", place=place, **came)
    if coming is None:
        return False
    await _require_room(store, coming, limits)
    for name, piece in zip(coming.pieces, pieces, strict=True):
        await store.put(name, {"base64": b64encode(piece).decode()})
    return await _settled(store, coming)


async def _require_room(store: Store, note: Note, limits: Limits) -> None:
    if limits.attached == NO_LIMIT:
        return
    whole = await notes(store, note.key.rpartition("/")[0] + "/")
    if sum(max(one.size, LEAST) for one in whole if one.state in ("coming", "kept")) > limits.attached:
        await removed(store, note)
        detail = (
            f"all attachments of one owner together are at most {limits.attached} bytes, and each counts for {LEAST} "
            "at least; they go with the jobs that name them"
        )
        raise InvalidRequest(detail, code="quota_exceeded")


async def _settled(store: Store, coming: Note) -> bool:
    """All bytes are there; False, and they are not, if the note was given up meanwhile."""
    while True:
        note = await _found(store, coming.key)
        if note.place != coming.place or note.state in ("going", "gone"):
            await store.drop(coming.pieces)
            return False
        if note.state == "kept" or await _written(store, note, state="kept", at=store.now()) is not None:
            return True


# -- submit ---------------------------------------------------------------------------------------------------------


async def claim(store: Store, job: Job[Any], limits: Limits) -> None:
    """Have all that a job's payload names stay for as long as the job; to be called before the job is stored.

    Raises InvalidRequest with the fields that name what is not there for its owner, or too much.
    """
    named = references(job.payload_json)
    if not named:
        return
    if len(named) > limits.attachments:
        beyond = list(named.values())[limits.attachments :]
        _refuse(beyond[:1], f"a payload names at most {limits.attachments} attachments", "validation")
    absent = [at for sha, at in named.items() if not await _asked_for(store, _key(job.owner, sha))]
    if absent:
        _refuse(absent, "there is no such attachment of the job's owner; upload it first", "attachment_not_found")
    await _name(store, job, named)


def references(payload_json: str | None) -> Mapping[str, str]:
    """The digests that a payload names, each with the pointer to where it first does."""
    if payload_json is None or MARK not in payload_json:
        return {}
    found: dict[str, str] = {}
    todo: list[tuple[str, Any]] = [("/payload", json.loads(payload_json))]
    while todo:
        pointer, value = todo.pop()
        if isinstance(value, str):
            if (named := REFERENCE.fullmatch(value)) is not None:
                found.setdefault(named[1], pointer)
        elif isinstance(value, dict | list):
            within = value.items() if isinstance(value, dict) else enumerate(value)
            todo += reversed([(f"{pointer}/{pointer_part(name)}", one) for name, one in within])
    return found


async def _asked_for(store: Store, key: str) -> bool:
    """See that it is young; False if it is not there. Many jobs that name one do not all write to it."""
    while True:
        note = await _found(store, key)
        if note.state != "kept" or note.at > store.now() - YOUNG / 2:
            return note.state == "kept"
        if await _written(store, note, at=store.now()) is not None:
            return True


async def _name(store: Store, job: Job[Any], named: Collection[str]) -> None:
    keys = [_key(job.owner, sha) for sha in named]
    await store.put(NAMED + job.id, {"notes": keys, "at": store.now()})


def _refuse(pointers: Sequence[str], detail: str, code: str) -> NoReturn:
    errors = [{"pointer": pointer, "detail": detail} for pointer in pointers]
    raise InvalidRequest(f"{pointers[0]}: {detail}", code=code, errors=errors)


# -- read, copy -----------------------------------------------------------------------------------------------------


async def read(records: Records, owner: str | None, reference: str) -> Attachment | None:
    """What a reference names; None if it names nothing of this owner's."""
    named = REFERENCE.fullmatch(reference)
    note = None if named is None else await _found(records, _key(owner, named[1]))
    if note is None or note.state != "kept":
        return None
    data = bytearray()
    for name in note.pieces:
        piece = await records.fetch(name)
        if piece is None:
            return None
        data += b64decode(piece.value["base64"])
    return Attachment(bytes(data), note.media_type)


async def copy(source: Store, target: Store, job: Job[Any]) -> None:
    """Bring what a job's payload names into the store that the job is copied to."""
    named = references(job.payload_json)
    for sha in named:
        there = await _found(target, _key(job.owner, sha))
        found = None if there.state == "kept" else await read(source, job.owner, MARK + sha)
        if found is not None:
            await keep(target, job.owner, found.data, found.media_type, _NONE)
    if named:
        await _name(target, job, named)


_NONE = Limits(attachment=NO_LIMIT, attached=NO_LIMIT)


# -- notes ----------------------------------------------------------------------------------------------------------


async def notes(records: Records, prefix: str = NOTES) -> Sequence[Note]:
    """All notes, or those of one owner."""
    return [_note(record) for record in await records.scan(prefix)]


async def removed(store: Store, note: Note) -> bool:
    """Remove an attachment, bytes and all; False if somebody wrote to its note since it was read."""
    going = note if note.state == "going" else await _written(store, note, state="going")
    if going is None:
        return False
    await store.drop(going.pieces)
    # It expires and is not dropped: an upload that writes over it meanwhile would be dropped with it.
    gone = Note(key=going.key, version=going.version)
    return await _written(store, gone, ttl=YOUNG, at=store.now()) is not None


async def _found(records: Records, key: str) -> Note:
    record = await records.fetch(key)
    return Note(key=key) if record is None else _note(record)


def _note(record: Record) -> Note:
    return Note(key=record.key, version=record.version, **record.value)


async def _written(records: Records, note: Note, *, ttl: float | None = None, **changed: Any) -> Note | None:
    """The note with these changes; None if it is no longer the one that was read."""
    new = replace(note, **changed)
    value = {name: getattr(new, name) for name in ("state", "place", "count", "size", "media_type", "at")}
    record = await records.put(note.key, value, version=note.version, ttl=ttl)
    return None if record is None else replace(new, version=record.version)


def _key(owner: str | None, sha: str) -> str:
    # By its hash an owner's name can be of any letters, and nobody's is not that of one called so.
    return f"{NOTES}{digest(owner)[:32]}/{sha}"
