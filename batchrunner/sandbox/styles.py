"""The 75 art styles of video-to-video, each as a chain of libavfilter filters that anybody can see.

No style imitates its name closely; what matters is that a result shows which style was asked for. Each has a
family of filters and a hue of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Filter = tuple[str, str]
"""A filter's name and its options, as libavfilter writes them."""

PLAIN: Final = "No Art Style"

_FAMILIES: Mapping[str, tuple[Filter, ...]] = MappingProxyType(
    {
        "vivid": (("vibrance", "intensity=1.6"),),
        "comic": (("edgedetect", "mode=colormix:low=0.05:high=0.2"),),
        "negative": (("negate", ""),),
        "sepia": (("colorchannelmixer", ".393:.769:.189:0:.349:.686:.168:0:.272:.534:.131"),),
        "soft": (("gblur", "sigma=1.6"),),
        "blocks": (("pixelize", "w=6:h=6"),),
        "grain": (("noise", "alls=36:all_seed=7"),),
        "dusk": (("vignette", "angle=PI/2.6"), ("curves", "preset=darker")),
        "poster": (("lutyuv", "y=floor(val/56)*56+16"),),
        "fringe": (("rgbashift", "rh=4:bh=-4"),),
        "paint": (("dilation", ""), ("dilation", "")),
        "carved": (("erosion", ""), ("unsharp", "luma_amount=2.5")),
        "film": (("curves", "preset=vintage"),),
    }
)

_MEMBERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vivid": ("Avatar", "Dragonball Z", "Futuristic Fantasy", "Mario", "Radiant Anime", "Realistic Anime"),
        "comic": ("Bold Anime", "Comic", "Illustration", "Ink", "Naruto", "Sharp Anime", "Street Fighter"),
        "negative": ("Black Spiderman", "Ghost", "Hologram", "Neon Dream", "The Void"),
        "sepia": ("Armored Knight", "Knight", "Samurai", "Tomb Raider", "Viking"),
        "soft": ("Airbender", "Ghibli Anime", "Pixar", "Realistic Pixar", "Soft Anime", "Studio Ghibli"),
        "blocks": ("Lego", "Minecraft", "Pixel"),
        "grain": ("Boba Fett", "Solid Snake", "Spartan", "Starfield", "Sub-Zero", "Wu Kong"),
        "dusk": ("Assassin's Creed", "Cypher", "Dark Fantasy", "Master Chief", "Mystique", "On Fire", "Underwater"),
        "poster": ("Clay", "GTA", "Ink Poster", "Jinx", "Power Ranger", "Western Anime"),
        "fringe": ("Android", "Cyberpunk", "Future Bot", "Gundam", "Mech", "Samurai Bot"),
        "paint": (
            "Impressionism", "Link", "Oil Painting", "Painterly Anime", "Van Gogh", "Watercolor", "Zelda",
        ),
        "carved": ("3D Render", "Celestial Skin", "Marble", "Origami", "Power Armor"),
        "film": ("Anime Warrior", "Chinese Swordsmen", "Retro Anime", "Retro Sci-Fi", "Wuxia Anime"),
    }
)  # fmt: skip


def _chain(family: str, place: int) -> tuple[Filter, ...]:
    """The filters of the member at `place` of a family, told from its neighbours by a hue of its own."""
    angle = 20 + 300 * place // len(_MEMBERS[family])
    return (*_FAMILIES[family], ("hue", f"h={angle}:s=1.4"))


FILTERS: Mapping[str, tuple[Filter, ...]] = MappingProxyType(
    {PLAIN: ()}
    | {name: _chain(family, place) for family, names in _MEMBERS.items() for place, name in enumerate(names)}
)

NAMES: frozenset[str] = frozenset(FILTERS)
