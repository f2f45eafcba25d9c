"""The light bulb and the LED: states that lever and button change, shown by the colour of their geoms."""

import mujoco

from worldagen_sim.playtable.consoles import (
    BUTTON_DOWN_M,
    BUTTON_UP_M,
    LEVER_TRAVEL_M,
    LIGHT_COLOURS,
    SWITCH_OFF_SHARE,
    SWITCH_ON_SHARE,
)


class Lights:
    """The two lights of one model."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.lightbulb = self.led = False
        self._rgba = {name: model.geom_rgba[model.geom(name).id] for name in LIGHT_COLOURS}  # views: writing shows
        self._switch, self._button = (model.joint(name).qposadr[0] for name in ("switch", "button"))
        self._armed = True  # the button was let go since it last toggled

    def set(self, lightbulb: bool, led: bool) -> None:
        """Start an episode with these states."""
        self.lightbulb, self.led = lightbulb, led
        self._show()

    def update(self, data: mujoco.MjData) -> None:
        """Look at lever and button once a control step."""
        lever, button = data.qpos[self._switch] / LEVER_TRAVEL_M, data.qpos[self._button]
        self.lightbulb = bool(lever > (SWITCH_OFF_SHARE if self.lightbulb else SWITCH_ON_SHARE))
        if self._armed and button > BUTTON_DOWN_M:
            self.led, self._armed = not self.led, False
        elif button < BUTTON_UP_M:
            self._armed = True
        self._show()

    def _show(self) -> None:
        for name, is_on in (("lightbulb", self.lightbulb), ("led", self.led)):
            self._rgba[name][:3] = LIGHT_COLOURS[name][is_on]
