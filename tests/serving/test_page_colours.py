"""Texts and lines of the page are told from what is behind them, in the light and in the dark."""

from __future__ import annotations

import re

from fusionkit.serving.page import read_page

PAGE = read_page().decode()
THEMES = [
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", part)) for part in re.findall(r":root \{(.*?)\}", PAGE, re.DOTALL)
]
LINES = re.findall(r"#[0-9a-f]{6}", re.search(r"COLOURS = \[(.*?)\]", PAGE)[1])  # type: ignore[index]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_texts_have_a_contrast_of_at_least_four_and_a_half() -> None:
    assert len(THEMES) == 2
    for theme in THEMES:
        for text, behind in (
            ("ink", "paper"),
            ("faint", "paper"),
            ("faint", "ground"),
            ("faint", "stage"),
            ("accent", "paper"),
            ("on-accent", "accent"),
            ("wrong", "paper"),
        ):
            assert contrast(theme[text], theme[behind]) >= 4.5, (text, behind, theme)


def test_lines_of_the_chart_have_a_contrast_of_at_least_three() -> None:
    assert len(set(LINES)) == 10
    for theme in THEMES:
        for line in LINES:
            assert contrast(line, theme["paper"]) >= 3, (line, theme["paper"])
