"""Films of people with what a network says of them drawn beside."""

from fusionkit.rendering.overlay.panel import Bar, Panel, Said
from fusionkit.rendering.overlay.writer import OverlayWriter

__all__ = ["Bar", "OverlayWriter", "Panel", "Said"]
