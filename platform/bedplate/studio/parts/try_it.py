"""Try an endpoint: a form for its task, the answer as people read it, and the same request as code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import html, ui

from bedplate.aio.endpoints import Endpoint
from bedplate.studio.parts.answers import raw, show_answer
from bedplate.studio.parts.notices import empty, hint, problem
from bedplate.studio.parts.try_call import Call, Reply, ask, schema_of, stream
from bedplate.studio.parts.try_code import codes_of, show_codes
from bedplate.studio.parts.try_form import TryForm
from bedplate.studio.paths import place
from bedplate.studio.visit import Visit
from bedplate_registry.errors import BedplateError

__all__ = ["try_it"]

BY_TRAFFIC = ""
WRITES = "text-generation"
WHY_NOT = "your role may not score; ask an admin for the role 'user'"


async def try_it(visit: Visit, task: str, endpoints: Sequence[str]) -> None:
    """A console for endpoints of one task, by their names. Raises NotFound for one that is not there."""
    if not endpoints:
        empty("No endpoint serves this yet.", action="Deploy it", href=place("deploy"))
        return
    _Console(visit, task, [await visit.ws.endpoints.get(name) for name in endpoints])


class _Console:
    """Form at the left, answer at the right, the code below both."""

    def __init__(self, visit: Visit, task: str, endpoints: Sequence[Endpoint]) -> None:
        self._visit, self._task = visit, task
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._endpoint, self._deployment = endpoints[0], BY_TRAFFIC
        self._form: TryForm | None = None
        self._is_asking = self._is_stopped = False
        with html.div().classes("bp-two bp-try"):
            with html.div().classes("bp-panel"):
                self._choices = html.div()
                self._fields = html.div(**{"aria-label": "Request"}, role="form")
                self._fields.on("keydown.ctrl.enter", self._ask)
                self._make_buttons()
                with ui.expansion("More settings").classes("w-full") as more:
                    self._more = html.div()
                self._more_fold = more.on_value_change(self._show_more)
            with html.div(role="region", **{"aria-label": "Answer", "aria-live": "polite"}).classes("bp-panel"):
                self._answer = html.div().classes("bp-answer")
        with ui.expansion("The same as a command, in Python and with curl").classes("w-full") as code:
            self._code = html.div()
        self._code_fold = code.on_value_change(self._show_code)
        self._choose(self._endpoint.name)

    # --- whom to ask ---

    def _make_choices(self) -> None:
        names = [row["name"] for row in self._endpoint.deployments]
        self._choices.clear()
        if len(self._endpoints) == 1 and len(names) <= 1:
            return
        with self._choices, html.div().classes("bp-filters"):
            if len(self._endpoints) > 1:
                found = ui.select(list(self._endpoints), label="Endpoint", value=self._endpoint.name)
                found.props("outlined dense").on_value_change(lambda event: self._choose(event.value))
            if len(names) > 1:
                options = {BY_TRAFFIC: "By traffic", **{name: name for name in names}}
                chosen = ui.select(options, label="Deployment", value=BY_TRAFFIC)
                chosen.props("outlined dense").on_value_change(lambda event: self._choose_deployment(event.value))

    def _choose(self, name: str) -> None:
        """Another endpoint: its own example, and nothing of the last answer."""
        self._endpoint, self._deployment = self._endpoints[name], BY_TRAFFIC
        self._make_choices()
        self._more_fold.value = False
        self._more.clear()
        self._fields.clear()
        samples = list(self._endpoint.samples.values())
        with self._fields:
            sample = samples[0]["request"] if samples else {}
            self._form = TryForm(self._task, sample, self._show_code, may_send=self._visit.may("infer"))
        self._answer.clear()
        with self._answer:
            hint("The answer is shown here.")
            if self._endpoint.state != "ready":
                hint(f"{name} is {self._endpoint.state}. {self._endpoint.waiting or ''}")
        self._show_code()

    def _choose_deployment(self, name: str) -> None:
        self._deployment = name
        self._show_code()

    def _call(self) -> Call:
        assert self._form is not None
        return Call(self._endpoint.name, self._form.body(), self._deployment or None)

    # --- ask ---

    def _make_buttons(self) -> None:
        may = self._visit.may("infer")
        with html.div().classes("bp-row bp-try-buttons"):
            self._button = html.button("Ask", type="button").classes("bp-button bp-primary").on("click", self._ask)
            if not may:
                self._button.props["disabled"] = True
                hint(f"This is not for you: {WHY_NOT}.")
            else:
                hint("or Ctrl+Enter")
            self._stop = html.button("Stop", type="button").classes("bp-button").on("click", self._end)
            self._stop.set_visibility(False)

    def _end(self) -> None:
        self._is_stopped = True

    async def _ask(self) -> None:
        """Send what the form holds; what is wrong is said where the answer would be."""
        if self._is_asking or not self._visit.may("infer"):
            return
        self._is_asking, self._is_stopped = True, False
        self._button.props["disabled"] = True
        form = self._form
        try:
            call = self._call()
            await (self._stream(call) if self._streams(call) else self._ask_once(call))
        except BedplateError as exc:
            if form is self._form:
                self._answer.clear()
                with self._answer:
                    problem(exc)
        finally:
            self._is_asking = False
            self._button.props.pop("disabled", None)
            self._stop.set_visibility(False)

    def _streams(self, call: Call) -> bool:
        parameters = call.body.get("parameters") or {}
        return self._task == WRITES and not any(parameters.get(name, 1) != 1 for name in ("n", "best_of"))

    async def _ask_once(self, call: Call) -> None:
        """The answer points into the text that was sent; where another endpoint was chosen meanwhile it is nobody's."""
        assert self._form is not None
        form, text = self._form, self._form.context
        self._answer.clear()
        with self._answer:
            ui.spinner(size="1.5rem").props('aria-label="Asking"')
        reply = await ask(self._visit, call)
        if form is not self._form:
            return
        self._answer.clear()
        with self._answer:
            inputs = call.body["inputs"]
            prompt = inputs if isinstance(inputs, str) else ""
            show_answer(self._task, reply.content, text=text, prompt=prompt)
            _about(reply)
            self._show_raw(reply.content)

    async def _stream(self, call: Call) -> None:
        """The text grows as it is written, until it ends or somebody stops it."""
        assert self._form is not None
        form = self._form
        self._stop.set_visibility(True)
        self._answer.clear()
        with self._answer, html.p().classes("bp-written"):
            html.span(self._form.context).classes("bp-prompt")
            written = ui.label("").classes("bp-inline")
        reply, text = Reply(), ""
        pieces = stream(self._visit, call, reply)
        try:
            async for piece in pieces:
                if form is not self._form or self._answer.client.is_deleted:
                    return
                text += piece
                written.text = text
                if self._is_stopped:
                    break
        finally:
            await pieces.aclose()
        if form is not self._form:
            return
        with self._answer:
            _about(reply)
            self._show_raw(reply.content)

    def _show_raw(self, content: Any) -> None:
        with ui.expansion("Raw answer").classes("w-full"):
            raw(content)

    # --- what is made when it is asked for ---

    async def _show_more(self) -> None:
        """All other parameters, as the endpoint itself describes them."""
        if not self._more_fold.value or self._more.default_slot.children:
            return
        assert self._form is not None
        form = self._form
        with self._more:
            spinner = ui.spinner(size="1.5rem")
        try:
            schema = await schema_of(self._visit, Call(self._endpoint.name, {}, self._deployment or None))
        except BedplateError as exc:
            if form is self._form:
                self._more.clear()
                with self._more:
                    problem(exc)
            return
        if form is not self._form:  # another endpoint was chosen meanwhile
            return
        spinner.delete()
        with self._more:
            form.show_rest(schema)

    def _show_code(self) -> None:
        if not self._code_fold.value:
            return
        self._code.clear()
        with self._code:
            try:
                show_codes(codes_of(self._call(), self._task, self._visit.origin))
            except BedplateError as exc:
                problem(exc)


def _about(reply: Reply) -> None:
    """Who answered, and how fast."""
    facts = [f"{reply.seconds * 1000:,.0f} ms" if reply.seconds < 10 else f"{reply.seconds:,.1f} s"]
    if reply.first_seconds is not None:
        rate = len(reply.pieces) / reply.seconds if reply.seconds else 0.0
        facts += [f"first token after {reply.first_seconds * 1000:,.0f} ms", f"{rate:,.0f} tokens a second"]
    facts += [reply.model, f"deployment {reply.deployment}" if reply.deployment else ""]
    hint(" · ".join(fact for fact in facts if fact))
    if reply.is_cut:
        hint("The input is longer than this model reads: its end was left out.")
