"""Sphinx settings; reference, result tables and figures of augmentation are made before Sphinx reads the pages."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import figures
import generate
import sentences

import fusionkit

project = "fusionkit"
author = "The fusionkit authors"
copyright = "2026, the fusionkit authors"
version = release = fusionkit.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
# The last two are included in other pages.
exclude_patterns = [
    "_build",
    "README.md",
    "reference/generated/*_keys.md",
    "reference/generated/checkpoints.md",
    "results/generated",
]
html_theme = "furo"
highlight_language = "none"  # blocks without a language are commands, tables and what programs print
html_title = f"fusionkit {version}"

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "substitution"]
myst_substitutions = sentences.figures_of_pages(Path(__file__).parents[1] / "benchmarks" / "results")
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"
suppress_warnings = ["mystnb.unknown_mime_type"]

generate.write_pages(Path(__file__).parent)
figures.draw_figures(Path(__file__).parent / "explanation" / "generated")
