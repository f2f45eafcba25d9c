"""What reading and writing LeRobot data sets share: version, places of the files, and which of their numbers are ours.

Only version 3.0 of the format. A folder holds
    meta/info.json                                 frame rate, features, where the files are; our own note
    meta/stats.json, meta/tasks.parquet            statistics of every feature; sentence <-> index
    meta/episodes/chunk-000/file-000.parquet       one row an episode: where its numbers and pictures are
    data/chunk-000/file-000.parquet                one row a frame
    videos/KEY/chunk-000/file-000.mp4              the frames of many episodes, one after the other
"""

from dataclasses import dataclass

from worldagen.config import setting

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
NOTE = "worldagen"  # our key in info.json, which LeRobot ignores
KEYS_FILE = "worldagen_keys.json"  # the same, beside info.json, for data sets that others made
TARGET = "target"  # no name beginning with "action": LeRobot would have its policies predict it


@dataclass(frozen=True)
class LeRobotKeys:
    """Which features are ours, and how the 7 numbers of states and actions are to be read.

    SI: states and action rows as everywhere in this suite. native: actions as the convention defines them, full scale 1;
    states are a pose (m, rad, Euler x-y-z) and the gripper's number.
    """

    static: str = setting("observation.images.static", "the camera that sees the scene")
    wrist: str = setting("observation.images.wrist", "the camera on the hand")
    state: str = setting("observation.state", "TCP pose and last commanded gripper")
    action: str = setting("action", "what was executed")
    target: str = setting("", "what should have been executed; empty: the action")
    convention: str = setting("", "calvin or libero: control period and full scale")
    units: str = setting("SI", "how the numbers are to be read", choices=("SI", "native"))
