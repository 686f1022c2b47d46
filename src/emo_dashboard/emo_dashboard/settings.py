"""Parameters that nodes take over while they run: a widget for each, made from what nodes tell."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import viser

from emo_core.errors import EmoError
from emo_dashboard.remote import Remote, Setting

#: A number without bounds is typed; one with bounds has a slider of so many steps.
_STEPS = 200


class Settings:
    """Fills the panel that is current when it is made.

    A value that a node refuses is shown with the node's reason, and the widget goes back to what
    the node has.
    """

    def __init__(self, server: viser.ViserServer, container: Any, remote: Remote) -> None:
        self._gui: Any = server.gui
        self._container = container
        self._remote = remote
        self._folders: list[Any] = []
        self._shown: list[Setting] = []
        self._refreshing = threading.Lock()  # browsers come on threads of their own
        self._reload = self._gui.add_button("Look again", hint="ask the nodes for their parameters")
        self._reload.on_click(lambda _: self.refresh())

    def refresh(self) -> None:
        """Ask the nodes; make the widgets anew where something changed. Takes its time."""
        with self._refreshing:
            try:
                found = self._remote.settings()
            except EmoError:  # the dashboard ends
                return
            if found != self._shown:
                self._show(found)

    def _show(self, found: list[Setting]) -> None:
        for folder in self._folders:
            folder.remove()
        self._folders, self._shown = [], found
        by_node: dict[str, list[Setting]] = {}
        for setting in found:
            by_node.setdefault(setting.node, []).append(setting)
        with self._container:
            for node, settings in by_node.items():
                folder = self._gui.add_folder(node)
                self._folders.append(folder)
                with folder:
                    for setting in settings:
                        self._add(setting)

    def _add(self, setting: Setting) -> None:
        widget = self._widget(setting)
        if isinstance(setting.value, str) and not setting.choices:
            button = self._gui.add_button(f"Set {setting.name}")
            button.on_click(lambda event: self._apply(setting, widget, event.client))
        else:

            def apply(event: Any) -> None:
                if event.client:  # else this program set it: a node's own value
                    self._apply(setting, widget, event.client)

            widget.on_update(apply)

    def _widget(self, setting: Setting) -> Any:
        name, value, hint = setting.name, setting.value, setting.description
        if isinstance(value, bool):
            return self._gui.add_checkbox(name, value, hint=hint)
        if isinstance(value, str):
            if setting.choices:
                return self._gui.add_dropdown(name, setting.choices, initial_value=value, hint=hint)
            return self._gui.add_text(name, value, hint=hint)
        if setting.low is None or setting.high is None:
            return self._gui.add_number(name, value, hint=hint)
        step = 1 if isinstance(value, int) else (setting.high - setting.low) / _STEPS
        return self._gui.add_slider(
            name, setting.low, setting.high, step=step, initial_value=value, hint=hint
        )

    def _apply(self, setting: Setting, widget: Any, client: Any) -> None:
        try:
            self._remote.set(setting, _typed(setting, widget.value))
        except EmoError as error:
            client.add_notification(
                f"{setting.node}: {setting.name} stays as it was", str(error), color="red"
            )
            with contextlib.suppress(EmoError):  # the node is gone
                widget.value = self._remote.value(setting.node, setting.name)


def _typed(setting: Setting, value: Any) -> Any:
    """A widget's value as the parameter's type. Raises EmoError: it is none (an emptied field)."""
    try:
        return type(setting.value)(value)
    except (TypeError, ValueError, OverflowError):
        raise EmoError(f"{setting.name}: give a number") from None
