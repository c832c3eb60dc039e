"""Tokens over HTTP: minted for whoever may do what they allow, and used up where they are good for one job."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.responses import Response

from outlast.errors import InvalidRequest
from outlast.job import Job
from outlast.notation import rfc3339
from outlast.tokens import TTL, Minted
from outlast.web.auth import require
from outlast.web.body import read_fields
from outlast.web.call import Call
from outlast.web.holder import INVALID, SCOPES, Holder
from outlast.web.problems import Problem, shown, unauthenticated, wrong_field
from outlast.web.query import each
from outlast.web.replies import json_reply


async def mint_for_job(call: Call) -> Response:
    """A share token for one job."""
    fields = await _fields(call, "scope", "ttlMs")
    read = each(scope=lambda: _scopes(fields, "read", "cancel"), ttl=lambda: _ttl(fields))
    for scope in read["scope"]:
        require(call.principal, SCOPES[scope])
    return _reply(await call.app.tokens.job(await call.job(), scopes=read["scope"], ttl=read["ttl"]))


async def mint_for_owner(call: Call) -> Response:
    """A share token for the caller's feed, or a submit token for one job."""
    fields = await _fields(call, "scope", "type", "ttlMs")
    read = each(submits=lambda: _submits(fields), type=lambda: _type(call, fields), ttl=lambda: _ttl(fields))
    owner = call.principal.owner
    if read["submits"]:
        return _reply(await call.app.tokens.submit(read["type"], owner=owner, ttl=read["ttl"]))
    require(call.principal, SCOPES["read"])
    return _reply(await call.app.tokens.feed(owner, ttl=read["ttl"]))


async def _fields(call: Call, *known: str) -> Mapping[str, Any]:
    if not call.app.tokens.on:
        detail = "this server has no OUTLAST_SECRET to sign tokens with; whoever runs it has to set one"
        raise Problem("tokens_off", detail)
    return await read_fields(call.request, call.app.limits.payload, *known)


def _scopes(fields: Mapping[str, Any], *known: str) -> list[str]:
    scopes = fields.get("scope", ["read"])
    if not isinstance(scopes, list) or not scopes or not all(scope in known for scope in scopes):
        raise wrong_field("/scope", f"a list out of {', '.join(known)}, not {shown(scopes)}")
    return scopes


def _submits(fields: Mapping[str, Any]) -> bool:
    scope = fields.get("scope", ["read"])
    if scope not in (["read"], ["submit"]):
        raise wrong_field("/scope", f'["read"] or ["submit"], not {shown(scope)}')
    return bool(scope == ["submit"])


def _type(call: Call, fields: Mapping[str, Any]) -> str | None:
    """The type of the one job that a submit token is for; other tokens are for none."""
    type, submits = fields.get("type"), fields.get("scope") == ["submit"]
    if submits and (not isinstance(type, str) or type not in call.app.handlers):
        raise wrong_field("/type", f"a handler's name, not {shown(type)}")
    if not submits and "type" in fields:
        raise wrong_field("/type", "it goes with the scope submit alone")
    return type


def _ttl(fields: Mapping[str, Any]) -> float:
    value = fields.get("ttlMs", TTL * 1000)
    if "ttlMs" in fields and type(value) is not int:
        raise wrong_field("/ttlMs", f"a whole number of milliseconds, not {shown(value)}")
    return float(value / 1000)


def _reply(minted: Minted) -> Response:
    return json_reply(_wire(minted), 201, {"Cache-Control": "no-store"})


def _wire(minted: Minted) -> dict[str, Any]:
    return {"token": minted.token, "expiresAt": rfc3339(minted.expires_at)}


# -- a submit by token ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def used_up(call: Call, type: str) -> AsyncIterator[None]:
    """A submit within which the caller's token, if that is what they came with, is used up, unless it is refused."""
    if not isinstance(call.principal, Holder):
        yield
        return
    token = call.principal.token
    if type != token.type:
        raise Problem("forbidden_scope", f"this {token.name} is for jobs of another type")
    if not await call.app.tokens.use(token):
        raise unauthenticated(f"this {token.name} has been used", INVALID)
    try:
        yield
    except InvalidRequest:
        await call.app.tokens.give_back(token)
        raise


async def to_follow(call: Call, job: Job[Any]) -> dict[str, Any]:
    """For whoever submitted by a token: one with which they see what becomes of it."""
    return {"token": _wire(await call.app.tokens.job(job))} if isinstance(call.principal, Holder) else {}
