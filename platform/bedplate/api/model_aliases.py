"""/api/v1/models/…/aliases and …/gates: which version a word means, what it meant, and what it may come to mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bedplate.api.access import CallerOf, Routes, WorkspaceOf, note
from bedplate.api.bodies import MOST_ITEMS, After, Answer, Limit, Page, RequestBody, json_answer, page_of
from bedplate.api.etags import IfMatch, IfNoneMatch, check_unchanged, tag_of, tagged
from bedplate.api.model_bodies import Model, Reason, Why
from bedplate.api.models import Name, Org, describe, get_version, named
from bedplate.api.problems import codes
from bedplate.workspace import Workspace
from bedplate_registry.aliases import AliasChange, Look
from bedplate_registry.errors import Changed, NotFound, Refused, nearest
from bedplate_registry.gates import Gate as Row
from bedplate_registry.names import Name as ModelName

__all__ = ["routes"]

routes = Routes("/api/v1/models", "models")
Alias = Annotated[str, Path(description="An alias.", examples=["production"])]
Bound = Annotated[float | int | None, Field(description="The metric's figure.")]
WhyQuery = Annotated[str | None, Query(max_length=2000, description="The reason, which is kept.")]
RULE: JsonDict = {"metric": "accuracy", "at_least": 0.9, "dataset": "tickets:1", "not_worse": True}
GATE: JsonDict = {
    "alias": "production",
    "rules": [{**RULE, "at_most": None, "sha256": "0" * 64}],
    "by": "root",
    "why": "what we promised",
    "when": "2026-11-24T08:00:00+00:00",
}


class AliasMove(RequestBody):
    """Why the alias is set."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"why": "better on the holdout"}]})

    why: Why = None
    override: Annotated[bool | None, Field(description="Move it whatever its gate says: for admins, who say why.")] = (
        None
    )


class AliasOfModel(Answer):
    """What an alias means now."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"alias": "production", "version": 1, "model": "support-intent:1"}]}
    )

    alias: str
    version: int
    model: str


class PastMove(Answer):
    """One move of an alias."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "alias": "production",
                    "version": 1,
                    "by": "ana",
                    "why": "better on the holdout",
                    "when": "2026-11-24T08:00:00+00:00",
                    "rollback": False,
                    "unmet": [],
                }
            ]
        }
    )

    alias: str
    version: Annotated[int | None, Field(description="null: it was taken away.")]
    by: str
    why: str
    when: str
    rollback: Annotated[bool, Field(description="It went back to what it meant before.")]
    unmet: Annotated[
        list[str], Field(description="What its gate had against it, where an admin moved it all the same.")
    ]


class NewRule(RequestBody):
    """What one metric must be before the alias may move."""

    model_config = ConfigDict(json_schema_extra={"examples": [RULE]})

    metric: str
    at_least: Bound = None
    at_most: Bound = None
    dataset: Annotated[
        str | None, Field(description="Measured on this one, kept by its version; else on whatever it was last.")
    ] = None
    not_worse: Annotated[bool | None, Field(description="Than the present holder, measured on the same file.")] = None
    columns: Annotated[
        dict[str, str] | None,
        Field(max_length=20, description="Key to column, as an evaluation maps them: only one that read it so counts."),
    ] = None


