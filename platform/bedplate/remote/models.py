"""Models of the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from bedplate.records import Record, seconds_of
from bedplate.tables import Table
from bedplate.wire import given, json_of, model_path, url_path
from bedplate_registry.errors import NotFound

if TYPE_CHECKING:
    from bedplate.remote.workspace import RemoteWorkspace

__all__ = ["Model", "Models"]

RULE = ("metric", "at_least", "at_most", "dataset", "not_worse", "columns")  # of a gate, as it is sent
# Named here because inside the class `list` is a method.
_Rules: TypeAlias = list[dict[str, Any]]


class Model(Record):
    """A version of a model."""

    SHOWN = ("ref", "state", "task", "license", "parameters", "aliases", "created")
    _ws: RemoteWorkspace

    @property
    def ref(self) -> str:
        """Its name and version, such as `org/name:3`."""
        return str(self.data["ref"])

    @property
    def state(self) -> str:
        """`active`, or `archived`: readable, in no list, and neither deployed nor fine-tuned anew."""
        return str(self.data["state"])

    @property
    def task(self) -> str | None:
        """What it can do as it is; None for a base, which is to be fine-tuned first."""
        task: str | None = self.data["task"]
        return task

    @property
    def license(self) -> str | None:
        license: str | None = self.data.get("license")
        return license

    @property
    def parameters(self) -> int | None:
        """How many weights it has."""
        parameters: int | None = self.data.get("parameters")
        return parameters

    @property
    def aliases(self) -> dict[str, int]:
        """The aliases of its name, and the version that each stands for."""
        return dict(self.data.get("aliases") or {})

    @property
    def created(self) -> float:
        """When it was registered, in seconds since 1970."""
        return seconds_of(self.data["created"])

    def refresh(self) -> Model:
        """Look again."""
        self.data = self._ws.connection.get(model_path(self.ref))
        return self

    def card(self, *, source: bool = False) -> str:
        """Its card, in Markdown: facts, how to use it, what was measured, and what its author says of it, cleaned.

        With `source` the author's own card, as it was written.
        """
        return self._ws.connection.text(model_path(self.ref, "card"), source=source or None)

    def estimates(self) -> dict[str, Any]:
        """What memory it takes (`estimates`), and how to fine-tune it on the server's devices (`recommended`)."""
        found = self._ws.connection.get(model_path(self.ref, "estimates"))
        return {name: found[name] for name in ("estimates", "recommended")}

    def license_texts(self) -> dict[str, Any]:
        """Its license by name (`license`, `license_spdx`), and the `files` that came with it: `path` and `text`."""
        return self._ws.connection.get(model_path(self.ref, "license"))

    def files(self) -> Table[dict[str, Any]]:
        """Its files: path, SHA-256 and size."""
        return Table(self._ws.connection.items(model_path(self.ref, "files")))

    def samples(self) -> Table[dict[str, Any]]:
        """How to use it, as commands and code: title, language, code, and what to know about it."""
        return Table(self._ws.connection.items(model_path(self.ref, "samples")))

    def versions(self) -> Table[Model]:
        """All versions of its name."""
        found = self._ws.connection.items(model_path(self.ref, "versions"))
        return Table(Model(self._ws, item) for item in found)

    def lineage(self) -> dict[str, Any]:
        """Where it came from (source, base, data, settings), what was made of it, measured on it, what serves it."""
        return self._ws.connection.get(model_path(self.ref, "lineage"))

    def verify(self) -> list[str]:
        """What is wrong with its files; every byte is read again."""
        found = self._ws.connection.get(model_path(self.ref, "verify"), patient=True)
        return [str(problem) for problem in found["problems"]]

    def set_alias(self, alias: str, *, why: str = "", override: bool = False) -> Model:
        """Point an alias, such as `production`, at this version; the reason is kept.

        Raises Conflict where its gate does not let it; an admin may `override` that for a reason.
        """
        body = {"why": why, "override": override}
        self.data = self._ws.connection.change("PUT", model_path(self.ref, "aliases", alias), body)
        return self

    def archive(self, *, why: str = "") -> Model:
        """Leave it out of lists, and out of what is deployed or fine-tuned from now on."""
        self.data = self._ws.connection.post(model_path(self.ref, "archive"), {"why": why})
        return self

    def restore(self, *, why: str = "") -> Model:
        """Take it up again."""
        self.data = self._ws.connection.post(model_path(self.ref, "restore"), {"why": why})
        return self

    def delete(self, *, why: str = "") -> None:
        """Delete it for good. Raises Conflict while anything uses it, saying what; its number is never given again."""
        self._ws.models.delete(self.ref, why=why)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Model) and other.ref == self.ref

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"Model({self.ref!r})"


