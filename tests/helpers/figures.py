"""What is on a drawn figure."""

import numpy as np
from matplotlib.text import Text


def dots(figure, name):
    """Offsets of the scatters of this gid, over all panels."""
    parts = [c.get_offsets() for ax in figure.axes for c in ax.collections if c.get_gid() == name]
    return np.ma.filled(np.ma.concatenate(parts), np.nan) if parts else np.empty((0, 2))


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def label_boxes(ax, names):
    """Boxes in pixels of the labels that are these names."""
    ax.figure.draw_without_rendering()
    found = [text for text in ax.texts if text.get_text() in names]
    # the text alone: an annotation's own extent has its line in it
    return {text.get_text(): Text.get_window_extent(text) for text in found}
