"""HTML that nothing can be injected into: whatever is not `Html` already is escaped when it is put in."""

import html
from collections.abc import Iterable, Sequence
from string import Formatter
from typing import Any

from .style import STYLE


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


class _Escaping(Formatter):
    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Any) -> Html:
        value = super().get_value(key, args, kwargs)
        return value if isinstance(value, Html) else escaped(value)


def escaped(value: object) -> Html:
    """As text. Control characters and lone surrogates (names of files may hold them) are written as escapes."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return Html(html.escape("".join(c if c in "\n\t\xa0" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)))


def fill(template: str, *values: object, **named: object) -> Html:
    """`template` with each `{}` or `{name}` replaced by its value, escaped where it is not `Html`."""
    return Html(_Escaping().vformat(template, values, named))


def joined(parts: Iterable[object], between: str = "") -> Html:
    """The parts one after the other, each escaped where it is not `Html`."""
    return Html(between.join(part if isinstance(part, Html) else escaped(part) for part in parts))


def table(head: Sequence[object], rows: Iterable[Sequence[object]], kind: str = "") -> Html:
    """A table; cells of the first column are its rows' heads."""
    top = fill("<thead><tr>{}</tr></thead>", joined(fill('<th scope="col">{}</th>', cell) for cell in head)) if head else ""
    lines = (
        fill('<tr><th scope="row">{}</th>{}</tr>', first, joined(fill("<td>{}</td>", cell) for cell in rest))
        for first, *rest in rows
    )
    return fill('<div class="scroll"><table class="{}">{}<tbody>{}</tbody></table></div>', kind, Html(top), joined(lines))


def listed(lines: Sequence[object], more: int = 0, kind: str = "") -> Html:
    """A list, and how many more there are."""
    rest = [Html(f'<li class="more">… and {more:,} more</li>')] if more else []
    return fill('<ul class="{}">{}</ul>', kind, joined([*(fill("<li>{}</li>", line) for line in lines), *rest]))


def document(title: str, body: Html) -> Html:
    """A whole page. It loads nothing and runs nothing, and its policy keeps a browser to that."""
    return fill(_DOCUMENT, title=title, style=Html(STYLE), body=body)


_DOCUMENT = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
