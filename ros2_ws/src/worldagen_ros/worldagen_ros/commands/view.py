"""Look at a stack in the Rerun viewer: live, or what a bag holds of it.

    worldagen view                          # what runs now; Ctrl-C ends the view, not the stack
    worldagen view --bag out/first          # a recorded run, from its begin to its end
    worldagen view --web                    # as a page on this machine, to be opened through ssh from another

Pictures of both cameras and what was expected of them, the arm with its plan and its bounds in space, plots, and what is said.
"""

import argparse
import contextlib
import os
from pathlib import Path

HELP = "look at a running stack or at a bag in the Rerun viewer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bag", type=Path, help="look at this bag, not at what runs")
    parser.add_argument("--namespace", default="", help="namespace of the stack")
    parser.add_argument("--web", action="store_true", help="a page, also where there is a display")
    parser.add_argument("--port", type=int, default=9090, help="of the page (default: 9090)")
    parser.add_argument("--data-port", type=int, default=9876, help="through which the viewer is fed (default: 9876)")
    parser.add_argument("--save", type=Path, metavar="FILE.rrd", help="write a file to be opened later with `rerun FILE.rrd`")
    parser.add_argument(
        "--no-predictions", action="store_true", help="live: do not ask the policy to paint what it expects, which takes time"
    )
    parser.add_argument("--domain", type=int, default=None, help="live: ROS domain of the stack")


def run(args: argparse.Namespace) -> int:
    # Here, because `worldagen --help` looks at this module for its options and needs neither.
    import rerun

    from worldagen_ros.view import FileView, Viewer
    from worldagen_ros.viewing import StackView, layout

    if args.bag:
        from worldagen.bags.reader import open_bag
        from worldagen_ros.viewing_bag import show_bag, topics_of

        with open_bag(args.bag) as bag:
            heard = topics_of(bag, args.namespace).values()
            viewer = FileView(args.save) if args.save else Viewer(args.data_port, args.port, args.web)
            print(viewer.how, flush=True)
            rerun.send_blueprint(layout(set(heard)))
            view = StackView(viewer.recording)
            show_bag(bag, view, args.namespace)
        _tell(view)
        print(f"{args.bag} is shown whole", flush=True)
        viewer.close_when_told()
        return 0

    from worldagen_ros.stack import stack_environment
    from worldagen_ros.viewing import TOPICS

    os.environ.update(stack_environment(os.environ, args.domain))
    viewer = FileView(args.save) if args.save else Viewer(args.data_port, args.port, args.web)
    print(viewer.how, flush=True)
    rerun.send_blueprint(layout(set(TOPICS)))
    view = StackView(viewer.recording)
    try:
        _listen(view, args.namespace, not args.no_predictions)
    finally:
        viewer.close()
    _tell(view)
    return 0


def _listen(view, namespace: str, predictions: bool) -> None:
    """Until Ctrl-C."""
    from worldagen_ros.spinning import open_ros, spin_once
    from worldagen_ros.viewing_live import ViewNode

    with open_ros():
        node = ViewNode(view, namespace, predictions)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    spin_once(node, 0.2)
        finally:
            node.destroy_node()


def _tell(view) -> None:
    """What could not be shown."""
    for topic, problem in view.problems.items():
        print(f"{topic}: {problem}")
