"""`bedplate models …`"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bedplate.cli.model_list import list_models
from bedplate.cli.output import (
    Format,
    FormatOption,
    HomeOption,
    UrlOption,
    WrongUse,
    connect,
    pairs,
    say,
    show,
)
from bedplate_registry.errors import BedplateError
from bedplate_registry.names import Ref
from bedplate_registry.sizes import size_text

__all__ = ["app", "show_model"]

app = typer.Typer(name="models", help="What is in the registry.", no_args_is_help=True)
app.command("list")(list_models)
RefArgument = Annotated[str, typer.Argument(metavar="REF", help="org/name, org/name:3 or org/name@alias.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="org/name.")]
AliasArgument = Annotated[str, typer.Argument(metavar="ALIAS", help="production, for one.")]
WhyOption = Annotated[str, typer.Option(help="The reason, which is kept.")]
FACTS = ("ref", "state", "task", "fine-tunable for", "architecture", "parameters", "dtype", "size", "license")
SHOWN = (*FACTS, "context_length", "languages", "author", "datasets", "library", "digest")
SERVED_ON = (("serve_cpu", "CPU"), ("serve_gpu", "GPU"))


@app.command("show")
def show_(
    ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """The facts of one version, what it takes of memory, and what it answered when it was checked."""
    model = connect(home, url).models.get(ref)
    accepted = {"license_acceptances": model.lineage()["license_acceptances"]}
    show_model({**model.data, **model.estimates(), **accepted}, format)


@app.command()
def card(
    ref: RefArgument,
    source: Annotated[bool, typer.Option("--source", help="The author's own card, as it was written.")] = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """The card, as Markdown: what it is, how to use it, what was measured, and what its author says of it."""
    model = connect(home, url).models.get(ref)
    text = model.card(source=source)
    if format is Format.json:
        show({"model": model.ref, "card": text}, format)
    else:
        print(text)


@app.command()
def license(
    ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Its license, and the texts of it that came with the files."""
    found = connect(home, url).models.get(ref).license_texts()
    if format is Format.json:
        show(found, format)
        return
    say(f"{found['model']}: {found['license_spdx'] or 'no license is named'}")
    for file in found["files"]:
        say(f"--- {file['path']}")
        print(file["text"])
    if not found["files"]:
        say("No LICENSE or NOTICE came with its files.")