class Models:
    """`ws.models`"""

    def __init__(self, workspace: RemoteWorkspace) -> None:
        self._ws: RemoteWorkspace = workspace

    def list(
        self,
        *,
        query: str | None = None,
        task: str | None = None,
        finetunable_for: str | None = None,
        license: str | None = None,
        language: str | None = None,
        source: str | None = None,
        author: str | None = None,
        dataset: str | None = None,
        alias: str | None = None,
        archived: bool = False,
        limit: int | None = None,
        **more: Any,
    ) -> Table[Model]:
        """The newest version of each model; or all that are `archived`, or that an `alias` means.

        `query` is words of the name, the facts or the card; with it the best hits come first. More: min_bytes,
        max_bytes, min_parameters, max_parameters, sort (name, created, size, parameters, relevance), descending.
        """
        filters: dict[str, Any] = {"query": query, "task": task, "finetunable_for": finetunable_for}
        filters |= {"license": license, "language": language, "source": source, "alias": alias}
        filters |= {"author": author, "dataset": dataset}
        found = self._ws.connection.items(url_path("models"), limit=limit, archived=archived or None, **filters, **more)
        return Table(Model(self._ws, item) for item in found)

    def get(self, ref: str) -> Model:
        """A model by `org/name`, `org/name:3` or `org/name@alias`. Raises NotFound."""
        return Model(self._ws, self._ws.connection.get(model_path(ref)))

    def delete(self, ref: str, *, why: str = "") -> None:
        """Delete a version by its name and number, `org/name:3`, for good, even where its manifest cannot be read.

        Raises Conflict while anything uses it, saying what; its number is never given again.
        """
        self._ws.connection.request("DELETE", model_path(ref), params={"why": why})

    def gc(self, *, dry_run: bool = False, grace_hours: float = 24.0) -> dict[str, Any]:
        """Take away the files that no model, dataset or job needs: `count`, `size_bytes` and the `items`.

        What was stored or used within the grace stays. Raises Conflict while a manifest cannot be read.
        """
        body = {"dry_run": dry_run, "grace_hours": grace_hours}
        return self._ws.connection.post(url_path("registry", "gc"), body, patient=True)

    def verify(self) -> Table[dict[str, Any]]:
        """What is wrong with each version of each model, archived ones too: `model` and its `problems`, perhaps none.

        Every byte is read again, page by page.
        """
        return Table(self._ws.connection.items(url_path("registry", "verify"), patient=True))

    # --- aliases and their gates: `name` is that of a model, such as `org/name` ---

    def alias_history(self, name: str, alias: str) -> Table[dict[str, Any]]:
        """What an alias meant when, moved by whom and why, oldest first. Raises NotFound."""
        return Table(self._ws.connection.items(model_path(name, "aliases", alias, "history")))

    def roll_back(self, name: str, alias: str, *, why: str = "") -> Model:
        """Let an alias mean again what it meant before; once more goes back further. The version that it means now."""
        path = model_path(name, "aliases", alias, "rollback")
        return Model(self._ws, self._ws.connection.post(path, {"why": why}))

    def remove_alias(self, name: str, alias: str, *, why: str = "") -> None:
        """Take an alias away; what it meant stays on record."""
        self._ws.connection.request("DELETE", model_path(name, "aliases", alias), params={"why": why})

    def gates(self, name: str) -> Table[dict[str, Any]]:
        """The gates of a model's aliases: rules, and who set them, why and when."""
        return Table(self._ws.connection.items(model_path(name, "gates")))

    def set_gate(self, name: str, alias: str, rules: Sequence[Mapping[str, Any]], *, why: str = "") -> dict[str, Any]:
        """Say what must have been measured on a version before an alias may mean it, in place of its rules before.

        A rule is {"metric", "at_least", "at_most", "dataset", "not_worse", "columns"}, of which the metric is
        needed, and a bound or to be `not_worse` than the present holder. `columns` counts only what was measured on
        them: {"label": "verdict"}.
        """
        return self._put_gate(name, alias, rules, why=why)

    def set_rule(self, name: str, alias: str, rule: Mapping[str, Any], *, why: str = "") -> dict[str, Any]:
        """Add one rule to a gate, in place of the one about its metric. Raises Changed where the gate just changed."""
        rules, tag = self._gate(name, alias)
        others = [other for other in rules if other["metric"] != rule["metric"]]
        return self._put_gate(name, alias, [*others, rule], why=why, tag=tag)

    def remove_rule(self, name: str, alias: str, metric: str, *, why: str = "") -> None:
        """Take the rule about one metric away; with the last one the gate goes. Raises NotFound, Changed."""
        rules, tag = self._gate(name, alias)
        others = [other for other in rules if other["metric"] != metric]
        if len(others) == len(rules):
            hint = f"It has: {', '.join(rule['metric'] for rule in rules) or 'none'}."
            raise NotFound(f"The gate of {alias!r} has no rule about {metric!r}.", hint=hint)
        if others:
            self._put_gate(name, alias, others, why=why, tag=tag)
        else:
            where = model_path(name, "gates", alias)
            self._ws.connection.request("DELETE", where, params={"why": why}, headers={"If-Match": tag})

    def _gate(self, name: str, alias: str) -> tuple[_Rules, str]:
        """The rules of a gate as they are sent, and its ETag."""
        answer = self._ws.connection.request("GET", model_path(name, "gates", alias))
        rules = [{key: rule.get(key) for key in RULE} for rule in json_of(answer)["rules"]]
        return rules, answer.headers["ETag"]

    def _put_gate(
        self, name: str, alias: str, rules: Sequence[Mapping[str, Any]], *, why: str, tag: str | None = None
    ) -> dict[str, Any]:
        body = {"rules": [given(rule) for rule in rules], "why": why}
        return self._ws.connection.change("PUT", model_path(name, "gates", alias), body, tag=tag)

    def remove_gate(self, name: str, alias: str, *, why: str = "") -> None:
        """Take the gate of an alias away."""
        self._ws.connection.request("DELETE", model_path(name, "gates", alias), params={"why": why})
