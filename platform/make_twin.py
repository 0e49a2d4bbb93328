"""Writes bedplate/aio, the client for asyncio, from bedplate/remote, the one that blocks.

    python platform/make_twin.py            write it
    python platform/make_twin.py --check    change nothing; exit 1 where it is not what the source says

What waits is found and not listed: the `async` functions of bedplate/aio/seam.py, which is written by hand, and all
that calls, reads or iterates over something that waits. Of these the twin has

    def f                  async def f
    f(x), job.model        await f(x), await job.model
    for x in f():          async for x in f():
    yield from f()         async for item in f(): yield item
    Iterator               AsyncIterator: in the source an Iterator is always what comes from the server
    __enter__, __exit__    __aenter__, __aexit__

and all else as it is, comments too. Whose method a call means is told from annotations and constructors. Whatever this
misses, mypy finds in the twin: a coroutine is not the value that it comes to. The source keeps to what can be written
so: nothing that waits in a lambda, a nested function or the element of a comprehension.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).parent / "bedplate" / "remote"
TARGET = Path(__file__).parent / "bedplate" / "aio"
BY_HAND = ("__init__.py", "seam.py")
HEADER = "# Generated from bedplate/remote/{} by platform/make_twin.py. Change that, then run: make twin\n"
WAITS, STREAMS = "waits", "streams"  # a coroutine; an asynchronous generator
Function = ast.FunctionDef | ast.AsyncFunctionDef
Edits = list[tuple[int, int, str]]  # from, to (in bytes), what stands there instead


@dataclass
class Class:
    """What is known of a class of the source: its methods, and the classes of its attributes."""

    bases: list[str]
    methods: dict[str, Function] = field(default_factory=dict)
    attributes: dict[str, set[str]] = field(default_factory=dict)


class Source:
    """All modules of the source together, and which of their functions wait or stream."""

    def __init__(self, modules: dict[str, ast.Module], seam: ast.Module) -> None:
        self._classes: dict[str, Class] = {}
        self._functions: dict[str, Function] = {}
        for tree in modules.values():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self._classes[node.name] = _class(node)
                elif isinstance(node, ast.FunctionDef):
                    self._functions[node.name] = node
        for name, info in self._classes.items():
            for method in info.methods.values():
                self._learn_attributes(info, method, name)
        self.kinds = {
            node.name: STREAMS if _yields(node) else WAITS
            for node in seam.body
            if isinstance(node, ast.AsyncFunctionDef)
        }
        while any(self._learn_kind(key, node, owner) for key, node, owner in self._all()):
            pass

    def names_of(self, function: Function, owner: str | None) -> dict[str, set[str]]:
        """The classes of a function's names: of its parameters by annotation, of the others by what they are given."""
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        names = {argument.arg: self._annotated(argument.annotation) for argument in arguments}
        names["self"] = {owner} if owner else set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.setdefault(node.targets[0].id, self.classes_of(node.value, names))
        return names

    def classes_of(self, node: ast.AST, names: dict[str, set[str]]) -> set[str]:
        """The classes that an expression may be of, as far as they are ours."""
        if isinstance(node, ast.Name):
            return names.get(node.id, set())
        if isinstance(node, ast.Attribute):
            return {
                found for owner in self.classes_of(node.value, names) for found in self._attribute(owner, node.attr)
            }
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in self._classes:
                return {node.func.id}
            return {found for key in self.called(node, names) for found in self._returned(key)}
        return set()

    def called(self, node: ast.AST, names: dict[str, set[str]]) -> list[str]:
        """The functions that a call may mean, or the properties that an attribute may."""
        target = node.func if isinstance(node, ast.Call) else node
        if isinstance(node, ast.Call) and isinstance(target, ast.Name):
            return [target.id]
        if not isinstance(target, ast.Attribute):
            return []
        found = [self._method(owner, target.attr) for owner in sorted(self.classes_of(target.value, names))]
        return [key for key in found if key and _is_property(self._node(key)) == (target is node)]

    def kind_of(self, node: ast.AST, names: dict[str, set[str]]) -> str | None:
        """Whether a call or an attribute waits or streams."""
        return next((self.kinds[key] for key in self.called(node, names) if key in self.kinds), None)

    def _all(self) -> Iterator[tuple[str, Function, str | None]]:
        for name, function in self._functions.items():
            yield name, function, None
        for owner, info in self._classes.items():
            for name, function in info.methods.items():
                yield f"{owner}.{name}", function, owner

    def _learn_kind(self, key: str, function: Function, owner: str | None) -> bool:
        """Whether that is news."""
        names = self.names_of(function, owner)
        waits = any(self.kind_of(node, names) == WAITS for node in ast.walk(function))
        loops = [node.iter for node in ast.walk(function) if isinstance(node, ast.For)]
        loops += [node.value for node in ast.walk(function) if isinstance(node, ast.YieldFrom)]
        streams = any(self.kind_of(node, names) == STREAMS for node in loops)
        if key in self.kinds or not (waits or streams):
            return False
        self.kinds[key] = STREAMS if _yields(function) else WAITS
        return True

    def _learn_attributes(self, info: Class, method: Function, owner: str) -> None:
        names = self.names_of(method, owner)
        for node in ast.walk(method):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                info.attributes.setdefault(node.targets[0].attr, self.classes_of(node.value, names))
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
                info.attributes[node.target.attr] = self._annotated(node.annotation)

    def _annotated(self, annotation: ast.AST | None) -> set[str]:
        """`Job`, or `Job | str`; what is in brackets is not what the name stands for."""
        if isinstance(annotation, ast.BinOp):
            return self._annotated(annotation.left) | self._annotated(annotation.right)
        return {annotation.id} & self._classes.keys() if isinstance(annotation, ast.Name) else set()

    def _attribute(self, owner: str, name: str) -> set[str]:
        info = self._classes[owner]
        if name in info.attributes:
            known = info.attributes[name]
            return known & self._classes.keys()
        key = self._method(owner, name)
        return self._returned(key) if key else set()

    def _method(self, owner: str, name: str) -> str | None:
        info = self._classes.get(owner)
        if info is None:
            return None
        if name in info.methods:
            return f"{owner}.{name}"
        return next((key for base in info.bases if (key := self._method(base, name))), None)

    def _node(self, key: str) -> Function:
        owner, _, name = key.rpartition(".")
        return self._classes[owner].methods[name] if owner else self._functions[name]

    def _returned(self, key: str) -> set[str]:
        known = "." in key or key in self._functions
        return self._annotated(self._node(key).returns) if known else set()


