"""A deployment that runs for as long as a block of Python lasts, with a client of it; what its nodes say goes to a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worldagen_ros.client import StackClient, StackError
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.spinning import open_ros
from worldagen_ros.stack import Stack


@contextmanager
def open_stack(config: DeploymentConfig, log_file: Path, domain: int | None) -> Iterator[StackClient]:
    """Start the nodes and wait until they answer. The client raises StackError when one of them ends."""
    with (
        log_file.open("a", encoding="utf-8") as log,
        open_ros(),
        Stack(config, lambda name, line: print(f"[{name}] {line}", file=log, flush=True), domain=domain) as stack,
    ):

        def watch() -> None:
            if ended := stack.ended():
                raise StackError(f"{ended}; its log is in {log.name}")

        client = StackClient("", watch)
        try:
            client.wait_until_ready()
            yield client
        finally:
            client.destroy_node()