class GateChange(RequestBody):
    """All rules that the alias has from then on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rules": [RULE], "why": "what we promised"}]})

    rules: Annotated[list[NewRule], Field(min_length=1)]
    why: Why = None


class Rule(Answer):
    """What one metric must be."""

    metric: str
    at_least: float | None
    at_most: float | None
    dataset: str | None
    sha256: Annotated[str | None, Field(description="Of that dataset.")]
    not_worse: bool
    columns: Annotated[dict[str, str] | None, Field(description="Key to column: how the file was to be read.")] = None


class Gate(Answer):
    """What must have been measured on a version before the alias may mean it."""

    model_config = ConfigDict(json_schema_extra={"examples": [GATE]})

    alias: str
    rules: list[Rule]
    by: str | None
    why: str | None
    when: str | None


@routes.route("GET", "/{org}/{name}/aliases", "read", response_model=Page[AliasOfModel])
def list_aliases(
    org: Org, name: Name, workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None
) -> Response:
    """List what the aliases of a model mean."""
    model = named(workspace, org, name)
    means = workspace.registry.models.aliases(model)
    found = [_shown(model, alias, means[alias]) for alias in sorted(means)]
    page, following = page_of(found, lambda one: one["alias"], limit, after)
    return json_answer({"items": page, "next": following})


@routes.route("GET", "/{org}/{name}/aliases/{alias}", "read", response_model=AliasOfModel)
def show_alias(
    org: Org, name: Name, alias: Alias, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None
) -> Response:
    """Show which version an alias means."""
    model = named(workspace, org, name)
    means = workspace.registry.models.aliases(model)
    if alias not in means:
        hint = nearest(alias[:80], means) if means else "It has none yet."
        raise NotFound(f"The model '{model}' has no alias {alias[:80]!r}.", hint=hint)
    return tagged(_shown(model, alias, means[alias]), if_none_match)


@routes.route("GET", "/{org}/{name}/aliases/{alias}/history", "read", response_model=Page[PastMove])
def show_alias_history(
    org: Org,
    name: Name,
    alias: Alias,
    workspace: WorkspaceOf,
    limit: Limit = MOST_ITEMS,
    after: Annotated[int, Query(ge=0, lt=10**9, description="`next` of the page before.")] = 0,
) -> Response:
    """List what an alias meant when, moved by whom and why, the oldest first."""
    history = workspace.registry.models.alias_history(named(workspace, org, name), alias)
    following = str(after + limit) if len(history) > after + limit else None
    return json_answer({"items": [vars(move) for move in history[after : after + limit]], "next": following})


@routes.route(
    "PUT",
    "/{org}/{name}/aliases/{alias}",
    "operate",
    response_model=Model,
    responses=codes("bad-alias", "archived", "gate-not-met", "missing-setting"),
)
def set_alias(
    org: Org,
    name: Name,
    alias: Alias,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: AliasMove,
    if_match: IfMatch = None,
) -> Response:
    """Point an alias at the version that `name` carries. What it meant before stays on record.

    Where the alias has a gate, its rules must hold for that version.
    """
    version = get_version(workspace, org, name)
    note(request, version=version.version)
    if body.override:
        caller.require("admin")
        if not body.why:
            raise Refused("A gate is passed over for a reason.", hint="Give why.", code="missing-setting")
        note(request, override=True, why=body.why)
    workspace.registry.models.set_alias(
        version.ref,
        alias,
        by=caller.user,
        why=body.why or "",
        override=bool(body.override),
        look=_look(if_match, version.name, alias),
    )
    return _moved(workspace, version.name, alias, version.version)


@routes.route(
    "POST",
    "/{org}/{name}/aliases/{alias}/rollback",
    "operate",
    response_model=Model,
    responses=codes("archived", "no-history"),
)
def roll_alias_back(
    org: Org,
    name: Name,
    alias: Alias,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: Reason,
    if_match: IfMatch = None,
) -> Response:
    """Point an alias at what it meant before; once more goes back further. No gate is asked: that version passed it."""
    model = named(workspace, org, name)
    change: AliasChange = workspace.registry.models.roll_back(
        model, alias, by=caller.user, why=body.why or "", look=_look(if_match, model, alias)
    )
    note(request, version=change.version)
    assert change.version is not None
    return _moved(workspace, model, alias, change.version)


@routes.route("DELETE", "/{org}/{name}/aliases/{alias}", "operate", status_code=204)
def remove_alias(
    org: Org,
    name: Name,
    alias: Alias,
    workspace: WorkspaceOf,
    caller: CallerOf,
    why: WhyQuery = None,
    if_match: IfMatch = None,
) -> Response:
    """Take an alias away. What it meant stays on record."""
    model = named(workspace, org, name)
    look = _look(if_match, model, alias)
    workspace.registry.models.remove_alias(model, alias, by=caller.user, why=why or "", look=look)
    return Response(status_code=204)


@routes.route("GET", "/{org}/{name}/gates", "read", response_model=Page[Gate])
def list_gates(
    org: Org, name: Name, workspace: WorkspaceOf, limit: Limit = MOST_ITEMS, after: After = None
) -> Response:
    """List the gates of a model's aliases."""
    gates = workspace.registry.models.gates.all(named(workspace, org, name))
    page, following = page_of(gates, lambda gate: gate.alias, limit, after)
    return json_answer({"items": [gate.to_json() for gate in page], "next": following})


