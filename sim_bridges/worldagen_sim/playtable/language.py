"""What people say when they want a task done: phrasings to train with, and others that are kept for the test.

The first phrasing of a task is its plain instruction. No held-out sentence is among the training ones, of any task, and each
uses only words that the training sentences use somewhere, so that it asks for understanding and not for new words.
"""

from worldagen_sim.playtable.conditions import BLOCKS

Phrasings = tuple[tuple[str, ...], tuple[str, ...]]  # training, held out


def _of_block(block: str) -> dict[str, Phrasings]:
    it = block.replace("_", " ")
    return {
        f"lift_{block}_table": (
            (f"lift the {it}", f"pick up the {it} from the table", f"grasp the {it} and lift it up", f"take the {it}"),
            (f"take the {it} up from the table", f"grasp and lift the {it}"),
        ),
        **{
            f"lift_{block}_{place}": (
                (
                    f"lift the {it} out of the {thing}",
                    f"pick up the {it} from the {whole}",
                    f"take the {it} out of the {whole}",
                    f"grasp the {it} that lies in the {thing}",
                ),
                (f"pick up the {it} that lies in the {whole}", f"take the {it} from the {thing}"),
            )
            for place, thing, whole in (("slider", "cabinet", "sliding cabinet"), ("drawer", "drawer", "drawer"))
        },
        **{
            f"push_{block}_{side}": (
                (
                    f"push the {it} to the {side}",
                    f"slide the {it} to the {side}",
                    f"push the {it} {side}",
                    f"move the {it} towards the {side}",
                ),
                (f"slide the {it} towards the {side}", f"move the {it} to the {side}"),
            )
            for side in ("left", "right")
        },
        **{
            f"rotate_{block}_{side}": (
                (
                    f"rotate the {it} to the {side}",
                    f"turn the {it} {side}",
                    f"grasp the {it} and turn it {side}",
                    f"rotate the {it} towards the {side}",
                ),
                (f"turn the {it} to the {side}", f"grasp the {it} and rotate it {side}"),
            )
            for side in ("left", "right")
        },
    }


PHRASINGS: dict[str, Phrasings] = {
    "open_drawer": (
        ("open the drawer", "pull the drawer", "pull the handle of the drawer", "pull out the drawer"),
        ("pull the drawer open", "pull the handle and open the drawer"),
    ),
    "close_drawer": (
        ("close the drawer", "push the drawer in", "push the handle of the drawer", "shut the drawer"),
        ("push the drawer shut", "push the handle and close the drawer"),
    ),
    **{
        f"move_slider_{side}": (
            (
                f"move the sliding door to the {side}",
                f"slide the door {side}",
                f"push the sliding door to the {side}",
                f"move the door all the way {side}",
            ),
            (f"slide the door to the {side}", f"push the door all the way {side}"),
        )
        for side in ("left", "right")
    },
    **{
        f"turn_{state}_lightbulb": (
            (
                f"turn {state} the light bulb",
                f"use the switch to turn {state} the light bulb",
                f"switch the light bulb {state}",
                f"turn {state} the yellow light",
            ),
            (f"switch {state} the yellow light", f"use the switch to turn the light {state}"),
        )
        for state in ("on", "off")
    },
    **{
        f"turn_{state}_led": (
            (
                f"turn {state} the led",
                f"press the button to turn {state} the led",
                f"turn {state} the green light",
                f"press the button and switch the led {state}",
            ),
            (f"press the button to turn {state} the green light", f"switch {state} the led"),
        )
        for state in ("on", "off")
    },
    **{name: phrasings for block in BLOCKS for name, phrasings in _of_block(block).items()},
    "place_in_drawer": (
        ("place the block in the drawer", "put the block in the drawer", "put it in the drawer", "lay the block in the drawer"),
        ("place it in the drawer", "lay what you hold in the drawer"),
    ),
    "place_in_slider": (
        (
            "place the block in the cabinet",
            "put the block in the sliding cabinet",
            "put it in the cabinet",
            "lay what you hold in the sliding cabinet",
        ),
        ("place it in the sliding cabinet", "lay the block in the cabinet"),
    ),
    "stack_block": (
        (
            "stack the block on top of another block",
            "put the block on top of another one",
            "stack it on another block",
            "place what you hold on top of another block",
        ),
        ("place the block on another one", "stack what you hold on top of another block"),
    ),
    "unstack_block": (
        (
            "take the top block off the stack",
            "unstack the blocks",
            "take off the block on top",
            "put the top block on the table",
        ),
        ("take the block on top off the stack", "put the block on top on the table"),
    ),
}