class Rewriting(ast.NodeVisitor):
    """The edits that make a module of the source the one of the twin."""

    def __init__(self, source: Source, text: bytes) -> None:
        self._source, self._text = source, text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._owner: str | None = None
        self._names: dict[str, set[str]] = {}
        self._parents: list[ast.AST] = []
        self.edits: Edits = []

    def visit(self, node: ast.AST) -> None:
        """Outer nodes first: of two edits at one place the outer one's text comes first."""
        self._parents.append(node)
        super().visit(node)
        self._parents.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._owner = node.name
        self.generic_visit(node)
        self._owner = None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        key = f"{self._owner}.{node.name}" if self._owner else node.name
        if key in self._source.kinds:
            start = self._at(node.lineno, node.col_offset)
            is_entry = node.name in ("__enter__", "__exit__")
            name = node.name.replace("__e", "__ae") if is_entry else node.name
            self.edits.append((start, start + len(f"def {node.name}".encode()), f"async def {name}"))
        self._names = self._source.names_of(node, self._owner)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._await(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._await(node)

    def visit_For(self, node: ast.For) -> None:
        if self._source.kind_of(node.iter, self._names) == STREAMS:
            self.edits.append((*self._span(node, 0), "async "))
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        word = "async for" if self._source.kind_of(node.value, self._names) == STREAMS else "for"
        start, end = self._at(node.lineno, node.col_offset), self._end(node)
        self.edits.append((start, self._at(node.value.lineno, node.value.col_offset), f"{word} item in "))
        self.edits.append((end, end, ": yield item"))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == "Iterator":
            self.edits.append((*self._span(node, len("Iterator")), "AsyncIterator"))

    def visit_alias(self, node: ast.alias) -> None:
        if node.name == "Iterator":
            self.edits.append((*self._span(node, len("Iterator")), "AsyncIterator"))

    def _await(self, node: ast.Call | ast.Attribute) -> None:
        if self._source.kind_of(node, self._names) == WAITS:
            self._check_place(node)
            start, end = self._at(node.lineno, node.col_offset), self._end(node)
            parent = self._parents[-2]
            is_base = isinstance(parent, ast.Attribute) or (isinstance(parent, ast.Subscript) and parent.value is node)
            self.edits.append((start, start, "(await " if is_base else "await "))
            if is_base:
                self.edits.append((end, end, ")"))
        self.generic_visit(node)

    def _check_place(self, node: ast.expr) -> None:
        functions = [place for place in self._parents if isinstance(place, (ast.FunctionDef, ast.Lambda))]
        if len(functions) != 1 or isinstance(functions[0], ast.Lambda):
            raise SystemExit(f"line {node.lineno}: what waits is not called in a nested function: {ast.unparse(node)}")

    def _span(self, node: ast.expr | ast.stmt | ast.alias, length: int) -> tuple[int, int]:
        start = self._at(node.lineno, node.col_offset)
        return start, start + length

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def _end(self, node: ast.expr) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._at(node.end_lineno, node.end_col_offset)


def _class(node: ast.ClassDef) -> Class:
    info = Class([base.id for base in node.bases if isinstance(base, ast.Name)])
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            info.methods[part.name] = part
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            words = part.annotation
            info.attributes[part.target.id] = {words.id} if isinstance(words, ast.Name) else set()
    return info


def _is_property(function: Function) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in function.decorator_list)