@routes.route("GET", "/{org}/{name}/gates/{alias}", "read", response_model=Gate, responses=codes("bad-alias"))
def show_gate(
    org: Org, name: Name, alias: Alias, workspace: WorkspaceOf, if_none_match: IfNoneMatch = None
) -> Response:
    """Show the gate of an alias; one without rules holds nothing back."""
    gate = workspace.registry.models.gates.get(named(workspace, org, name), alias)
    return tagged(gate.to_json(), if_none_match)


@routes.route(
    "PUT",
    "/{org}/{name}/gates/{alias}",
    "admin",
    response_model=Gate,
    responses=codes("bad-alias", "bad-gate", "unknown-column-key", "unknown-metric"),
)
def set_gate(
    org: Org,
    name: Name,
    alias: Alias,
    request: Request,
    workspace: WorkspaceOf,
    caller: CallerOf,
    body: GateChange,
    if_match: IfMatch = None,
) -> Response:
    """Say what must have been measured on a version before the alias may mean it. The alias stays where it is."""
    rules = [rule.model_dump() for rule in body.rules]
    gate = _set_gate(workspace, named(workspace, org, name), alias, caller.user, rules, body.why, if_match)
    note(request, rules=[str(rule) for rule in gate.rules], why=body.why)
    return tagged(gate.to_json(), None)


@routes.route("DELETE", "/{org}/{name}/gates/{alias}", "admin", status_code=204, responses=codes("bad-alias"))
def remove_gate(
    org: Org,
    name: Name,
    alias: Alias,
    workspace: WorkspaceOf,
    caller: CallerOf,
    why: WhyQuery = None,
    if_match: IfMatch = None,
) -> Response:
    """Take the gate of an alias away."""
    _set_gate(workspace, named(workspace, org, name), alias, caller.user, (), why, if_match)
    return Response(status_code=204)


def _set_gate(
    workspace: Workspace,
    model: ModelName,
    alias: str,
    user: str,
    rules: Sequence[Mapping[str, Any]],
    why: str | None,
    if_match: str | None,
) -> Row:
    def look(gate: Row) -> None:
        check_unchanged(if_match, gate.to_json())

    return workspace.set_gate(model, alias, rules, by=user, why=why or "", look=look)


def _look(if_match: str | None, model: ModelName, alias: str) -> Look:
    """What is asked of an alias with its lock held: that it means what the caller saw."""

    def look(means: int | None) -> None:
        if if_match is not None and means is None:
            raise Changed(f"The model '{model}' has no alias {alias[:80]!r}.")
        check_unchanged(if_match, _shown(model, alias, means))

    return look


def _moved(workspace: Workspace, model: ModelName, alias: str, number: int) -> Response:
    """The version that the alias means now, with the alias's own tag."""
    tag = tag_of(_shown(model, alias, number))
    now = workspace.registry.models.get(f"{model}:{number}")
    return json_answer(describe(workspace, now), headers={"ETag": tag})


def _shown(model: ModelName, alias: str, number: int | None) -> dict[str, Any]:
    return {"alias": alias, "version": number, "model": f"{model}:{number}"}
