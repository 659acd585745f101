"""The model's chat template, tried on samples: rendered by jinja2 as transformers does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from lanekit.files.small_files import CHAT_TEMPLATE, TOKENIZER_CONFIG, SmallFiles
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Request
from lanekit.plan.preflight.tokenizer import list_added_tokens, read_special_tokens

Messages = list[dict[str, str]]
Render = Callable[[Messages], str]

SYSTEM, QUESTION, ANSWER, SECOND = "시스템 확인문", "첫째 질문", "첫째 대답", "둘째 질문"
_COPY = "copy chat_template.jinja from the model's origin; a tokenizer_config.json may hold it, too"


class TemplateFault(ValueError):
    """A chat template that cannot be read or refuses a conversation."""


def check_template(request: Request) -> Iterator[Finding]:
    """Render conversations of one and of two questions, and one with a system message."""
    model = request.model
    if model is None:
        return
    text = read_template(model)
    where = model.name_place(
        *((CHAT_TEMPLATE,) if CHAT_TEMPLATE in model.texts else (TOKENIZER_CONFIG, "chat_template"))
    )
    if not text:
        yield Finding(where, "the tokenizer has no chat template", _COPY)
        return
    try:
        render = make_render(text, read_special_tokens(model))
    except ImportError:
        remedy = (
            "nothing needs to be done: the first stage that reads it does; ./scripts/dev setup brings jinja2"
        )
        yield Finding(
            where, "the chat template was not tried: jinja2 is not installed here", remedy, "warning"
        )
        return
    except TemplateFault as error:
        yield Finding(where, f"the chat template cannot be read: {error}", _COPY)
        return
    question, answer = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
    samples = {
        "a question": [question],
        "a second question": [question, answer, {"role": "user", "content": SECOND}],
    }
    for name, messages in samples.items():
        fault = _try(render, messages)
        if fault:
            yield Finding(where, f"the chat template cannot be used: {name}: {fault}", _COPY)
            return
    fault = _try(render, [{"role": "system", "content": SYSTEM}, question])
    if fault:
        remedy = "check that the data holds no system messages, or take a template that has a place for them"
        yield Finding(
            where, f"the chat template has no place for a system message: {fault}", remedy, "warning"
        )
    yield from _check_room(request, count_marks(render([question]), list_added_tokens(model)))


def _check_room(request: Request, n_marks: int) -> Iterator[Finding]:
    """Refuse stages whose samples are cut before their answer: the template's own tokens fill them."""
    for stage in request.list_stages():
        max_length = getattr(stage.params, "max_length", None)
        if max_length is not None and stage.type.needs_corpus(stage.params) and max_length <= n_marks:
            yield Finding(
                stage.locate("max_length"),
                f"max_length is {max_length} tokens, and the chat template's own marks take {n_marks} of "
                "them",
                "raise max_length, e.g. to 1024",
            )


def read_template(model: SmallFiles) -> str:
    """Return the template that transformers would take, an empty text where there is none."""
    if CHAT_TEMPLATE in model.texts:
        return model.texts[CHAT_TEMPLATE].decode("utf-8", errors="replace")
    given = model.peek_object(TOKENIZER_CONFIG).get("chat_template")
    if isinstance(given, list):
        entries = [entry for entry in given if isinstance(entry, dict)]
        given = next((e.get("template") for e in entries if e.get("name") == "default"), None)
    return given if isinstance(given, str) else ""


def make_render(text: str, special_tokens: Mapping[str, str]) -> Render:
    """Compile a template with the filters and globals that transformers gives it.

    Raises:
        ImportError: jinja2 is not installed.
        TemplateFault: the template is none.
    """
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Reads `{% generation %}`, which marks what a model has said, as if it were not there."""

        tags = {"generation"}  # noqa: RUF012 - jinja2's own form

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals |= {"raise_exception": refuse, "strftime_now": datetime.now().strftime}
    try:
        template = environment.from_string(text)
    except TemplateError as error:
        raise TemplateFault(f"line {getattr(error, 'lineno', 1)}: {error}") from error

    def render(messages: Messages) -> str:
        try:
            return template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=True,
                enable_thinking=False, **special_tokens,
            )  # fmt: skip
        except Exception as error:  # a template may fail with whatever an expression in it raises
            raise TemplateFault(f"{type(error).__name__}: {error}") from error

    return render


def _try(render: Render, messages: Messages) -> str:
    """Return why a conversation cannot be rendered whole, an empty text where it can."""
    try:
        rendered = render(messages)
    except TemplateFault as fault:
        return str(fault)
    lost = [message["content"] for message in messages if message["content"] not in rendered]
    return f"the rendered text lacks the message '{lost[0]}'" if lost else ""


def count_marks(rendered: str, added_tokens: list[str]) -> int:
    """Return how many added tokens stand in a text: it has at least as many tokens."""
    if not added_tokens:
        return 0
    longest_first = sorted(added_tokens, key=len, reverse=True)
    return len(re.findall("|".join(map(re.escape, longest_first)), rendered))
