"""The plot of a batch's shift: both distributions of every measure, side by side."""

from __future__ import annotations

import io

from data_contracts.profile import Profile

#: Values of a measure that have bars of their own: the most frequent ones.
_BARS = 16
_TITLES = {
    "ink": "share of ink",
    "word_height": "height of words, pixels",
    "words": "words a page",
    "short_edge": "shorter side, pixels",
    "label": "labels of regions",
    "character": "characters",
}


def shift_png(batch: Profile, reference: Profile, distances: dict[str, float]) -> bytes:
    """A PNG with a panel a measure: shares of pages below a value, or shares of values. Equal input, equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (a second, only where there is a reference)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 6), dpi=80, layout="constrained")
    for place, (name, title) in enumerate(_TITLES.items(), start=1):
        axes = figure.add_subplot(2, 3, place)
        axes.set_title(f"{title}: {distances[name]:.2f}", fontsize=10)
        axes.tick_params(labelsize=7)
        sides = (("reference", reference, "#888888"), ("batch", batch, "#2563eb"))
        if name in reference.shares:
            common = sorted(reference.shares[name].items(), key=lambda item: (-item[1], item[0]))
            names = [value for value, _ in common[:_BARS]]
            for number, (label, profile, colour) in enumerate(sides):
                heights = [profile.shares.get(name, {}).get(value, 0.0) for value in names]
                at = [position + 0.4 * number for position in range(len(names))]
                axes.bar(at, heights, 0.4, color=colour, label=label)
            turned = 60 if name == "label" else 0
            axes.set_xticks(range(len(names)), [_plain(n) for n in names], rotation=turned, fontsize=7)
        else:
            for label, profile, colour in sides:
                if curve := profile.curves.get(name):
                    axes.plot(curve, [point / 100 for point in range(len(curve))], color=colour, label=label)
            axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _plain(text: str) -> str:
    """A label as letters: a dollar would begin a formula, and what the font lacks would warn."""
    return text[:16].replace("$", r"\$") if text.isascii() else f"U+{ord(text[0]):04X}"
