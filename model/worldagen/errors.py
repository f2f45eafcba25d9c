"""Our own errors: each says what was found, where, what was expected, and what to do."""


class WorldAgenError(Exception):
    """Base of every error this suite raises on purpose."""


class ConfigError(WorldAgenError):
    """A deployment file, an override or a preset holds a key, type or value that is not allowed."""


class UnknownName(WorldAgenError):
    """A task, scene, environment, node or convention that does not exist was asked for."""

    def __init__(self, kind: str, name: object, known: object) -> None:
        choices = ", ".join(sorted(str(item) for item in known))  # type: ignore[attr-defined]
        super().__init__(f"unknown {kind} {name!r}; choose one of: {choices}")


class BadObservation(WorldAgenError):
    """A picture or robot state has the wrong size, type or numbers."""


class BadInstruction(WorldAgenError):
    """An instruction is missing or has no words."""


class PredictionUnavailable(WorldAgenError):
    """The world model was asked for pictures it does not, or not yet, predict."""


class BadChunk(WorldAgenError):
    """An action chunk holds NaN or infinite numbers, no rows, or rows of the wrong length."""


class BadCommand(WorldAgenError):
    """A motion or gripper command holds numbers that are not finite or a quaternion that is no rotation."""


class CheckpointError(WorldAgenError):
    """A checkpoint or adapter does not fit: names, shapes, types or conventions differ."""


class CalibrationError(WorldAgenError):
    """What is usual for a network cannot be measured, written or read, or was measured of another one."""


class SimulatorError(WorldAgenError):
    """A simulator could not be built, stepped or rendered."""


class BagError(WorldAgenError):
    """A bag could not be written or read: the folder, its format, a message, or the disk."""


class BagUnfinished(BagError):
    """A bag has no end, because its recorder was killed or it was cut off: `worldagen bag recover` makes a whole one of it."""


class ForeignBag(BagError):
    """A bag in a form that this suite does not read; another tool converts it."""


class DiskFull(BagError):
    """There is less free disk than a bag may be written with."""


class RecordingError(WorldAgenError):
    """Demonstrations cannot be recorded as asked, or where asked."""


class DataError(WorldAgenError):
    """Recorded data cannot be used: the source, its cache, or what it would be trained with."""


class BadEpisode(DataError):
    """One episode is damaged or lacks something; the others can be used."""


class TrainingError(WorldAgenError):
    """A training run cannot begin, go on, or be saved as asked."""


class EvaluationError(WorldAgenError):
    """A checkpoint cannot be evaluated as asked, or where asked."""


class ExplorationError(WorldAgenError):
    """A place cannot be explored as asked."""


class AdaptationError(WorldAgenError):
    """A network cannot be adapted as asked, or an adapter cannot be used: what it learns from, its recipe, its files."""


class EngineError(WorldAgenError):
    """The encoder cannot be exported, built or run by an engine: its files, its library, this machine, or the GPU's memory."""


class BankError(WorldAgenError):
    """A bank of places cannot be used, or something does not fit into it: its files, its base, its encoder, its adapters."""
