"""Where an order becomes a file: the input found, the renderer called, every failure told as the account is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import logging

from batchrunner.sandbox import assets, canned, renderer
from batchrunner.sandbox.orders import ClipOrder, Order, StillOrder
from batchrunner.sandbox.passage import Fate
from batchrunner.sandbox.renderer import Rendered, RenderError
from batchrunner.sandbox.settings import Settings
from batchrunner.sandbox.storage import Storage

Outcome = Rendered | RenderError
IsAbandoned = Callable[[], bool]

_log = logging.getLogger(__name__)


class Studio:
    """Renders one order after the other; knows no accounts. Called in threads."""

    def __init__(self, *, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._settings = settings

    def render(self, project_id: str, order: Order, fate: Fate, is_abandoned: IsAbandoned) -> Outcome | None:
        """What the render came to, or None when it was told to stop."""
        try:
            rendered = self._render(project_id, fated(order, fate), is_abandoned)
            if fate.is_black:
                return canned.blacken(self._storage.output(project_id), rendered, order.kind)
        except renderer.Abandoned:
            return None
        except RenderError as error:
            return error
        except Exception:  # noqa: BLE001 - logged with its traceback
            # Whatever goes wrong with one input must not cost the farm a worker.
            _log.exception("render of %s failed", project_id)
            return RenderError("unknown_error", "An unknown error occurred. Please contact support.")
        return rendered

    def _render(self, project_id: str, order: Order, is_abandoned: IsAbandoned) -> Rendered:
        if isinstance(order, ClipOrder):
            return self._render_clip(project_id, order, is_abandoned)
        return self._render_still(project_id, order, is_abandoned)

    def _render_clip(self, project_id: str, order: ClipOrder, is_abandoned: IsAbandoned) -> Rendered:
        source = assets.locate(
            order.source,
            "video",
            storage=self._storage,
            remote_dir=self._settings.data_dir / "remote",
            until_s=order.end_s,
        )
        return renderer.render_video_to_video(
            source,
            self._storage.output(project_id),
            start_s=order.start_s,
            end_s=order.end_s,
            fps_resolution=order.fps_resolution,
            art_style=order.art_style,
            longest_edge=self._settings.plan.longest_edge,
            scale=self._settings.scale,
            is_abandoned=is_abandoned,
        )

    def _render_still(self, project_id: str, order: StillOrder, is_abandoned: IsAbandoned) -> Rendered:
        image, end_image = (
            None
            if source is None
            else assets.locate(
                source,
                "image",
                storage=self._storage,
                remote_dir=self._settings.data_dir / "remote",
                until_s=1,
            )
            for source in (order.image, order.end_image)
        )
        assert image is not None
        return renderer.render_image_to_video(
            image,
            self._storage.output(project_id),
            end_image=end_image,
            seconds=order.end_s,
            resolution=order.resolution,
            fps=order.fps,
            audio=order.audio,
            prompt=order.prompt,
            scale=self._settings.scale,
            is_abandoned=is_abandoned,
        )


def fated(order: Order, fate: Fate) -> Order:
    """The order that is really carried out: of another length, where fate wants it."""
    if fate.seconds is None:
        return order
    start_s = order.start_s if isinstance(order, ClipOrder) else 0.0
    return replace(order, end_s=start_s + fate.seconds)
