"""Films of drawn faces that speak with made voices.

They stand in for films that cannot be passed on: what reads, prepares and learns from the real ones does so with
these. What a network scores on them says nothing about people.
"""

from fusionkit.rendering.films import FilmSettings
from fusionkit.rendering.layouts import RenderedFolder, render_crema_d, render_ravdess
from fusionkit.rendering.sheet import draw_contact_sheet

__all__ = ["FilmSettings", "RenderedFolder", "draw_contact_sheet", "render_crema_d", "render_ravdess"]