@app.command()
def files(
    ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Its files with their digests."""
    show(connect(home, url).models.get(ref).files(), format, columns=("path", "size_bytes", "sha256"))


@app.command()
def lineage(
    ref: RefArgument, home: HomeOption = None, url: UrlOption = None, format: FormatOption = Format.table
) -> None:
    """Where it comes from, what was made of it and measured on it, what serves it. JSON tells data and settings too."""
    found = connect(home, url).models.get(ref).lineage()
    show(found if format is Format.json else _relations(found), format, columns=("what", "which", "more"))


def _relations(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One line for each thing that a version has to do with."""
    source = found["source"]
    rows = [{"what": "source", "which": f"{source['kind']} {source['id']}", "more": source["commit"]}]
    rows += [{"what": "parent", "which": each["ref"], "more": _kin(each)} for each in found["parents"]]
    rows += [{"what": "child", "which": each["ref"], "more": _kin(each)} for each in found["children"]]
    for each in found["evaluations"]:
        rows.append(
            {"what": "evaluation", "which": each["id"], "more": f"{each['data']} {each['split'] or ''}".strip()}
        )
    for each in found["deployments"]:
        which = f"{each['endpoint']}/{each['deployment']}"
        rows.append({"what": "deployment", "which": which, "more": f"{each['traffic']} %"})
    rows += [{"what": "alias", "which": alias, "more": None} for alias in found["aliases"]]
    for each in found["license_acceptances"]:
        rows.append({"what": "license", "which": each["license"], "more": f"accepted by {each['by']} {each['when']}"})
    return rows


def _kin(relative: dict[str, Any]) -> str:
    return relative["relation"] if relative["state"] == "active" else f"{relative['relation']}, {relative['state']}"


@app.command()
def verify(
    ref: Annotated[str | None, typer.Argument(metavar="[REF]", help="org/name:3; all versions where none.")] = None,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Read every file and compare it with its digest, archived versions too. The code is 1 where anything is wrong."""
    models = connect(home, url).models
    one = models.get(ref) if ref else None
    found = list(models.verify()) if one is None else [{"model": one.ref, "problems": one.verify()}]
    if format is Format.json:
        show(found[0] if ref else found, format)
    for each in found:
        say(f"{each['model']}: {' '.join(each['problems']) or 'every file agrees with its digest.'}")
    if bad := sum(bool(each["problems"]) for each in found):
        raise BedplateError(
            f"{bad} of {len(found)} versions are damaged.",
            hint="Import a model again to bring back its files; take a damaged manifest from a backup, or give the "
            "version up: bedplate models delete NAME:VERSION",
        )


@app.command()
def archive(
    ref: RefArgument,
    why: WhyOption = "",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Leave a version out of lists and of what is deployed or fine-tuned from now on; it stays readable."""
    show_model(connect(home, url).models.get(ref).archive(why=why).data, format)


@app.command()
def restore(
    ref: RefArgument,
    why: WhyOption = "",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Take an archived version up again."""
    show_model(connect(home, url).models.get(ref).restore(why=why).data, format)


@app.command()
def delete(
    ref: Annotated[str, typer.Argument(metavar="NAME:VERSION")],
    why: WhyOption = "",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Delete a version for good, which nothing uses. Its number is never given again."""
    if Ref.parse(ref).version is None:
        raise WrongUse(f"{ref!r} does not say which version.", hint="Name it by its number, as in name:3.")
    connect(home, url).models.delete(ref, why=why)
    if format is Format.json:
        show({"model": ref, "deleted": True}, format)
    else:
        say(f"{ref} is deleted.")


@app.command()
def alias(
    ref: RefArgument,
    name: AliasArgument,
    why: WhyOption = "",
    rollback: Annotated[bool, typer.Option("--rollback", help="To what it meant before; again: further back.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take it away.")] = False,
    history: Annotated[bool, typer.Option("--history", help="What it meant when, moved by whom and why.")] = False,
    override: Annotated[bool, typer.Option("--override", help="Past its gate: for admins, with --why.")] = False,
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Point an alias at a version, or back; take it away; or show what it meant."""
    if rollback + remove + history + override > 1:
        raise WrongUse("--rollback, --remove, --history and --override are four things.", hint="Give one of them.")
    models, of = connect(home, url).models, str(Ref.parse(ref).name)
    if history:
        rows = [*models.alias_history(of, name)]
        show(rows, format, columns=("when", "version", "by", "why", "rollback"))
    elif remove:
        models.remove_alias(of, name, why=why)
        show({"alias": name, "version": None}, format)
    elif rollback:
        show_model(models.roll_back(of, name, why=why).data, format)
    else:
        show_model(models.get(ref).set_alias(name, why=why, override=override).data, format)


@app.command()
def gate(
    name: NameArgument,
    alias: Annotated[str | None, typer.Argument(metavar="[ALIAS]", help="production, for one.")] = None,
    metric: Annotated[str | None, typer.Option(help="The metric that the rule is about.")] = None,
    at_least: Annotated[float | None, typer.Option(help="What it must be at least.")] = None,
    at_most: Annotated[float | None, typer.Option(help="What it must be at most.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Measured on this dataset, name:version.")] = None,
    not_worse: Annotated[bool, typer.Option("--not-worse", help="Than the present holder's, on one file.")] = False,
    map: Annotated[
        list[str] | None, typer.Option("--map", help="key=column, once for each: measured on these columns.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the rule about --metric away, or the gate.")] = False,
    why: WhyOption = "",
    home: HomeOption = None,
    url: UrlOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Say what must have been measured on a version before an alias moves to it, one metric a call; or show that.

    A rule takes the place of the one that the alias has about the same metric.
    """
    if alias is None and (metric or remove):
        raise WrongUse("A gate is that of an alias.", hint="For example: bedplate models gate NAME production …")
    rule: dict[str, Any] = {"at_least": at_least, "at_most": at_most, "dataset": dataset}
    rule |= {"not_worse": not_worse or None, "columns": pairs(map, "--map") if map else None}
    if (remove or metric is None) and any(value is not None for value in rule.values()):
        raise WrongUse(
            "A rule is about a metric: bounds, --dataset, --map, --not-worse come with --metric, not with --remove.",
            hint="For example: bedplate models gate NAME production --metric accuracy --at-least 0.9",
        )
    models = connect(home, url).models
    if remove and metric is None:
        models.remove_gate(name, str(alias), why=why)
    elif remove:
        models.remove_rule(name, str(alias), str(metric), why=why)
    elif metric is not None:
        models.set_rule(name, str(alias), {"metric": metric, **rule}, why=why)
    gates = [each for each in models.gates(name) if alias in (None, each["alias"])]
    rows = [{"alias": each["alias"], **rule, "by": each["by"]} for each in gates for rule in each["rules"]]
    columns = ("alias", "metric", "at_least", "at_most", "not_worse", "dataset", "columns", "by")
    show(gates if format is Format.json else rows, format, columns=columns)


def show_model(data: dict[str, Any], format: Format) -> None:
    from bedplate.model_samples import brief

    if format is Format.json:
        show(data, format)
        return
    told = {
        "task": data["task"] or "(base)",
        "fine-tunable for": ", ".join(data["finetunable_tasks"]) or None,
        "parameters": f"{data['parameters']:,}",
        "size": size_text(data["size_bytes"]),
        "license": _license(data),
        "languages": ", ".join(data["languages"]) or None,
    }
    facts = {name: told[name] if name in told else data.get(name) for name in SHOWN}
    source = data["source"]
    where = f"@{source['commit']}" if source.get("commit") else ""
    facts |= {"source": f"{source['kind']} {source['id']}{where}", "aliases": data.get("aliases")}
    show({**facts, **_needs(data), "sample": brief(data.get("sample"))}, format)


def _license(data: dict[str, Any]) -> str | None:
    """Its license, and who accepted it when, the first time."""
    for each in data.get("license_acceptances", ())[:1]:
        return f"{each['license']}, accepted by {each['by']} {each['when'][:10]}"
    return str(data["license"]) if data["license"] else None


def _needs(data: dict[str, Any]) -> dict[str, Any]:
    """What `show` tells of memory and devices; nothing where the server was not asked."""
    if "estimates" not in data:
        return {}
    found, how = data["estimates"], data["recommended"]
    serve = ", ".join(f"{size_text(found[name]['size_bytes'])} ({where})" for name, where in SERVED_ON)
    fits = f"batches of {how['batch_size']}, {how['method']}" if how["batch_size"] else how["reasons"][-1]
    shown = {"memory": serve}
    return shown | (
        {"fine-tune here": f"{how['device']}, {how['precision']}, {fits}"} if data["finetunable_tasks"] else {}
    )