def _yields(function: Function) -> bool:
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function))


def _edited(text: bytes, edits: Edits) -> str:
    """From the end to the beginning; of those at one place the last one first."""
    for _, (start, end, words) in sorted(enumerate(edits), key=lambda item: (item[1][0], item[0]), reverse=True):
        text = text[:start] + words.encode() + text[end:]
    return text.decode()


def twin() -> dict[str, str]:
    """The modules of the twin by the names of their files."""
    texts = {path.name: path.read_bytes() for path in sorted(SOURCE.glob("*.py")) if path.name not in BY_HAND}
    trees = {name: ast.parse(text, name) for name, text in texts.items()}
    source = Source(trees, ast.parse((TARGET / "seam.py").read_bytes()))
    made = {}
    for name, tree in trees.items():
        rewriting = Rewriting(source, texts[name])
        rewriting.visit(tree)
        body = _edited(texts[name], rewriting.edits).replace("bedplate.remote", "bedplate.aio")
        made[name] = HEADER.format(name) + body
    return _formatted(made)


def _formatted(modules: dict[str, str]) -> dict[str, str]:
    """As ruff writes them: lines have become longer, and imports have another order."""
    with TemporaryDirectory(dir=TARGET.parent) as folder:  # below pyproject.toml, whose settings count
        for name, text in modules.items():
            (Path(folder) / name).write_text(text)
        ruff = [sys.executable, "-m", "ruff"]
        ours = "lint.isort.known-first-party=['bedplate']"  # also what is not written yet
        subprocess.run([*ruff, "check", "--quiet", "--fix", "--select", "I", "--config", ours, folder], check=True)
        subprocess.run([*ruff, "format", "--quiet", folder], check=True)
        return {name: (Path(folder) / name).read_text() for name in modules}


def main() -> int:
    made = twin()
    there = {path.name: path.read_text() for path in TARGET.glob("*.py") if path.name not in BY_HAND}
    changed = sorted(name for name in {*made, *there} if made.get(name) != there.get(name))
    if "--check" in sys.argv:
        print("\n".join(f"bedplate/aio/{name} is not what its source says. Run: make twin" for name in changed), end="")
        return 1 if changed else 0
    for name in changed:
        if name in made:
            (TARGET / name).write_text(made[name])
        else:
            (TARGET / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
