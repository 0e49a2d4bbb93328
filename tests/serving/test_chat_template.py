"""A chat template is a stranger's program: it writes what transformers would, and breaks nothing but its answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bedplate_registry.errors import Refused
from bedplate_serving.predictors.base import ItemError
from bedplate_serving.predictors.generation.chat_template import ChatTemplate, parse_messages
from bedplate_serving.testing.causal import CHAT_TEMPLATE, tiny_llama

CHAT = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": 'Hé "你好" 😀 <b>&amp;'},
    {"role": "assistant", "content": "  Hello  "},
    {"role": "user", "content": "Where is my order?"},
]
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"z": 1, "a": "é"}}}]
MISTRAL_LIKE = """{{ bos_token }}{% for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate user and assistant') }}
    {%- endif %}
    {%- if message.role == 'user' %}[INST] {{ message['content'] | trim }} [/INST]
    {%- else %}{% generation %} {{ message.content }}{{ eos_token }}{% endgeneration %}{% endif %}
{%- endfor %}"""
WITH_TOOLS = """{% if tools %}{% for tool in tools %}{{ tool | tojson(indent=2) }}
{% endfor %}{% endif %}{% for message in messages %}{% if loop.first %}{% continue %}{% endif %}{{ message.content }}
{% endfor %}"""


@pytest.fixture
def render() -> Iterator[Any]:
    opened = []

    def rendered(source: str, messages: Any = CHAT, **more: Any) -> str:
        template = ChatTemplate({"default": source}, {"bos_token": "<s>", "eos_token": "</s>"})
        opened.append(template)
        return template.render(parse_messages(messages), **more)

    yield rendered
    for template in opened:
        template.close()


@pytest.mark.parametrize(
    ("source", "messages", "tools"),
    [(CHAT_TEMPLATE, CHAT, None), (MISTRAL_LIKE, CHAT[1:], None), (WITH_TOOLS, CHAT, TOOLS), (WITH_TOOLS, CHAT, None)],
)
def test_it_writes_what_transformers_writes(tmp_path: Path, source: str, messages: Any, tools: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama(tmp_path, chat_template=source))
    wanted = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    template = ChatTemplate({"default": source}, tokenizer.special_tokens_map)
    assert template.render(parse_messages(messages), tools) == wanted
    template.close()


def test_the_date_is_at_hand(render: Any) -> None:
    assert render("{{ strftime_now('%Y') }}").isdigit()


def test_a_template_that_refuses_these_messages_says_why(render: Any) -> None:
    with pytest.raises(Refused, match="Roles must alternate") as refused:
        render(MISTRAL_LIKE, CHAT)
    assert refused.value.code == "bad-chat-template"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% set x = namespace(t='a') %}{% for i in range(99) %}{% set x.t = x.t * 2 %}{% endfor %}", "memory"),
        ("{{ 'a' * 10000000000 }}", "memory"),
        ("{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}", "writes more than"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "calls itself"),
        ("{% include '/etc/passwd' %}", "loader"),
        ("{% broken", "broken"),
        ("x" * 300_000, "longer than"),
    ],
)  # fmt: skip
def test_a_hostile_or_broken_template_ends_as_a_refusal(render: Any, source: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        render(source)
    assert refused.value.code == "bad-chat-template"


def test_an_endless_template_is_ended_and_the_next_chat_is_answered() -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    source = "{% if messages|length > 1 %}" + endless + "{% endif %}fine"
    template = ChatTemplate({"default": source}, {})
    assert template.render(parse_messages(CHAT[:1])) == "fine"
    started = time.monotonic()
    with pytest.raises(Refused) as refused:
        template.render(parse_messages(CHAT))
    assert refused.value.code == "chat-template-timeout"
    assert time.monotonic() - started < 3
    assert template.render(parse_messages(CHAT[:1])) == "fine"
    template.close()


def test_a_child_that_was_killed_is_replaced() -> None:
    template = ChatTemplate({"default": "fine"}, {})
    assert template.render(parse_messages(CHAT)) == "fine"
    assert template._child is not None
    template._child.kill()
    template._child.wait()
    assert template.render(parse_messages(CHAT)) == "fine"
    template.close()


def test_a_model_without_a_template_says_so(render: Any) -> None:
    with pytest.raises(Refused) as refused:
        render("")
    assert refused.value.code == "no-chat-template"


def test_tools_are_refused_where_the_template_takes_none(render: Any) -> None:
    with pytest.raises(Refused, match="takes no tools"):
        render(CHAT_TEMPLATE, tools=TOOLS)


def test_text_parts_are_joined(render: Any) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert render("{{ messages[0].content }}", [{"role": "user", "content": parts}]) == "one\ntwo"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "at least one message"),
        ("hello", "must be a list"),
        (["hello"], r"messages\[0\] must be an object"),
        ([{"role": "robot", "content": "x"}], r"messages\[0\].role is 'robot'"),
        ([{"role": "user"}], "content must be a string"),
        ([{"role": "user", "content": "x"}, {"role": "user", "content": None}], r"messages\[1\].content"),
        ([{"role": "user", "content": "x", "colour": 1}], "unknown key 'colour'"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "type 'image_url'.*text alone"),
        ([{"role": "user", "content": "\ud83d"}], "half a surrogate pair"),
    ],
)
def test_a_wrong_message_is_named(messages: Any, reason: str) -> None:
    with pytest.raises(ItemError, match=reason):
        parse_messages(messages)


def test_a_chat_of_too_many_messages_is_refused_with_the_number_it_may_have() -> None:
    with pytest.raises(ItemError, match=r"messages holds 1025 of them; a chat has at most 1024"):
        parse_messages([{"role": "user", "content": "x"}] * 1025)
