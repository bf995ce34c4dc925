"""What the content policy and the sprite ask of every template."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = [path for path in sorted((ROOT / "templates").rglob("*.html")) if path.parts[-2] not in ("admin", "api")]
_ICON = re.compile(r"""\{% icon "([a-z-]+)\"""")
_INLINE = re.compile(r"""\s(style|on[a-z]+|hx-on[:a-z-]*|hx-vals)\s*=\s*["']""", re.IGNORECASE)
_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)|<style", re.IGNORECASE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_nothing_is_inline(path: Path) -> None:
    text = path.read_text()
    assert not _INLINE.search(text)
    assert not _SCRIPT.search(text)
    assert "|safe" not in text
    assert "autoescape off" not in text


def test_every_icon_is_in_the_sprite_and_every_one_there_is_used() -> None:
    drawn = set(re.findall(r'<symbol id="([a-z-]+)"', (ROOT / "static" / "icons.svg").read_text()))
    named = {name for path in TEMPLATES for name in _ICON.findall(path.read_text())}
    code = "".join(path.read_text() for path in (ROOT / "portal" / "pages").glob("*.py"))
    given_by_code = {name for name in drawn if f'"{name}"' in code}
    assert named | given_by_code >= drawn, sorted(drawn - named - given_by_code)
    assert named <= drawn


def test_every_form_that_posts_carries_its_token() -> None:
    for path in TEMPLATES:
        text = path.read_text()
        assert text.count('method="post"') == text.count("{% csrf_token %}"), path
